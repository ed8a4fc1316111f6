/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package v1alpha1 holds the types of the API group cloud.calyptia.com: Agent,
// a Fluent Bit or Fluentd agent of a Calyptia Cloud project, AgentSet, one Agent
// for each node or replica of a workload, and CloudProject, which says how that
// project is reached.
//
// +kubebuilder:object:generate=true
// +groupName=cloud.calyptia.com
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion of all kinds in this package.
	GroupVersion = schema.GroupVersion{Group: "cloud.calyptia.com", Version: "v1alpha1"}

	schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme registers the kinds of this package.
	AddToScheme = schemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Agent{}, &AgentList{}, &AgentSet{}, &AgentSetList{}, &CloudProject{}, &CloudProjectList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}

// Names that users and the operator write on objects.
const (
	// AnnotationReconcileAt asks for a reconciliation now. Any value that was not there before will do.
	AnnotationReconcileAt = "cloud.calyptia.com/reconcile-at"
	// AnnotationOrphan with the value "true" lets the deletion of an Agent finish without its remote agent.
	AnnotationOrphan = "cloud.calyptia.com/orphan"
	// AnnotationOrphanAgents with the value "true" lets the deletion of a CloudProject finish while Agents use it.
	AnnotationOrphanAgents = "cloud.calyptia.com/orphan-agents"
	// AnnotationRegistering is the operator's write-ahead record of a registration: "<time>/<random>".
	AnnotationRegistering = "cloud.calyptia.com/registering"
	// LabelAgentUID marks a Secret that the operator keeps for the Agent with this UID.
	LabelAgentUID = "cloud.calyptia.com/agent-uid"
	// LabelAgentSet has the name of the AgentSet that an Agent, or a Secret with sessions, belongs to.
	LabelAgentSet = "cloud.calyptia.com/agentset"
	// LabelAgentSetKey has the node or replica that an Agent of an AgentSet runs on; shortened with a hash where it is long.
	LabelAgentSetKey = "cloud.calyptia.com/agentset-key"
	// LabelAgentSetUID marks a Secret with sessions that the operator keeps for the AgentSet with this UID.
	LabelAgentSetUID = "cloud.calyptia.com/agentset-uid"
	// AnnotationRemovalStarted is when the node or replica of an AgentSet's Agent went away, as an RFC 3339 time.
	AnnotationRemovalStarted = "cloud.calyptia.com/removal-started"
	// LabelCloudProjectUID marks the operator's copy of the credentials of the CloudProject with this UID.
	LabelCloudProjectUID = "cloud.calyptia.com/cloudproject-uid"

	// AgentFinalizer holds an Agent back until its remote agent is gone or released.
	AgentFinalizer = "cloud.calyptia.com/agent"
	// CloudProjectFinalizer holds a CloudProject back while Agents need it for their deletion.
	CloudProjectFinalizer = "cloud.calyptia.com/cloudproject"
	// CredentialsFinalizer keeps the operator's copy of a CloudProject's credentials as long as the CloudProject.
	CredentialsFinalizer = "cloud.calyptia.com/credentials"

	// TokenKey and IDKey are the keys of the Secret that the operator writes for an Agent.
	TokenKey = "token"
	IDKey    = "id"
	// CABundleKey is the key of the private CA in the operator's copy of the credentials.
	CABundleKey = "ca.crt"
	// DigestKeyKey is the key, in the operator's copy of the credentials, of the secret with which status.applied tells
	// configurations apart.
	DigestKeyKey = "digest-key"
)
