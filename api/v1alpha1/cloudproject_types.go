/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Authentication says how the project token is sent.
type Authentication string

// Ways of authentication.
const (
	// Bearer, then ProjectToken: the accepted one is kept.
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

// Adoption says which Agents may adopt existing remote agents with agentID.
type Adoption string

// Adoption policies.
const (
	// Only Agents in the namespace of the CloudProject may adopt agents.
	AdoptionSameNamespace Adoption = "SameNamespace"
	// Every Agent that may use the CloudProject may adopt any agent of the
	// project.
	AdoptionAllowed Adoption = "Allowed"
)

// TokenSecretReference names the Secret that holds a project token.
type TokenSecretReference struct {
	// name of the Secret, in the namespace of the CloudProject.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	// +required
	Name string `json:"name,omitempty"`

	// key of the Secret that holds the token. Default: token.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[-._a-zA-Z0-9]+$')",message="must be a key of a Secret: letters, digits, '-', '_' and '.'"
	// +default="token"
	// +optional
	Key string `json:"key,omitempty"`
}

// AllowedNamespaces says which namespaces may use a CloudProject.
// +kubebuilder:validation:XValidation:rule="(self.from == 'Selector') == has(self.selector)",message="set selector if, and only if, from is Selector",fieldPath=".selector"
type AllowedNamespaces struct {
	// from is Same (only the namespace of the CloudProject), All, or Selector (the
	// namespaces that selector matches). Default: Same.
	// +kubebuilder:validation:Enum=Same;All;Selector
	// +default="Same"
	// +optional
	From NamespacesFrom `json:"from,omitempty"`

	// selector matches namespaces by their labels. Set it if, and only if, from is
	// Selector.
	// +kubebuilder:validation:XValidation:rule="!has(self.matchLabels) || size(self.matchLabels) <= 64",message="must have at most 64 labels",fieldPath=".matchLabels"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || size(self.matchExpressions) <= 16 && self.matchExpressions.all(e, !has(e.values) || size(e.values) <= 1024)",message="must have at most 16 expressions with at most 1024 values each",fieldPath=".matchExpressions"
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// RateLimit bounds the requests to the API, over all Agents of a CloudProject.
type RateLimit struct {
	// requestsPerSecond is the sustained rate of requests; 0 means no limit.
	// Default: 10.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	// +default=10
	// +optional
	RequestsPerSecond *int32 `json:"requestsPerSecond,omitempty"`

	// burst is the number of requests that may reach the API at once after an idle
	// time. The operator keeps a quarter of it in reserve, because requests arrive
	// less evenly than they are sent. Default: 20.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +default=20
	// +optional
	Burst *int32 `json:"burst,omitempty"`
}

// CloudProjectSpec says how a Calyptia Cloud project is reached.
type CloudProjectSpec struct {
	// url of the API. The scheme must be https, unless the operator runs with
	// --allow-insecure-http. The host must be in the operator's flag
	// --allowed-hosts. Do not append /v1: the operator adds it. Default:
	// https://cloud-api.calyptia.com.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['https', 'http'] && url(self).getHostname() != ''",message="must be an absolute URL that begins with https://, such as https://cloud-api.calyptia.com"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && !self.contains('?') && !self.contains('#')",message="must have no user, query or fragment: use scheme, host and path only"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[^/:]/+v1/*(agents/*)?$')",message="must not end in /v1: remove it, the operator adds it to every request"
	// +default="https://cloud-api.calyptia.com"
	// +optional
	URL string `json:"url,omitempty"`

	// tokenSecretRef names the Secret, in the same namespace, that holds the project
	// token.
	// +required
	TokenSecretRef TokenSecretReference `json:"tokenSecretRef,omitzero"`

	// authentication is how the token is sent: Bearer, ProjectToken (the header
	// X-Project-Token), or Auto, which tries both and keeps the accepted one.
	// Default: Auto.
	// +kubebuilder:validation:Enum=Auto;Bearer;ProjectToken
	// +default="Auto"
	// +optional
	Authentication Authentication `json:"authentication,omitempty"`

	// projectID is the UUID of the project. Usually the token contains it. If the
	// token does not, the agents of the project can be listed only if projectID is
	// set.
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="must be a UUID in lower case, such as 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	// +optional
	ProjectID string `json:"projectID,omitempty"`

	// caBundle names a key of a ConfigMap or Secret in the same namespace that holds
	// PEM certificates of a private certificate authority, such as
	// {"configMapKeyRef": {"name": "corporate-ca", "key": "ca.crt"}}. The system's
	// authorities stay trusted.
	// +optional
	CABundle *KeySource `json:"caBundle,omitempty"`

	// allowedNamespaces says from which namespaces Agents may use this CloudProject.
	// Default: only its own namespace.
	// +default={"from": "Same"}
	// +optional
	AllowedNamespaces *AllowedNamespaces `json:"allowedNamespaces,omitempty"`

	// adoption says which Agents may set agentID to adopt existing agents of the
	// project: only Agents in the namespace of this CloudProject (SameNamespace), or
	// all Agents that may use it (Allowed). Default: SameNamespace.
	// +kubebuilder:validation:Enum=SameNamespace;Allowed
	// +default="SameNamespace"
	// +optional
	Adoption Adoption `json:"adoption,omitempty"`

	// rateLimit bounds the requests to the API, over all Agents of this
	// CloudProject.
	// +default={"requestsPerSecond": 10, "burst": 20}
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`

	// resyncInterval is how often the operator compares each Agent with Calyptia
	// Cloud, such as "10m" or "1h30m", from 1m to 24h. The operator uses a longer
	// interval if the rate limit is too low for this one, or if listing all agents
	// takes longer than half of it; status.resyncInterval shows the interval in use.
	// Default: 10m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('24h')",message="must be between 1m and 24h"
	// +default="10m"
	// +optional
	ResyncInterval *metav1.Duration `json:"resyncInterval,omitempty"`
}

// CloudProjectStatus is what the operator last observed.
type CloudProjectStatus struct {
	// conditions of this object: Ready, Reconciling and Stalled.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the conditions describe;
	// -1 until the first reconciliation.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// projectID is the UUID of the project, if known.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ProjectID string `json:"projectID,omitempty"`

	// url at which the credentials were verified.
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	URL string `json:"url,omitempty"`

	// authentication that the API accepted: Bearer or ProjectToken.
	// +kubebuilder:validation:Enum=Bearer;ProjectToken
	// +optional
	Authentication Authentication `json:"authentication,omitempty"`

	// listSupported says whether the API lists the agents of the project. It is
	// absent until that is known.
	// +optional
	ListSupported *bool `json:"listSupported,omitempty"`

	// agents is the number of Agents that use this CloudProject. Updated at most
	// once a minute.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Agents int32 `json:"agents"`

	// resyncInterval in use: the interval of the spec, or a longer one if the rate
	// limit is too low for it, or if listing all agents takes longer than half of
	// it.
	// +optional
	ResyncInterval *metav1.Duration `json:"resyncInterval,omitempty"`

	// lastHandledReconcileAt is the last value of the annotation
	// cloud.calyptia.com/reconcile-at that the operator acted on.
	// +kubebuilder:validation:MaxLength=262144
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`

	// duplicateAgents lists the IDs of agents in Calyptia Cloud that have the
	// machine ID of an Agent without being its remote agent. The operator does not
	// delete them. Check which agent is needed, and delete the other.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=64
	// +optional
	DuplicateAgents []string `json:"duplicateAgents,omitempty"`
}

// CloudProject says how a Calyptia Cloud project is reached: the URL of the API, the project token,
// and which Agents may use it.
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
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says how the project is reached.
	// +required
	Spec CloudProjectSpec `json:"spec,omitzero"`

	// status is what the operator last observed. The operator writes it; do not edit
	// it.
	// +default={"observedGeneration":-1}
	// +optional
	Status CloudProjectStatus `json:"status,omitzero"`
}

// CloudProjectList is a list of CloudProjects.
//
// +kubebuilder:object:root=true
type CloudProjectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CloudProject `json:"items"`
}
