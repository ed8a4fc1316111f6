/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1

// Condition types. Ready, Reporting and Stalled=False are good; Reconciling, Stalled, Drifted and
// FieldsIgnored are only present when they are true.
const (
	// ConditionReady is the summary: the latest generation is applied and verified.
	ConditionReady = "Ready"
	// ConditionReconciling is present while the latest generation is being applied.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present when user action is required; its message says which.
	ConditionStalled = "Stalled"
	// ConditionReporting says whether Calyptia Cloud receives metrics of the agent. It does not affect Ready.
	ConditionReporting = "Reporting"
	// ConditionDrifted is present when declared fields drifted and the sync policy does not correct them.
	ConditionDrifted = "Drifted"
	// ConditionFieldsIgnored is present when the API accepted fields but did not persist them.
	ConditionFieldsIgnored = "FieldsIgnored"
)

// Reasons of Ready=True.
const (
	// ReasonApplied: the remote agent is as declared.
	ReasonApplied = "Applied"
	// ReasonObserved: the remote agent exists and is only observed.
	ReasonObserved = "Observed"
	// ReasonSuspended: reconciliation is suspended. Ready=True only if this generation was applied before.
	ReasonSuspended = "Suspended"
	// ReasonCredentialsVerified: the API accepted the credentials of the CloudProject.
	ReasonCredentialsVerified = "CredentialsVerified"
)

// Reasons of Ready=False or Unknown without Stalled: retried automatically, or on a change elsewhere.
const (
	// ReasonProgressing: the operator is applying the spec, or retries automatically.
	ReasonProgressing = "Progressing"
	// ReasonRegistrationOutcomeUnknown: it is unknown whether a registration succeeded.
	ReasonRegistrationOutcomeUnknown = "RegistrationOutcomeUnknown"
	// ReasonProjectNotFound: the CloudProject does not exist.
	ReasonProjectNotFound = "ProjectNotFound"
	// ReasonProjectNotReady: the CloudProject is not Ready; see its conditions.
	ReasonProjectNotReady = "ProjectNotReady"
	// ReasonSourceNotFound: a referenced ConfigMap, Secret or key does not exist.
	ReasonSourceNotFound = "SourceNotFound"
	// ReasonNameNotFound: the project has no fleet or environment of the name.
	ReasonNameNotFound = "NameNotFound"
	// ReasonUnauthorized: the API rejects the project token.
	ReasonUnauthorized = "Unauthorized"
	// ReasonRateLimited: the API, or the rate limit of the CloudProject, asked to wait.
	ReasonRateLimited = "RateLimited"
	// ReasonUnavailable: the API cannot be reached or responds with a server error.
	ReasonUnavailable = "Unavailable"
	// ReasonInvalidResponse: a response did not come from the API, or is not a valid one.
	ReasonInvalidResponse = "InvalidResponse"
	// ReasonListTooLarge: the API lists more remote agents than the operator holds in memory.
	ReasonListTooLarge = "ListTooLarge"
	// ReasonAPIServer: a request to the Kubernetes API server failed.
	ReasonAPIServer = "APIServerError"
	// ReasonRemoteDeleted: the remote agent was deleted externally; it is re-registered.
	ReasonRemoteDeleted = "RemoteDeleted"
	// ReasonInUse: Agents still use the CloudProject that is being deleted, or somebody else's finalizer keeps it.
	ReasonInUse = "InUse"
	// ReasonCredentialsUnverified: the credentials were neither accepted nor rejected yet.
	ReasonCredentialsUnverified = "CredentialsUnverified"
)

