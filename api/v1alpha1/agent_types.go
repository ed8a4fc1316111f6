/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// AgentType is the program that an agent runs.
type AgentType string

// Agent types that Calyptia Cloud knows.
const (
	// Fluent Bit.
	AgentTypeFluentBit AgentType = "fluentbit"
	// Fluentd.
	AgentTypeFluentd AgentType = "fluentd"
)

// SyncPolicy says when the operator writes to the remote agent.
type SyncPolicy string

// Sync policies.
const (
	// The operator corrects drift.
	SyncEnforce SyncPolicy = "Enforce"
	// Each change of a declared field is applied once; drift is only reported.
	SyncOnChange SyncPolicy = "OnChange"
	// Nothing in Calyptia Cloud is written or deleted.
	SyncObserve SyncPolicy = "Observe"
)

// DeletionPolicy says what happens to the remote agent when the Agent is deleted.
type DeletionPolicy string

// Deletion policies.
const (
	// The agent in Calyptia Cloud is deleted, and its Secrets with it.
	DeletionDelete DeletionPolicy = "Delete"
	// The agent in Calyptia Cloud and its Secrets are kept.
	DeletionRetain DeletionPolicy = "Retain"
)

// Origin says how a remote agent came to an Agent.
type Origin string

// Origins.
const (
	// The Agent registered the remote agent.
	OriginRegistered Origin = "Registered"
	// The Agent adopted a remote agent that existed.
	OriginAdopted Origin = "Adopted"
)

