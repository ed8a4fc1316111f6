/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FieldRawConfig is the name of spec.rawConfig, or what rawConfigFrom refers to, in status.applied.fields.
const FieldRawConfig = "rawConfig"

// AppliedState is the last state that was successfully applied.
type AppliedState struct {
	// generation of the spec that was last applied completely.
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// fields holds a hash of each managed field as it was last applied. The hash of
	// rawConfig is keyed where rawConfigFrom is set, so that the content of a Secret
	// cannot be guessed from it.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Fields map[string]string `json:"fields,omitempty"`

	// sourceResourceVersion is the version of the ConfigMap or Secret that rawConfig
	// was read from.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	SourceResourceVersion string `json:"sourceResourceVersion,omitempty"`

	// tokenSecretResourceVersion is the version of the token Secret that was last
	// verified.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	TokenSecretResourceVersion string `json:"tokenSecretResourceVersion,omitempty"`

	// sessionSecretResourceVersion is the version of the session Secret that was
	// last verified.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	SessionSecretResourceVersion string `json:"sessionSecretResourceVersion,omitempty"`
}

// RemoteAgent is what Calyptia Cloud reports about the agent.
type RemoteAgent struct {
	// name of the agent in Calyptia Cloud.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Name string `json:"name,omitempty"`

	// version of the agent.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Version string `json:"version,omitempty"`

	// status of the agent, such as healthy or unhealthy.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Status string `json:"status,omitempty"`

	// os that the agent runs on, such as linux; unknown until the agent reports.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	OS string `json:"os,omitempty"`

	// arch is the processor architecture, such as x86_64; unknown until the agent
	// reports.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Arch string `json:"arch,omitempty"`

	// tags of the agent in Calyptia Cloud, at most 64.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=512
	// +optional
	Tags []string `json:"tags,omitempty"`

	// environmentName is the name of the environment of the agent.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	EnvironmentName string `json:"environmentName,omitempty"`

	// environmentID is the ID of the environment of the agent, if known.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	EnvironmentID string `json:"environmentID,omitempty"`

	// fleetName is the name of the fleet that the agent belongs to, if known.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	FleetName string `json:"fleetName,omitempty"`

	// fleetID is the UUID of the fleet that the agent belongs to.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	FleetID string `json:"fleetID,omitempty"`

	// metricsCount is the number of metrics received. Updated at most once an hour
	// if nothing else changes.
	// +optional
	MetricsCount int64 `json:"metricsCount,omitempty"`

	// firstMetricsAddedAt is when the agent first reported.
	// +optional
	FirstMetricsAddedAt *metav1.Time `json:"firstMetricsAddedAt,omitempty"`

	// lastMetricsAddedAt is when the agent last reported. Updated at most once an
	// hour if nothing else changes.
	// +optional
	LastMetricsAddedAt *metav1.Time `json:"lastMetricsAddedAt,omitempty"`

	// createdAt is when the agent was registered.
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`

	// updatedAt is when the agent was last changed. Updated at most once an hour if
	// nothing else changes.
	// +optional
	UpdatedAt *metav1.Time `json:"updatedAt,omitempty"`
}

// AgentStatus is what the operator last observed.
type AgentStatus struct {
	// conditions of this object: Ready, Reconciling, Stalled, Reporting, Drifted and
	// FieldsIgnored.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the conditions describe;
	// -1 until the first reconciliation.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// id of the remote agent.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ID string `json:"id,omitempty"`

	// machineID of the remote agent.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	MachineID string `json:"machineID,omitempty"`

	// projectID is the UUID of the Calyptia Cloud project of the remote agent, if
	// known.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ProjectID string `json:"projectID,omitempty"`

	// projectClaimed is true while only spec.projectID of the CloudProject says that
	// the remote agent is in projectID: its token does not contain the project, and no
	// list with it has shown agents of the project. Then an agent that another token
	// does not find may be in another project, and counts neither as deleted nor as
	// this one's.
	// +optional
	ProjectClaimed bool `json:"projectClaimed,omitempty"`

	// url of the API at which the remote agent was last verified.
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	URL string `json:"url,omitempty"`

	// cloudProjectUID is the UID of the CloudProject through which the remote
	// agent was last verified.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	CloudProjectUID string `json:"cloudProjectUID,omitempty"`

	// registrationIntent is the registration intent that was closed last: a value of
	// the annotation cloud.calyptia.com/registration-intent, which the operator
	// writes before each registration.
	// +kubebuilder:validation:MaxLength=262144
	// +optional
	RegistrationIntent string `json:"registrationIntent,omitempty"`

	// origin says how this object got its remote agent: Registered or Adopted.
	// +kubebuilder:validation:Enum=Registered;Adopted
	// +optional
	Origin Origin `json:"origin,omitempty"`

	// tokenSecretRef names the Secret that holds the ID and the token of the agent.
	// +optional
	TokenSecretRef *LocalSecretReference `json:"tokenSecretRef,omitempty"`

	// sessionSecretRef names the Secret that holds the session file for a Fluent
	// Bit.
	// +optional
	SessionSecretRef *LocalSecretReference `json:"sessionSecretRef,omitempty"`

	// applied is the last state that was successfully applied.
	// +structType=atomic
	// +optional
	Applied AppliedState `json:"applied,omitzero"`

	// ignoredFields names fields that the API accepted but did not persist. They are
	// not sent again until they change.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	// +optional
	IgnoredFields []string `json:"ignoredFields,omitempty"`

	// driftedFields names declared fields that have another value in Calyptia Cloud.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	// +optional
	DriftedFields []string `json:"driftedFields,omitempty"`

	// lastHandledReconcileAt is the last value of the annotation
	// cloud.calyptia.com/reconcile-at that the operator acted on.
	// +kubebuilder:validation:MaxLength=262144
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`

	// duplicatesToDelete lists the IDs of duplicate agents in Calyptia Cloud that
	// lost responses left behind. The operator deletes them.
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=64
	// +optional
	DuplicatesToDelete []string `json:"duplicatesToDelete,omitempty"`

	// agent is what Calyptia Cloud reports about the agent.
	// +structType=atomic
	// +optional
	Agent *RemoteAgent `json:"agent,omitempty"`
}

