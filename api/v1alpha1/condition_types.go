/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1

// Condition types. Ready, Reporting and Stalled=False are good; Reconciling, Stalled, Drifted and
// NotHonoured are only present when they are true.
const (
	// ConditionReady is the summary: the remote agent exists and is as this generation declares.
	ConditionReady = "Ready"
	// ConditionReconciling is present while this generation is not applied yet.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present when only a person can bring the object on; its message says how.
	ConditionStalled = "Stalled"
	// ConditionReporting says whether the service receives metrics of the agent. It is no part of Ready.
	ConditionReporting = "Reporting"
	// ConditionDrifted is present when declared fields have another remote value and the sync policy lets it stand.
	ConditionDrifted = "Drifted"
	// ConditionNotHonoured is present when the service accepted fields and did not keep them.
	ConditionNotHonoured = "NotHonoured"
)

// Reasons of Ready=True.
const (
	// ReasonApplied: the remote agent is as declared.
	ReasonApplied = "Applied"
	// ReasonObserved: the remote agent is only observed, and exists.
	ReasonObserved = "Observed"
	// ReasonSuspended: reconciliation is suspended. Ready=True only if this generation was applied before.
	ReasonSuspended = "Suspended"
	// ReasonProved: the service accepted the credentials of the CloudProject.
	ReasonProved = "Proved"
)

// Reasons that end by themselves or by a change elsewhere: Ready=False, or Unknown, without Stalled.
const (
	// ReasonProgressing: the operator is at work, or will try again by itself.
	ReasonProgressing = "Progressing"
	// ReasonRegistrationUnknown: the outcome of a registration is not known yet, or cannot be known.
	ReasonRegistrationUnknown = "RegistrationUnknown"
	// ReasonProjectNotFound: the CloudProject does not exist.
	ReasonProjectNotFound = "ProjectNotFound"
	// ReasonProjectNotReady: the CloudProject cannot be used now; its own conditions say why.
	ReasonProjectNotReady = "ProjectNotReady"
	// ReasonSourceNotFound: a ConfigMap, Secret or key that is referred to does not exist.
	ReasonSourceNotFound = "SourceNotFound"
	// ReasonUnauthorized: the service refuses the project token.
	ReasonUnauthorized = "Unauthorized"
	// ReasonRateLimited: the service, or the rate limit of the CloudProject, asks to wait.
	ReasonRateLimited = "RateLimited"
	// ReasonUnavailable: the service cannot be reached or answers with an error of its own.
	ReasonUnavailable = "Unavailable"
	// ReasonInvalidAnswer: something answered that is not the service, or not as the service should.
	ReasonInvalidAnswer = "InvalidAnswer"
	// ReasonAPIServer: the Kubernetes API server refused or failed a request.
	ReasonAPIServer = "APIServerError"
	// ReasonRemoteGone: the remote agent was deleted by somebody else and is registered anew.
	ReasonRemoteGone = "RemoteGone"
	// ReasonInUse: Agents still need the CloudProject that is being deleted.
	ReasonInUse = "InUse"
	// ReasonNotProved: nothing has proved the credentials good or bad yet.
	ReasonNotProved = "NotProved"
)

// Reasons of Stalled=True: a person has to act.
const (
	// ReasonNoProject: neither spec.projectRef nor a default project names a CloudProject.
	ReasonNoProject = "NoProject"
	// ReasonProjectNotAllowed: the CloudProject does not admit the namespace of the Agent.
	ReasonProjectNotAllowed = "ProjectNotAllowed"
	// ReasonInvalid: the service, or the operator, refuses what is declared.
	ReasonInvalid = "Invalid"
	// ReasonSourceInvalid: what a referred ConfigMap or Secret holds cannot be used.
	ReasonSourceInvalid = "SourceInvalid"
	// ReasonForbidden: the service does not allow the call with this token.
	ReasonForbidden = "Forbidden"
	// ReasonQuotaExceeded: the project holds as many agents as it may.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonMachineIDConflict: another agent holds the machine ID.
	ReasonMachineIDConflict = "MachineIDConflict"
	// ReasonRemoteClaimed: another Agent of the cluster holds the remote agent.
	ReasonRemoteClaimed = "RemoteClaimed"
	// ReasonRemoteNotFound: the remote agent is not where it should be.
	ReasonRemoteNotFound = "RemoteNotFound"
	// ReasonRemoteMismatch: the remote agent is another one than declared.
	ReasonRemoteMismatch = "RemoteMismatch"
	// ReasonAdoptionNotAllowed: the CloudProject does not let this namespace take over agents.
	ReasonAdoptionNotAllowed = "AdoptionNotAllowed"
	// ReasonSecretConflict: a Secret of the name exists that is not the operator's.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSecretRefused: the API server refuses to store the Secret.
	ReasonSecretRefused = "SecretRefused"
	// ReasonTokenUnavailable: the service does not show the agent's token.
	ReasonTokenUnavailable = "TokenUnavailable"
	// ReasonURLNotAllowed: the URL of the CloudProject is not one that the operator may call.
	ReasonURLNotAllowed = "URLNotAllowed"
	// ReasonServerLost: so many remote agents vanished at once that the operator stopped to register anew.
	ReasonServerLost = "ServerLost"
	// ReasonReadOnly: the operator runs with --read-only and writes nothing remote.
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
	// ReasonAgentSetsDisabled: the operator runs without access to nodes and workloads.
	ReasonAgentSetsDisabled = "AgentSetsDisabled"
)

// Reasons of Reporting, Drifted and NotHonoured.
const (
	// ReasonMetricsReceived: metrics came, and the service says healthy or the last ones are recent.
	ReasonMetricsReceived = "MetricsReceived"
	// ReasonMetricsStopped: the service does not say healthy, and the last metrics are older than three intervals.
	ReasonMetricsStopped = "MetricsStopped"
	// ReasonNeverReported: no metrics have come yet.
	ReasonNeverReported = "NeverReported"
	// ReasonChangedElsewhere: somebody else changed declared fields.
	ReasonChangedElsewhere = "ChangedElsewhere"
	// ReasonNotKept: the service accepted fields and did not keep them.
	ReasonNotKept = "NotKept"
)