// CloudProjectReference names the CloudProject that an Agent belongs to.
type CloudProjectReference struct {
	// name of the CloudProject.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be the name of a CloudProject: lower-case letters, digits, '-' and '.'"
	// +required
	Name string `json:"name,omitempty"`

	// namespace of the CloudProject. Default: the namespace of this object. A
	// reference to another namespace needs allowedNamespaces in that CloudProject.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be the name of a namespace: lower-case letters, digits and '-'"
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// FleetReference names a fleet of the project.
// +kubebuilder:validation:XValidation:rule="has(self.id) != has(self.name)",message="set exactly one of id and name"
type FleetReference struct {
	// id is the UUID of the fleet, such as 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="must be a UUID in lower case, such as 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	// +optional
	ID string `json:"id,omitempty"`

	// name of the fleet, such as "edge". If several fleets of the project have the
	// name, set id instead.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +optional
	Name string `json:"name,omitempty"`
}

// EnvironmentReference names an environment of the project.
// +kubebuilder:validation:XValidation:rule="has(self.id) != has(self.name)",message="set exactly one of id and name"
type EnvironmentReference struct {
	// id of the environment.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	ID string `json:"id,omitempty"`

	// name of the environment, such as "production".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Name string `json:"name,omitempty"`
}

// AgentSpec declares an agent of a Calyptia Cloud project. Omitted optional fields are unmanaged: set
// once at registration, then ignored.
//
// +kubebuilder:validation:XValidation:rule=`has(self.type) || (has(self.agentID) && self.agentID != "")`,message="set type to fluentbit or fluentd (required unless agentID is set)",fieldPath=".type"
// +kubebuilder:validation:XValidation:rule=`has(self.version) && self.version != "" || (has(self.agentID) && self.agentID != "")`,message="set version, such as v4.0.0 (required unless agentID is set)",fieldPath=".version"
// +kubebuilder:validation:XValidation:rule="!(has(self.rawConfig) && has(self.rawConfigFrom))",message="set only one of rawConfig and rawConfigFrom",fieldPath=".rawConfigFrom"
// +kubebuilder:validation:XValidation:rule=`has(self.rawConfig) || has(self.rawConfigFrom) || (has(self.agentID) && self.agentID != "")`,message="set one of rawConfig and rawConfigFrom (required unless agentID is set)",fieldPath=".rawConfig"
// +kubebuilder:validation:XValidation:rule=`self.syncPolicy != 'Observe' || (has(self.agentID) && self.agentID != "")`,message="syncPolicy Observe does not register agents: set agentID to the ID of the remote agent to observe",fieldPath=".syncPolicy"
// +kubebuilder:validation:XValidation:rule="has(self.type) == has(oldSelf.type) && (!has(self.type) || self.type == oldSelf.type)",message="type is immutable: delete this Agent and create one with the new type",fieldPath=".type"
// +kubebuilder:validation:XValidation:rule=`(has(self.machineID) ? self.machineID : "") == (has(oldSelf.machineID) ? oldSelf.machineID : "")`,message="machineID is immutable: delete this Agent and create one with the new machineID",fieldPath=".machineID"
// +kubebuilder:validation:XValidation:rule=`!has(oldSelf.agentID) || oldSelf.agentID == "" || (has(self.agentID) && self.agentID == oldSelf.agentID)`,message="agentID is immutable once set: delete this Agent and create one for the other remote agent",fieldPath=".agentID"
type AgentSpec struct {
	// projectRef names the CloudProject that the agent is registered in. Default:
	// the CloudProject that the operator's flag --default-project names.
	// +optional
	ProjectRef *CloudProjectReference `json:"projectRef,omitempty"`

	// name of the agent in Calyptia Cloud, a host name such as "web-logs". If empty,
	// the agent is registered under the name of this object, and its name is
	// unmanaged afterwards.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*$')",message="must be a host name: letters, digits, '-' and '.', each label beginning and ending with a letter or digit, such as web-logs"
	// +optional
	Name string `json:"name,omitempty"`

	// machineID identifies the machine that the agent runs on. It is unique in its
	// project. If empty, it is derived from the cluster, the namespace and the name
	// of this object, so that an Agent that is created again finds the same remote
	// agent. Immutable.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[A-Za-z0-9][A-Za-z0-9._:-]*$')",message="must be letters, digits, '-', '_', '.' and ':', such as the content of /etc/machine-id"
	// +optional
	MachineID string `json:"machineID,omitempty"`

	// type is the program that the agent runs: fluentbit or fluentd. Required unless
	// agentID is set. Immutable.
	// +kubebuilder:validation:Enum=fluentbit;fluentd
	// +optional
	Type AgentType `json:"type,omitempty"`

	// version of Fluent Bit or Fluentd, such as "v4.0.0". Required unless agentID is
	// set.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^v?[0-9]+[.][0-9]+[.][0-9]+([-+][0-9A-Za-z.+-]+)?$')",message="must be a version such as v4.0.0 or 1.16.2-rc1"
	// +optional
	Version string `json:"version,omitempty"`

	// edition of Fluent Bit or Fluentd: community or enterprise. If empty, the agent
	// is registered as community, and its edition is unmanaged afterwards.
	// +kubebuilder:validation:Enum="";community;enterprise
	// +optional
	Edition string `json:"edition,omitempty"`

	// flags are the command-line flags that the program runs with, such as
	// ["--verbose"]. An empty list clears them. If omitted, they are unmanaged.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +optional
	Flags []string `json:"flags,omitzero"`

	// rawConfig is the configuration of the agent, in a format that Fluent Bit or
	// Fluentd reads, up to 128 KiB. Set exactly one of rawConfig and rawConfigFrom.
	// With agentID, neither is required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=131072
	// +optional
	RawConfig string `json:"rawConfig,omitempty"`

	// RawConfigHash replaces rawConfig in a cache that omits it. It is no
	// part of the API.
	RawConfigHash string `json:"-"`

	// rawConfigFrom takes the configuration of the agent from a key of a ConfigMap
	// or Secret in the same namespace, such as {"configMapKeyRef": {"name":
	// "web-logs", "key": "fluent-bit.conf"}}. The operator applies changes of that
	// object at once.
	// +optional
	RawConfigFrom *KeySource `json:"rawConfigFrom,omitempty"`

	// metadata is any JSON object to keep with the agent, such as {"team":
	// "payments"}. It replaces the metadata in Calyptia Cloud as a whole. If
	// omitted, it is unmanaged: set once at registration, then ignored.
	// +kubebuilder:validation:Type=object
	// +kubebuilder:validation:MaxProperties=256
	// +kubebuilder:pruning:PreserveUnknownFields
	// +optional
	Metadata *apiextensionsv1.JSON `json:"metadata,omitempty"`

	// fleet is the fleet that the agent belongs to: {"name": "edge"} or {"id":
	// "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"}. Calyptia Cloud cannot remove an agent
	// from a fleet: if you remove this field, the agent stays in the fleet.
	// +optional
	Fleet *FleetReference `json:"fleet,omitempty"`

	// environment is the environment that the agent belongs to: {"name":
	// "production"} or {"id": "..."}. Calyptia Cloud shows only the name of an
	// agent's environment, so the operator detects drift only if you set name.
	// +optional
	Environment *EnvironmentReference `json:"environment,omitempty"`

	// agentID is the UUID of an existing agent in Calyptia Cloud, which this object
	// adopts instead of registering a new one. It can be added later. Immutable once
	// set.
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="must be a UUID in lower case, such as 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	// +optional
	AgentID string `json:"agentID,omitempty"`

	// tokenSecretRef names the Secret that the operator writes the ID and the token
	// of the agent to. Default: the name of this object with "-token" appended.
	// +optional
	TokenSecretRef *LocalSecretReference `json:"tokenSecretRef,omitempty"`

	// sessionSecretRef requests a second Secret, with the session file of a Fluent
	// Bit. A Fluent Bit that starts with this file runs as this agent and needs no
	// project token. Set it to {} for the name of this object with "-session"
	// appended, or name another Secret.
	// +optional
	SessionSecretRef *LocalSecretReference `json:"sessionSecretRef,omitempty"`

	// syncPolicy says when the operator writes to the agent in Calyptia Cloud.
	// Enforce corrects drift. OnChange applies each change of this object once and
	// only reports drift. Observe writes and deletes nothing in Calyptia Cloud and
	// needs agentID. Default: Enforce.
	// +kubebuilder:validation:Enum=Enforce;OnChange;Observe
	// +default="Enforce"
	// +optional
	SyncPolicy SyncPolicy `json:"syncPolicy,omitempty"`

	// deletionPolicy says what happens to the agent in Calyptia Cloud when this
	// object is deleted: Delete or Retain. If empty, an agent that this object
	// registered is deleted, and an agent that it adopted is retained.
	// +kubebuilder:validation:Enum="";Delete;Retain
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// suspend pauses reconciliation. Deletion still proceeds.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}