// Agent is a Fluent Bit or Fluentd agent of a Calyptia Cloud project. The operator registers it,
// corrects drift, stores its credentials in a Secret, and deletes it with this object.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=cagt,categories=calyptia
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.agent.status`,description="Health that Calyptia Cloud reports"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.agent.version`
// +kubebuilder:printcolumn:name="ID",type=string,JSONPath=`.status.id`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Environment",type=string,priority=1,JSONPath=`.status.agent.environmentName`
// +kubebuilder:printcolumn:name="Last metrics",type=date,priority=1,JSONPath=`.status.agent.lastMetricsAddedAt`
// +kubebuilder:selectablefield:JSONPath=`.spec.projectRef.name`
// +kubebuilder:printcolumn:name="Project",type=string,priority=1,JSONPath=`.spec.projectRef.name`
// +kubebuilder:validation:XValidation:rule=`size(self.metadata.name) <= 247 || (has(self.spec.tokenSecretRef) && has(self.spec.tokenSecretRef.name) && self.spec.tokenSecretRef.name != "")`,message="metadata.name is too long for the Secret name derived from it: use at most 247 characters, or set tokenSecretRef.name",fieldPath=".spec.tokenSecretRef"
// +kubebuilder:validation:XValidation:rule=`size(self.metadata.name) <= 245 || !has(self.spec.sessionSecretRef) || (has(self.spec.sessionSecretRef.name) && self.spec.sessionSecretRef.name != "")`,message="metadata.name is too long for the Secret name derived from it: use at most 245 characters, or set sessionSecretRef.name",fieldPath=".spec.sessionSecretRef"
// +kubebuilder:validation:XValidation:rule=`(has(self.spec.name) && self.spec.name != "") || (has(self.spec.agentID) && self.spec.agentID != "") || !self.metadata.name.matches('[^.]{64}')`,message="metadata.name has a label of more than 63 characters, which is not a host name: set spec.name",fieldPath=".spec.name"
// +kubebuilder:validation:XValidation:rule=`!has(self.spec.sessionSecretRef) || (has(self.spec.sessionSecretRef.name) && self.spec.sessionSecretRef.name != "" ? self.spec.sessionSecretRef.name : self.metadata.name + '-session') != (has(self.spec.tokenSecretRef) && has(self.spec.tokenSecretRef.name) && self.spec.tokenSecretRef.name != "" ? self.spec.tokenSecretRef.name : self.metadata.name + '-token')`,message="the session and the token must not share a Secret: name another Secret",fieldPath=".spec.sessionSecretRef"
type Agent struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec declares the agent. Omitted optional fields are unmanaged: set once at
	// registration, then ignored.
	// +required
	Spec AgentSpec `json:"spec,omitzero"`

	// status is what the operator last observed. The operator writes it; do not edit
	// it.
	// +default={"observedGeneration":-1}
	// +optional
	Status AgentStatus `json:"status,omitzero"`

	// OmittedBytes is the size of what a cache omits of the object. It is no
	// field of the API.
	OmittedBytes int `json:"-"`
}

// AgentList is a list of Agents.
//
// +kubebuilder:object:root=true
type AgentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Agent `json:"items"`
}
