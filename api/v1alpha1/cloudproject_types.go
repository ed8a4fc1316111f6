/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Authentication is the way in which the project token is shown to the service.
type Authentication string

// Ways of authentication.
const (
	// Bearer is tried, then ProjectToken; the one that the service accepts is kept.
	AuthenticationAuto Authentication = "Auto"
	// The header is "Authorization: Bearer <token>".
	AuthenticationBearer Authentication = "Bearer"
	// The header is "X-Project-Token: <token>".
	AuthenticationProjectToken Authentication = "ProjectToken"
)

// NamespacesFrom says which namespaces may use a CloudProject.
type NamespacesFrom string

// Choices of namespaces.
const (
	// Only the namespace of the CloudProject.
	NamespacesFromSame NamespacesFrom = "Same"
	// Every namespace.
	NamespacesFromAll NamespacesFrom = "All"
	// The namespaces that the selector chooses.
	NamespacesFromSelector NamespacesFrom = "Selector"
)

// Adoption says who may take over existing remote agents with agentID.
type Adoption string

// Adoption policies.
const (
	// Only Agents in the namespace of the CloudProject may take over agents.
	AdoptionSameNamespace Adoption = "SameNamespace"
	// Every Agent that may use the CloudProject may take over any agent of the
	// project.
	AdoptionAllowed Adoption = "Allowed"
)

// TokenSecretReference names the Secret that holds a project token.
type TokenSecretReference struct {
	// Name of the Secret, in the namespace of the CloudProject.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	Name string `json:"name"`

	// Key of the Secret that holds the token. Default: token.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[-._a-zA-Z0-9]+$')",message="must be a key of a Secret: letters, digits, '-', '_' and '.'"
	// +kubebuilder:default=token
	// +optional
	Key string `json:"key,omitempty"`
}

