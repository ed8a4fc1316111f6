/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1

import "slices"

// reasons are all that the conditions of this API have.
var reasons = []string{
	ReasonApplied, ReasonObserved, ReasonSuspended, ReasonCredentialsVerified, ReasonProgressing, ReasonRegistrationOutcomeUnknown,
	ReasonProjectNotFound, ReasonProjectNotReady, ReasonSourceNotFound, ReasonNameNotFound, ReasonUnauthorized, ReasonRateLimited,
	ReasonUnavailable, ReasonInvalidResponse, ReasonListTooLarge, ReasonAPIServer, ReasonRemoteDeleted, ReasonInUse,
	ReasonCredentialsUnverified, ReasonNoProject, ReasonProjectNotAllowed, ReasonInvalid, ReasonSourceInvalid,
	ReasonForbidden, ReasonQuotaExceeded, ReasonMachineIDConflict, ReasonRemoteAlreadyManaged, ReasonRemoteNotFound,
	ReasonRemoteMismatch, ReasonAdoptionNotAllowed, ReasonSecretConflict, ReasonSecretWriteRefused,
	ReasonTokenUnavailable, ReasonURLNotAllowed, ReasonMassDeletionDetected, ReasonReadOnly, ReasonMetricsReceived,
	ReasonMetricsStopped, ReasonNeverReported, ReasonChangedExternally, ReasonNotPersisted,
	ReasonTargetNotFound, ReasonTargetConflict, ReasonAgentConflict, ReasonAgentsNotReady, ReasonAgentsNotReporting,
	ReasonSessionsTooLarge, ReasonTooManyReplicas, ReasonTargetTooLarge, ReasonAgentSetsDisabled,
}

// IsReason reports whether a reason is one of this API: others can write into a status, too.
func IsReason(reason string) bool { return slices.Contains(reasons, reason) }
