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

// Agent types that the service knows.
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
	// The agent in Calyptia Cloud is kept as declared.
	SyncEnforce SyncPolicy = "Enforce"
	// Each change of a declared field is applied once; what others change is only
	// reported.
	SyncOnChange SyncPolicy = "OnChange"
	// Nothing in Calyptia Cloud is written or deleted.
	SyncObserve SyncPolicy = "Observe"
)

// DeletionPolicy says what becomes of the remote agent when the Agent is deleted.
type DeletionPolicy string

// Deletion policies.
const (
	// The agent in Calyptia Cloud is deleted, and its Secrets with it.
	DeletionDelete DeletionPolicy = "Delete"
	// The agent in Calyptia Cloud and its Secrets are left.
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
	// Name of the CloudProject.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be the name of a CloudProject: lower-case letters, digits, '-' and '.'"
	Name string `json:"name"`

	// Namespace of the CloudProject. Default: the namespace of this object. A
	// CloudProject in another namespace has to admit this one with its
	// spec.allowedNamespaces.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be the name of a namespace: lower-case letters, digits and '-'"
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// AgentSpec declares an agent of a Calyptia Cloud project. Optional fields that are left out are
// unmanaged: they are never sent after the registration and never count as drift.
//
// +kubebuilder:validation:XValidation:rule=`has(self.type) || (has(self.agentID) && self.agentID != "")`,message="set type to fluentbit or fluentd (only an agent taken over by agentID may leave it out)",fieldPath=".type"
// +kubebuilder:validation:XValidation:rule=`has(self.version) && self.version != "" || (has(self.agentID) && self.agentID != "")`,message="set version, such as v4.0.0 (only an agent taken over by agentID may leave it out)",fieldPath=".version"
// +kubebuilder:validation:XValidation:rule="!(has(self.rawConfig) && has(self.rawConfigFrom))",message="set only one of rawConfig and rawConfigFrom",fieldPath=".rawConfigFrom"
// +kubebuilder:validation:XValidation:rule=`has(self.rawConfig) || has(self.rawConfigFrom) || (has(self.agentID) && self.agentID != "")`,message="set one of rawConfig and rawConfigFrom (only an agent taken over by agentID may leave both out)",fieldPath=".rawConfig"
// +kubebuilder:validation:XValidation:rule=`self.syncPolicy != 'Observe' || (has(self.agentID) && self.agentID != "")`,message="syncPolicy Observe never registers, so it needs agentID: set the ID of the remote agent to observe",fieldPath=".syncPolicy"
// +kubebuilder:validation:XValidation:rule="has(self.type) == has(oldSelf.type) && (!has(self.type) || self.type == oldSelf.type)",message="type is immutable: delete this Agent and create one with the new type",fieldPath=".type"
// +kubebuilder:validation:XValidation:rule=`(has(self.machineID) ? self.machineID : "") == (has(oldSelf.machineID) ? oldSelf.machineID : "")`,message="machineID is immutable: delete this Agent and create one with the new machineID",fieldPath=".machineID"
// +kubebuilder:validation:XValidation:rule=`!has(oldSelf.agentID) || oldSelf.agentID == "" || (has(self.agentID) && self.agentID == oldSelf.agentID)`,message="agentID is immutable once set: delete this Agent and create one for the other remote agent",fieldPath=".agentID"
type AgentSpec struct {
	// ProjectRef names the CloudProject that the agent is registered in. Default:
	// the one that the operator's flag --default-project names.
	// +optional
	ProjectRef *CloudProjectReference `json:"projectRef,omitempty"`

	// Name of the agent in Calyptia Cloud, a host name such as "web-logs". If
	// empty, the agent is registered under the name of this object, and its name
	// is unmanaged from then on.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*$')",message="must be a host name: letters, digits, '-' and '.', each label beginning and ending with a letter or digit, such as web-logs"
	// +optional
	Name string `json:"name,omitempty"`

	// MachineID identifies the machine that the agent runs on; no two agents of a
	// project may have the same. If empty, one is derived from the cluster, the
	// namespace and the name of this object, so that the same Agent always finds
	// its agent again. It cannot be set, changed or removed later.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[A-Za-z0-9][A-Za-z0-9._:-]*$')",message="must be letters, digits, '-', '_', '.' and ':', such as the content of /etc/machine-id"
	// +optional
	MachineID string `json:"machineID,omitempty"`

	// Type is the program that the agent runs: fluentbit or fluentd. Required
	// unless agentID is set. It cannot be set, changed or removed later.
	// +kubebuilder:validation:Enum=fluentbit;fluentd
	// +optional
	Type AgentType `json:"type,omitempty"`

	// Version of Fluent Bit or Fluentd, such as "v4.0.0". Required unless agentID
	// is set.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^v?[0-9]+[.][0-9]+[.][0-9]+([-+][0-9A-Za-z.+-]+)?$')",message="must be a version such as v4.0.0 or 1.16.2-rc1"
	// +optional
	Version string `json:"version,omitempty"`

	// Edition of Fluent Bit or Fluentd: community or enterprise. If empty, the
	// agent is registered as community, and its edition is unmanaged from then on.
	// +kubebuilder:validation:Enum="";community;enterprise
	// +optional
	Edition string `json:"edition,omitempty"`

	// Flags are the command-line flags that the program runs with, such as
	// ["--verbose"]. An empty list clears them; left out, they are unmanaged.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +optional
	Flags []string `json:"flags,omitzero"`

	// RawConfig is the configuration of the agent, in a form that Fluent Bit or
	// Fluentd reads, up to 128 KiB. Set exactly one of rawConfig and
	// rawConfigFrom; with agentID, none is needed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=131072
	// +optional
	RawConfig string `json:"rawConfig,omitempty"`

	// RawConfigHash stands for rawConfig in a cache that leaves it out. It is no
	// part of the API.
	RawConfigHash string `json:"-"`

	// RawConfigFrom takes the configuration of the agent from a key of a ConfigMap
	// or Secret in the same namespace, such as {"configMapKeyRef": {"name":
	// "web-logs", "key": "fluent-bit.conf"}}. When that changes, the agent follows
	// at once.
	// +optional
	RawConfigFrom *KeySource `json:"rawConfigFrom,omitempty"`

	// Metadata is any JSON object to keep with the agent, such as {"team":
	// "payments"}. It replaces the metadata in Calyptia Cloud as a whole. If left
	// out, it is unmanaged: never sent after the registration, never drift.
	// +kubebuilder:validation:Type=object
	// +kubebuilder:validation:MaxProperties=256
	// +kubebuilder:pruning:PreserveUnknownFields
	// +optional
	Metadata *apiextensionsv1.JSON `json:"metadata,omitempty"`

	// FleetID is the UUID of the fleet that the agent belongs to, such as
	// 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11. Calyptia Cloud cannot take an agent
	// out of a fleet, so removing this field leaves the agent in it.
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="must be a UUID in lower case, such as 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	// +optional
	FleetID string `json:"fleetID,omitempty"`

	// EnvironmentID is the ID of the environment that the agent belongs to.
	// Calyptia Cloud shows only the name of an environment, so a change made
	// elsewhere is not noticed.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	EnvironmentID string `json:"environmentID,omitempty"`

	// AgentID is the UUID of an agent that exists in Calyptia Cloud already: this
	// object takes it over and registers none. It can be added later, but then
	// neither be changed nor removed.
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="must be a UUID in lower case, such as 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	// +optional
	AgentID string `json:"agentID,omitempty"`

	// TokenSecretRef names the Secret that the operator writes the ID and the
	// token of the agent to. Default: the name of this object with "-token"
	// appended.
	// +optional
	TokenSecretRef *LocalSecretReference `json:"tokenSecretRef,omitempty"`

	// SessionSecretRef asks for a second Secret, with the session file of a Fluent
	// Bit: a Fluent Bit that starts with this file runs as this agent and needs no
	// project token. Set it to {} for the name of this object with "-session"
	// appended, or name another Secret.
	// +optional
	SessionSecretRef *LocalSecretReference `json:"sessionSecretRef,omitempty"`

	// SyncPolicy says when the agent in Calyptia Cloud is written. Enforce keeps
	// it as declared here. OnChange applies each change made here once, and only
	// reports what others change. Observe writes and deletes nothing in Calyptia
	// Cloud, and needs agentID. Default: Enforce.
	// +kubebuilder:validation:Enum=Enforce;OnChange;Observe
	// +kubebuilder:default=Enforce
	// +optional
	SyncPolicy SyncPolicy `json:"syncPolicy,omitempty"`

	// DeletionPolicy says what becomes of the agent in Calyptia Cloud when this
	// object is deleted: Delete or Retain. If empty, an agent that this object
	// registered is deleted, and one that it took over by agentID is retained.
	// +kubebuilder:validation:Enum="";Delete;Retain
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Suspend stops all work on this object, except for its deletion.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}
