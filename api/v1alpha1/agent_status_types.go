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

// AppliedState is what the remote agent was last brought to.
type AppliedState struct {
	// Generation of the spec that reached the remote agent as a whole.
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// Fields holds a hash of each managed field as it was last sent or seen to be
	// equal. The one of rawConfig is made with a key where rawConfigFrom is set, so
	// that nobody can test guesses of what a Secret holds.
	// +optional
	Fields map[string]string `json:"fields,omitempty"`

	// SourceResourceVersion is the version of the ConfigMap or Secret that
	// rawConfig was read from.
	// +optional
	SourceResourceVersion string `json:"sourceResourceVersion,omitempty"`

	// TokenSecretResourceVersion is the version of the token Secret as it was
	// last found to hold what the service tells.
	// +optional
	TokenSecretResourceVersion string `json:"tokenSecretResourceVersion,omitempty"`

	// SessionSecretResourceVersion is the version of the session Secret as it
	// was last found to be right.
	// +optional
	SessionSecretResourceVersion string `json:"sessionSecretResourceVersion,omitempty"`
}

// RemoteAgent is what Calyptia Cloud says of the agent.
type RemoteAgent struct {
	// Name of the agent in Calyptia Cloud.
	// +optional
	Name string `json:"name,omitempty"`

	// Version of the agent.
	// +optional
	Version string `json:"version,omitempty"`

	// Status of the agent, such as healthy or unhealthy.
	// +optional
	Status string `json:"status,omitempty"`

	// OS that the agent runs on, such as linux; unknown until it reports.
	// +optional
	OS string `json:"os,omitempty"`

	// Arch is the processor architecture, such as x86_64; unknown until the agent
	// reports.
	// +optional
	Arch string `json:"arch,omitempty"`

	// Tags that the service shows for the agent.
	// +listType=atomic
	// +optional
	Tags []string `json:"tags,omitempty"`

	// EnvironmentName is the name of the agent's environment.
	// +optional
	EnvironmentName string `json:"environmentName,omitempty"`

	// FleetID is the fleet that the agent belongs to.
	// +optional
	FleetID string `json:"fleetID,omitempty"`

	// MetricsCount is the number of metrics received. Updated at most once an hour
	// when nothing else changes.
	// +optional
	MetricsCount int64 `json:"metricsCount,omitempty"`

	// FirstMetricsAddedAt is when the agent reported first.
	// +optional
	FirstMetricsAddedAt *metav1.Time `json:"firstMetricsAddedAt,omitempty"`

	// LastMetricsAddedAt is when the agent reported last. Updated at most once an
	// hour when nothing else changes.
	// +optional
	LastMetricsAddedAt *metav1.Time `json:"lastMetricsAddedAt,omitempty"`

	// CreatedAt is when the agent was registered.
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`

	// UpdatedAt is when the agent was changed last. Updated at most once an hour
	// when nothing else changes.
	// +optional
	UpdatedAt *metav1.Time `json:"updatedAt,omitempty"`
}

// AgentStatus is what the operator knows of the remote agent.
type AgentStatus struct {
	// ObservedGeneration is the generation of the spec that the conditions speak
	// of; -1 as long as the operator has not seen this object.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// ID of the remote agent.
	// +optional
	ID string `json:"id,omitempty"`

	// MachineID that the remote agent is registered with.
	// +optional
	MachineID string `json:"machineID,omitempty"`

	// ProjectID is the Calyptia Cloud project of the remote agent, where it is
	// known.
	// +optional
	ProjectID string `json:"projectID,omitempty"`

	// URL of the service where the remote agent was seen last.
	// +optional
	URL string `json:"url,omitempty"`

	// Registration is the registration that was closed last: the value of the
	// annotation cloud.calyptia.com/registering, which is written before each
	// registration. The ID came from it, unless the API refused it.
	// +optional
	Registration string `json:"registration,omitempty"`

	// RegisteredByUs is true if this object registered the remote agent, false if
	// it took it over.
	// +optional
	RegisteredByUs bool `json:"registeredByUs,omitempty"`

	// TokenSecretRef names the Secret that holds the ID and the token of the
	// agent.
	// +optional
	TokenSecretRef *LocalSecretReference `json:"tokenSecretRef,omitempty"`

	// SessionSecretRef names the Secret that holds the session file for a Fluent
	// Bit.
	// +optional
	SessionSecretRef *LocalSecretReference `json:"sessionSecretRef,omitempty"`

	// Applied is what the remote agent was last brought to.
	// +optional
	// +structType=atomic
	Applied AppliedState `json:"applied,omitempty"`

	// NotHonoured names fields that the service accepted and did not keep. They
	// are not sent again until they change.
	// +listType=atomic
	// +optional
	NotHonoured []string `json:"notHonoured,omitempty"`

	// Drift names declared fields that have another value in Calyptia Cloud.
	// +listType=atomic
	// +optional
	Drift []string `json:"drift,omitempty"`

	// LastHandledReconcileAt is the last value of the annotation
	// cloud.calyptia.com/reconcile-at that was acted on.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`

	// Withdraw lists the IDs of further agents in Calyptia Cloud that this object
	// registered by accident, after an answer was lost. They are going to be
	// deleted.
	// +listType=set
	// +optional
	Withdraw []string `json:"withdraw,omitempty"`

	// Agent is what Calyptia Cloud says of the agent.
	// +optional
	// +structType=atomic
	Agent *RemoteAgent `json:"agent,omitempty"`

	// Conditions of this object: Ready, Reconciling, Stalled, Reporting, Drifted,
	// NotHonoured.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Agent is a Fluent Bit or Fluentd agent of a Calyptia Cloud project. The operator registers it,
// keeps it as declared, and deletes it with this object.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=cagt,categories=calyptia
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.agent.status`,description="What Calyptia Cloud says of its health"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.agent.version`
// +kubebuilder:printcolumn:name="ID",type=string,JSONPath=`.status.id`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Environment",type=string,priority=1,JSONPath=`.status.agent.environmentName`
// +kubebuilder:printcolumn:name="Last metrics",type=date,priority=1,JSONPath=`.status.agent.lastMetricsAddedAt`
// +kubebuilder:printcolumn:name="Project",type=string,priority=1,JSONPath=`.spec.projectRef.name`
// +kubebuilder:validation:XValidation:rule=`size(self.metadata.name) <= 247 || (has(self.spec.tokenSecretRef) && has(self.spec.tokenSecretRef.name) && self.spec.tokenSecretRef.name != "")`,message="metadata.name is too long for the Secret name derived from it: use at most 247 characters, or set tokenSecretRef.name",fieldPath=".spec.tokenSecretRef"
// +kubebuilder:validation:XValidation:rule=`size(self.metadata.name) <= 245 || !has(self.spec.sessionSecretRef) || (has(self.spec.sessionSecretRef.name) && self.spec.sessionSecretRef.name != "")`,message="metadata.name is too long for the Secret name derived from it: use at most 245 characters, or set sessionSecretRef.name",fieldPath=".spec.sessionSecretRef"
// +kubebuilder:validation:XValidation:rule=`(has(self.spec.name) && self.spec.name != "") || (has(self.spec.agentID) && self.spec.agentID != "") || !self.metadata.name.matches('[^.]{64}')`,message="metadata.name has a label of more than 63 characters, which is no host name: set spec.name",fieldPath=".spec.name"
// +kubebuilder:validation:XValidation:rule=`!has(self.spec.sessionSecretRef) || (has(self.spec.sessionSecretRef.name) && self.spec.sessionSecretRef.name != "" ? self.spec.sessionSecretRef.name : self.metadata.name + '-session') != (has(self.spec.tokenSecretRef) && has(self.spec.tokenSecretRef.name) && self.spec.tokenSecretRef.name != "" ? self.spec.tokenSecretRef.name : self.metadata.name + '-token')`,message="the session is a file of its own and must not share a Secret with the token: name another Secret",fieldPath=".spec.sessionSecretRef"
type Agent struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec declares the agent. Optional fields that are left out are unmanaged:
	// they are never sent after the registration and never count as drift.
	// +required
	Spec AgentSpec `json:"spec"`

	// Status is what the operator knows of the remote agent.
	// +kubebuilder:default:={"observedGeneration":-1}
	// +optional
	Status AgentStatus `json:"status,omitempty"`
}

// AgentList is a list of Agents.
//
// +kubebuilder:object:root=true
type AgentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Agent `json:"items"`
}
