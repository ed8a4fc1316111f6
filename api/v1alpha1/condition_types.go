/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1

// Condition types. Ready, Reporting and Stalled=False are good; Reconciling, Stalled, Drifted and
// FieldsIgnored are only present when they are true.
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
	// ConditionFieldsIgnored is present when the service accepted fields and did not keep them.
	ConditionFieldsIgnored = "FieldsIgnored"
)

// Reasons of Ready=True.
const (
	// ReasonApplied: the remote agent is as declared.
	ReasonApplied = "Applied"
	// ReasonObserved: the remote agent is only observed, and exists.
	ReasonObserved = "Observed"
	// ReasonSuspended: reconciliation is suspended. Ready=True only if this generation was applied before.
	ReasonSuspended = "Suspended"
	// ReasonCredentialsVerified: the service accepted the credentials of the CloudProject.
	ReasonCredentialsVerified = "CredentialsVerified"
)

// Reasons that end by themselves or by a change elsewhere: Ready=False, or Unknown, without Stalled.
const (
	// ReasonProgressing: the operator is at work, or will try again by itself.
	ReasonProgressing = "Progressing"
	// ReasonRegistrationOutcomeUnknown: the outcome of a registration is not known yet, or cannot be known.
	ReasonRegistrationOutcomeUnknown = "RegistrationOutcomeUnknown"
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
	// ReasonInvalidResponse: something answered that is not the service, or not as the service should.
	ReasonInvalidResponse = "InvalidResponse"
	// ReasonAPIServer: the Kubernetes API server refused or failed a request.
	ReasonAPIServer = "APIServerError"
	// ReasonRemoteDeleted: the remote agent was deleted by somebody else and is registered anew.
	ReasonRemoteDeleted = "RemoteDeleted"
	// ReasonInUse: Agents still need the CloudProject that is being deleted.
	ReasonInUse = "InUse"
	// ReasonCredentialsUnverified: nothing has proved the credentials good or bad yet.
	ReasonCredentialsUnverified = "CredentialsUnverified"
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
	// ReasonRemoteAlreadyManaged: another Agent of the cluster holds the remote agent.
	ReasonRemoteAlreadyManaged = "RemoteAlreadyManaged"
	// ReasonRemoteNotFound: the remote agent is not where it should be.
	ReasonRemoteNotFound = "RemoteNotFound"
	// ReasonRemoteMismatch: the remote agent is another one than declared.
	ReasonRemoteMismatch = "RemoteMismatch"
	// ReasonAdoptionNotAllowed: the CloudProject does not let this namespace take over agents.
	ReasonAdoptionNotAllowed = "AdoptionNotAllowed"
	// ReasonSecretConflict: a Secret of the name exists that is not the operator's.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSecretWriteRefused: the API server refuses to store the Secret.
	ReasonSecretWriteRefused = "SecretWriteRefused"
	// ReasonTokenUnavailable: the service does not show the agent's token.
	ReasonTokenUnavailable = "TokenUnavailable"
	// ReasonURLNotAllowed: the URL of the CloudProject is not one that the operator may call.
	ReasonURLNotAllowed = "URLNotAllowed"
	// ReasonMassDeletionDetected: so many remote agents vanished at once that the operator stopped to register anew.
	ReasonMassDeletionDetected = "MassDeletionDetected"
	// ReasonReadOnly: the operator runs with --read-only and writes nothing remote.
	ReasonReadOnly = "ReadOnly"
)

// Reasons of Reporting, Drifted and FieldsIgnored.
const (
	// ReasonMetricsReceived: metrics came, and the service says healthy or the last ones are recent.
	ReasonMetricsReceived = "MetricsReceived"
	// ReasonMetricsStopped: the service does not say healthy, and the last metrics are older than three intervals.
	ReasonMetricsStopped = "MetricsStopped"
	// ReasonNeverReported: no metrics have come yet.
	ReasonNeverReported = "NeverReported"
	// ReasonChangedExternally: somebody else changed declared fields.
	ReasonChangedExternally = "ChangedExternally"
	// ReasonNotPersisted: the service accepted fields and did not keep them.
	ReasonNotPersisted = "NotPersisted"
)