// AllowedNamespaces says which namespaces may use a CloudProject.
// +kubebuilder:validation:XValidation:rule="(self.from == 'Selector') == has(self.selector)",message="set selector if, and only if, from is Selector",fieldPath=".selector"
type AllowedNamespaces struct {
	// From is Same (only the namespace of the CloudProject), All, or Selector
	// (those that selector chooses). Default: Same.
	// +kubebuilder:validation:Enum=Same;All;Selector
	// +kubebuilder:default=Same
	// +optional
	From NamespacesFrom `json:"from,omitempty"`

	// Selector chooses namespaces by their labels. Set it if, and only if, from is
	// Selector.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// RateLimit bounds the calls to the service, over all Agents of a CloudProject.
type RateLimit struct {
	// RequestsPerSecond is the sustained rate of calls; 0 means no limit. Default:
	// 10.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	// +kubebuilder:default=10
	// +optional
	RequestsPerSecond *int32 `json:"requestsPerSecond,omitempty"`

	// Burst is the number of calls that may reach the service at once after a
	// quiet time. A quarter of it is kept back, because calls arrive less evenly
	// than they are sent. Default: 20.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +kubebuilder:default=20
	// +optional
	Burst *int32 `json:"burst,omitempty"`
}

// CloudProjectSpec says how a Calyptia Cloud project is reached.
type CloudProjectSpec struct {
	// URL of the service. Its scheme has to be https, unless the operator runs
	// with --allow-insecure-http, and its host one of those in the operator's flag
	// --allowed-hosts. It does not end in /v1: the operator adds that. Default:
	// https://cloud-api.calyptia.com.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['https', 'http'] && url(self).getHostname() != ''",message="must be an absolute URL that begins with https://, such as https://cloud-api.calyptia.com"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && !self.contains('?') && !self.contains('#')",message="must have no user, query or fragment: give scheme, host and path only"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[^/:]/+v1/*(agents/*)?$')",message="must not end in /v1: leave it out, the operator adds it to every request"
	// +kubebuilder:default="https://cloud-api.calyptia.com"
	// +optional
	URL string `json:"url,omitempty"`

	// TokenSecretRef names the Secret, in the same namespace, that holds the
	// project token.
	// +required
	TokenSecretRef TokenSecretReference `json:"tokenSecretRef"`

	// Authentication is how the token is shown to the service: Bearer,
	// ProjectToken (the header X-Project-Token), or Auto, which tries both and
	// keeps the one that is accepted. Default: Auto.
	// +kubebuilder:validation:Enum=Auto;Bearer;ProjectToken
	// +kubebuilder:default=Auto
	// +optional
	Authentication Authentication `json:"authentication,omitempty"`

	// ProjectID is the UUID of the project. Usually the token tells it; where it
	// does not, the agents of the project can be listed only if it is set here.
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="must be a UUID in lower case, such as 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	// +optional
	ProjectID string `json:"projectID,omitempty"`

	// CABundle names a key of a ConfigMap or Secret in the same namespace that
	// holds certificates (PEM) of a private authority, such as {"configMapKeyRef":
	// {"name": "corporate-ca", "key": "ca.crt"}}. They are trusted beside those of
	// the system.
	// +optional
	CABundle *KeySource `json:"caBundle,omitempty"`

	// AllowedNamespaces says from which namespaces Agents may use this
	// CloudProject. Default: its own alone.
	// +kubebuilder:default={from: Same}
	// +optional
	AllowedNamespaces *AllowedNamespaces `json:"allowedNamespaces,omitempty"`

	// Adoption says which Agents may set agentID, and so take over existing agents
	// of the project: only those in the namespace of this CloudProject
	// (SameNamespace), or all that may use it (Allowed). Default: SameNamespace.
	// +kubebuilder:validation:Enum=SameNamespace;Allowed
	// +kubebuilder:default=SameNamespace
	// +optional
	Adoption Adoption `json:"adoption,omitempty"`

	// RateLimit bounds the calls to the service, of all Agents of this
	// CloudProject together.
	// +kubebuilder:default={requestsPerSecond: 10, burst: 20}
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`

	// ResyncInterval is how often every Agent is compared with the service, such
	// as "10m" or "1h30m", from 1m to 24h. Where the rate limit is too low for
	// that, or the list of all agents takes longer than half of it, it is longer,
	// and the status shows the one in force. Default: 10m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('24h')",message="must be between 1m and 24h"
	// +kubebuilder:default="10m"
	// +optional
	ResyncInterval *metav1.Duration `json:"resyncInterval,omitempty"`
}

// CloudProjectStatus is what the operator knows of the project.
type CloudProjectStatus struct {
	// ObservedGeneration is the generation of the spec that the conditions speak
	// of; -1 as long as the operator has not seen this object.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// ProjectID is the UUID of the project, where it is known.
	// +optional
	ProjectID string `json:"projectID,omitempty"`

	// URL at which the credentials were proved.
	// +optional
	URL string `json:"url,omitempty"`

	// Authentication that the service accepted: Bearer or ProjectToken.
	// +optional
	Authentication Authentication `json:"authentication,omitempty"`

	// ListSupported says whether the service can list the agents of the project.
	// +optional
	ListSupported *bool `json:"listSupported,omitempty"`

	// Agents is the number of Agents that use this CloudProject. Updated at most
	// once a minute.
	// +optional
	Agents int32 `json:"agents"`

	// ResyncInterval in force: that of the spec, or longer where the rate limit
	// could not serve it, or a list of all agents took longer than half of it.
	// +optional
	ResyncInterval *metav1.Duration `json:"resyncInterval,omitempty"`

	// LastHandledReconcileAt is the last value of the annotation
	// cloud.calyptia.com/reconcile-at that was acted on.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`

	// DuplicateAgents lists the IDs of agents in Calyptia Cloud that have the machine ID of
	// an Agent without being its own. The operator leaves them to a person: see
	// which one is needed, and delete the other.
	// +listType=atomic
	// +optional
	DuplicateAgents []string `json:"duplicateAgents,omitempty"`

	// Conditions of this object: Ready, Reconciling, Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CloudProject says how a Calyptia Cloud project is reached: where the service is, with which
// token, and which Agents may use it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=cproj,categories=calyptia
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Project ID",type=string,JSONPath=`.status.projectID`
// +kubebuilder:printcolumn:name="Agents",type=integer,JSONPath=`.status.agents`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Authentication",type=string,priority=1,JSONPath=`.status.authentication`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 241",message="metadata.name is too long for the Secret name derived from it: use at most 241 characters"
type CloudProject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says how the project is reached.
	// +required
	Spec CloudProjectSpec `json:"spec"`

	// Status is what the operator knows of the project.
	// +kubebuilder:default:={"observedGeneration":-1}
	// +optional
	Status CloudProjectStatus `json:"status,omitempty"`
}

// CloudProjectList is a list of CloudProjects.
//
// +kubebuilder:object:root=true
type CloudProjectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CloudProject `json:"items"`
}