// Reasons of Stalled=True: user action is required.
const (
	// ReasonNoProject: neither spec.projectRef nor a default project names a CloudProject.
	ReasonNoProject = "NoProject"
	// ReasonProjectNotAllowed: the CloudProject does not allow the namespace of the Agent.
	ReasonProjectNotAllowed = "ProjectNotAllowed"
	// ReasonInvalid: the API, or the operator, rejects the spec.
	ReasonInvalid = "Invalid"
	// ReasonSourceInvalid: the content of a referenced ConfigMap or Secret cannot be used.
	ReasonSourceInvalid = "SourceInvalid"
	// ReasonForbidden: the API does not allow the request with this token.
	ReasonForbidden = "Forbidden"
	// ReasonQuotaExceeded: the project reached its quota of agents.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonMachineIDConflict: another agent has the machine ID.
	ReasonMachineIDConflict = "MachineIDConflict"
	// ReasonRemoteAlreadyManaged: another Agent of the cluster manages the remote agent.
	ReasonRemoteAlreadyManaged = "RemoteAlreadyManaged"
	// ReasonRemoteNotFound: the remote agent does not exist at this endpoint.
	ReasonRemoteNotFound = "RemoteNotFound"
	// ReasonRemoteMismatch: the remote agent is not the declared one.
	ReasonRemoteMismatch = "RemoteMismatch"
	// ReasonAdoptionNotAllowed: the CloudProject does not allow this namespace to adopt agents.
	ReasonAdoptionNotAllowed = "AdoptionNotAllowed"
	// ReasonSecretConflict: a Secret of that name exists that the operator does not manage.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSecretWriteRefused: the Kubernetes API server refuses to store the Secret.
	ReasonSecretWriteRefused = "SecretWriteRefused"
	// ReasonTokenUnavailable: the API does not return the token of the agent.
	ReasonTokenUnavailable = "TokenUnavailable"
	// ReasonURLNotAllowed: the operator may not send requests to the URL of the CloudProject.
	ReasonURLNotAllowed = "URLNotAllowed"
	// ReasonMassDeletionDetected: many remote agents disappeared at once, so registration is paused.
	ReasonMassDeletionDetected = "MassDeletionDetected"
	// ReasonReadOnly: the operator runs with --read-only and writes nothing in Calyptia Cloud.
	ReasonReadOnly = "ReadOnly"
)

// Reasons of an AgentSet alone.
const (
	// ReasonTargetNotFound: the workload of spec.targetRef does not exist.
	ReasonTargetNotFound = "TargetNotFound"
	// ReasonTargetConflict: an older AgentSet has the same workload.
	ReasonTargetConflict = "TargetConflict"
	// ReasonAgentConflict: an Agent that the AgentSet needs exists and is not its own, or cannot be what the template says.
	ReasonAgentConflict = "AgentConflict"
	// ReasonAgentsNotReady: some Agents of the AgentSet are not Ready.
	ReasonAgentsNotReady = "AgentsNotReady"
	// ReasonAgentsNotReporting: some Agents of the AgentSet do not report.
	ReasonAgentsNotReporting = "AgentsNotReporting"
	// ReasonSessionsTooLarge: the sessions do not fit into the Secrets.
	ReasonSessionsTooLarge = "SessionsTooLarge"
	// ReasonTooManyReplicas: the workload has more replicas than an AgentSet can have Agents.
	ReasonTooManyReplicas = "TooManyReplicas"
	// ReasonTargetTooLarge: the DaemonSet selects its nodes by more than the operator keeps in memory.
	ReasonTargetTooLarge = "TargetTooLarge"
	// ReasonAgentSetsDisabled: the operator runs without access to nodes and workloads.
	ReasonAgentSetsDisabled = "AgentSetsDisabled"
)

// Reasons of Reporting, Drifted and FieldsIgnored.
const (
	// ReasonMetricsReceived: metrics were received, and the agent is healthy or its last metrics are recent.
	ReasonMetricsReceived = "MetricsReceived"
	// ReasonMetricsStopped: the agent is not healthy, and its last metrics are older than three intervals.
	ReasonMetricsStopped = "MetricsStopped"
	// ReasonNeverReported: no metrics were received yet.
	ReasonNeverReported = "NeverReported"
	// ReasonChangedExternally: declared fields were changed externally.
	ReasonChangedExternally = "ChangedExternally"
	// ReasonNotPersisted: the API accepted fields but did not persist them.
	ReasonNotPersisted = "NotPersisted"
)
