/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TargetKind is a kind of workload whose pods an AgentSet gives an agent each.
type TargetKind string

// Target kinds.
const (
	// One Agent for each node on which the DaemonSet runs a pod.
	TargetDaemonSet TargetKind = "DaemonSet"
	// One Agent for each ordinal of the StatefulSet.
	TargetStatefulSet TargetKind = "StatefulSet"
)

// WorkloadReference names a workload in the namespace of the AgentSet.
type WorkloadReference struct {
	// kind of the workload: DaemonSet or StatefulSet.
	// +kubebuilder:validation:Enum=DaemonSet;StatefulSet
	// +required
	Kind TargetKind `json:"kind,omitempty"`

	// name of the workload.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be the name of a workload: lower-case letters, digits, '-' and '.'"
	// +required
	Name string `json:"name,omitempty"`
}

// AgentTemplateMeta is the metadata that every Agent of an AgentSet has.
// +kubebuilder:validation:XValidation:rule="!has(self.labels) || !self.labels.exists(key, key.startsWith('cloud.calyptia.com/'))",message="labels of cloud.calyptia.com are set by the operator: remove them",fieldPath=".labels"
// +kubebuilder:validation:XValidation:rule="!has(self.annotations) || !self.annotations.exists(key, key.startsWith('cloud.calyptia.com/'))",message="annotations of cloud.calyptia.com apply to a single Agent: remove them, and annotate that Agent",fieldPath=".annotations"
type AgentTemplateMeta struct {
	// labels of every Agent, besides those that the operator sets.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// annotations of every Agent, without what kubectl apply records in one. Other annotations of an Agent are left alone.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// AgentTemplate is what the Agents of an AgentSet have in common.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.spec.name) || self.spec.name == ""`,message="a template cannot set name: every Agent has the name of its node or replica",fieldPath=".spec.name"
// +kubebuilder:validation:XValidation:rule=`!has(self.spec.machineID) || self.spec.machineID == ""`,message="a template cannot set machineID: every Agent has its own",fieldPath=".spec.machineID"
// +kubebuilder:validation:XValidation:rule=`!has(self.spec.agentID) || self.spec.agentID == ""`,message="a template cannot set agentID: every Agent has its own",fieldPath=".spec.agentID"
// +kubebuilder:validation:XValidation:rule=`!has(self.spec.tokenSecretRef) || !has(self.spec.tokenSecretRef.name) || self.spec.tokenSecretRef.name == ""`,message="a template cannot name Secrets: every Agent has its own",fieldPath=".spec.tokenSecretRef.name"
// +kubebuilder:validation:XValidation:rule=`!has(self.spec.sessionSecretRef) || !has(self.spec.sessionSecretRef.name) || self.spec.sessionSecretRef.name == ""`,message="a template cannot name Secrets: every Agent has its own",fieldPath=".spec.sessionSecretRef.name"
// +kubebuilder:validation:XValidation:rule=`!has(self.spec.suspend) || !self.spec.suspend`,message="a template cannot set suspend: suspend single Agents",fieldPath=".spec.suspend"
type AgentTemplate struct {
	// metadata that every Agent has.
	// +optional
	Metadata AgentTemplateMeta `json:"metadata,omitzero"`

	// spec of every Agent. It cannot set name, machineID, agentID, suspend or the
	// names of Secrets: these differ from Agent to Agent.
	// +required
	Spec AgentSpec `json:"spec,omitzero"`
}

// AgentSetSessions says where the sessions of the agents are stored.
type AgentSetSessions struct {
	// secretName is the beginning of the names of the Secrets that hold the
	// sessions: the operator appends "-0", "-1" and so on. Default: the name of
	// this object with "-sessions" appended.
	// +kubebuilder:validation:MaxLength=250
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	// +optional
	SecretName string `json:"secretName,omitempty"`

	// shards is the number of Secrets that the sessions are spread over, from 1
	// to 32. One Secret holds about 1,000 sessions. Default: 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32
	// +default=1
	// +optional
	Shards int32 `json:"shards,omitempty"`
}

// AgentSetSpec declares one Agent for each node or replica of a workload.
type AgentSetSpec struct {
	// targetRef names the DaemonSet or StatefulSet, in the namespace of this
	// object, whose pods run the agents.
	// +required
	TargetRef WorkloadReference `json:"targetRef,omitzero"`

	// template is what the Agents have in common.
	// +required
	Template AgentTemplate `json:"template,omitzero"`

	// sessions says where the sessions of the agents are stored.
	// +default={"shards": 1}
	// +optional
	Sessions AgentSetSessions `json:"sessions,omitzero"`

	// removalDelay is how long an Agent outlives its node or replica, such as
	// "10m" or "1h30m", from 0s to 24h. If the node or replica returns within this
	// time, it keeps its agent. Default: 10m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) <= duration('24h')",message="must be between 0s and 24h"
	// +default="10m"
	// +optional
	RemovalDelay *metav1.Duration `json:"removalDelay,omitempty"`
}

// AgentSetStatus counts the Agents of an AgentSet. The numbers are updated at most every few
// seconds.
type AgentSetStatus struct {
	// conditions of this object: Ready, Reconciling, Stalled, Reporting.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the conditions
	// describe; -1 until the first reconciliation.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// selector is the label selector of the Agents.
	// +kubebuilder:validation:MaxLength=317
	// +optional
	Selector string `json:"selector,omitempty"`

	// desired is the number of nodes or replicas that need an Agent.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Desired int32 `json:"desired"`

	// current is the number of Agents, including those that wait for removal.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Current int32 `json:"current"`

	// upToDate is the number of desired Agents that have the current template.
	// +kubebuilder:validation:Minimum=0
	// +optional
	UpToDate int32 `json:"upToDate"`

	// ready is the number of desired Agents that are Ready.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Ready int32 `json:"ready"`

	// reporting is the number of desired Agents whose metrics Calyptia Cloud
	// receives.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Reporting int32 `json:"reporting"`

	// shards is the number of Secrets that hold sessions.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Shards int32 `json:"shards"`

	// lastHandledReconcileAt is the last value of the annotation
	// cloud.calyptia.com/reconcile-at that the operator acted on.
	// +kubebuilder:validation:MaxLength=262144
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}

// AgentSet declares one Agent for each node of a DaemonSet, or for each replica of a StatefulSet,
// and stores their sessions in Secrets that the pods mount.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=cagtset,categories=calyptia
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.desired`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Reporting",type=integer,JSONPath=`.status.reporting`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Up-to-date",type=integer,priority=1,JSONPath=`.status.upToDate`
// +kubebuilder:printcolumn:name="Target",type=string,priority=1,JSONPath=`.spec.targetRef.name`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name is the value of a label of every Agent: use at most 63 characters"
type AgentSet struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec declares one Agent for each node or replica of a workload.
	// +required
	Spec AgentSetSpec `json:"spec,omitzero"`

	// status is what the operator last observed. The operator writes it; do not edit
	// it.
	// +default={"observedGeneration":-1,"desired":0,"current":0,"upToDate":0,"ready":0,"reporting":0,"shards":0}
	// +optional
	Status AgentSetStatus `json:"status,omitzero"`
}

// AgentSetList is a list of AgentSets.
//
// +kubebuilder:object:root=true
type AgentSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AgentSet `json:"items"`
}
