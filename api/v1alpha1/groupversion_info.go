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
	// AnnotationReconcileAt requests a reconciliation. Set it to a value that it did not have before.
	AnnotationReconcileAt = "cloud.calyptia.com/reconcile-at"
	// AnnotationOrphan with the value "true" completes the deletion of an Agent without deleting its remote agent.
	AnnotationOrphan = "cloud.calyptia.com/orphan"
	// AnnotationOrphanAgents with the value "true" completes the deletion of a CloudProject that Agents still use.
	AnnotationOrphanAgents = "cloud.calyptia.com/orphan-agents"
	// AnnotationRegistrationIntent holds the registration intent, which is written before each registration.
	AnnotationRegistrationIntent = "cloud.calyptia.com/registration-intent"
	// AnnotationEndpoint is on the Secrets of a retained remote agent: the URL and the project that it is in. On the operator's copy of the
	// credentials it is the URL that they are for.
	AnnotationEndpoint = "cloud.calyptia.com/endpoint"
	// LabelAgentUID is on each Secret that the operator manages for the Agent with this UID.
	LabelAgentUID = "cloud.calyptia.com/agent-uid"
	// LabelAgentSet is the name of the AgentSet that an Agent, or a Secret with sessions, belongs to.
	LabelAgentSet = "cloud.calyptia.com/agentset"
	// LabelAgentSetKey has the node or replica that an Agent of an AgentSet runs on; shortened with a hash where it is long.
	LabelAgentSetKey = "cloud.calyptia.com/agentset-key"
	// LabelAgentSetUID is on each Secret with sessions that the operator manages for the AgentSet with this UID.
	LabelAgentSetUID = "cloud.calyptia.com/agentset-uid"
	// AnnotationRemovalStarted is when the node or replica of an AgentSet's Agent went away, as an RFC 3339 time.
	AnnotationRemovalStarted = "cloud.calyptia.com/removal-started"
	// LabelCloudProjectUID is on the operator's copy of the credentials of the CloudProject with this UID.
	LabelCloudProjectUID = "cloud.calyptia.com/cloudproject-uid"

	// AgentFinalizer keeps an Agent until its remote agent is deleted or released.
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
	// DigestKeyKey is the key, in the operator's copy of the credentials, of the secret that the hashes of configurations
	// in status.applied are made with.
	DigestKeyKey = "digest-key"
)
