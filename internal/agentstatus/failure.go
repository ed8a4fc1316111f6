/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentstatus

import (
	"errors"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// MachineIDRemedy is what to do about a machine ID that another agent has.
const MachineIDRemedy = "set spec.agentID to adopt that agent, or delete this Agent and create it with another spec.machineID"

// MaxNote is the longest note that the API server accepts in an event, in characters of up to four bytes.
const MaxNote = 250

// Classify gives every failure of a reconciliation its class, reason and message; nil for none. It is the one table
// of failures.
func Classify(err error) *fault.Error {
	if err == nil {
		return nil
	}
	return Presentable(classify(err))
}

func classify(err error) *fault.Error {
	if f, ok := fault.As(err); ok {
		return f
	}
	if e, ok := cloud.AsError(err); ok {
		return fromCloud(e).Because(err)
	}
	if apiserver.Outdated(err) {
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "the object was changed meanwhile").Quietly().Because(err)
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return fault.Retryablef(v1alpha1.ReasonAPIServer,
			"the Kubernetes API server responded: %s", Clip(status.Status().Message)).Because(err)
	}
	return fault.Retryablef(v1alpha1.ReasonAPIServer, "the Kubernetes API server cannot be reached").Because(err)
}

// fromCloud is the part of the table for errors of Calyptia Cloud.
func fromCloud(e *cloud.Error) *fault.Error {
	switch e.Reason {
	case cloud.ReasonInvalid, cloud.ReasonFleetNotFound, cloud.ReasonEnvironmentNotFound:
		return refusal(e)
	case cloud.ReasonQuotaExceeded:
		return fault.Terminalf(v1alpha1.ReasonQuotaExceeded,
			"%v: delete agents that are not needed, or have the quota raised", e)
	case cloud.ReasonFieldForbidden:
		return fault.Terminalf(v1alpha1.ReasonForbidden,
			"%v: the API does not allow this change; remove the field from the spec", e)
	case cloud.ReasonForbidden:
		return fault.Terminalf(v1alpha1.ReasonForbidden,
			"%v: the token of the CloudProject does not allow it; use a project token", e)
	case cloud.ReasonConflict:
		return fault.Terminalf(v1alpha1.ReasonMachineIDConflict, "%v: "+MachineIDRemedy, e)
	case cloud.ReasonUnauthorized:
		if e.Status == http.StatusUnauthorized && !e.API {
			return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
				"%v: the credentials are checked again; if they are good, see what is between the operator and the API", e)
		}
		return fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"the API refuses the token of the CloudProject: correct the token in its Secret").Coded(fault.ProjectNotReady)
	case cloud.ReasonRateLimited:
		if !e.API && e.OfContent() { // Coded as retryable: the project may not be throttled, so nothing would wake the Agent.
			return fault.Retryablef(v1alpha1.ReasonRateLimited,
				"%v: if it persists, have what filters requests allow it, or change the configuration", e).
				Coded(fault.Throttled).After(e.RetryAfter)
		}
		limited := fault.Waitingf(v1alpha1.ReasonRateLimited,
			"the API asked the operator to wait; the request is retried automatically").Coded(fault.Throttled).After(e.RetryAfter)
		if e.RetryAfter == 0 { // No event shows the end of the limit: without a time, only a backoff ends the wait.
			limited.Class = fault.Retryable
		}
		return limited
	case cloud.ReasonContentRefused:
		if e.Class == cloud.ClassTerminal {
			return fault.Terminalf(v1alpha1.ReasonInvalid, "%v: make the configuration smaller, or have the limit raised", e)
		}
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
			"%v: have what filters requests allow it, or change the configuration", e).After(e.RetryAfter)
	case cloud.ReasonTooLarge:
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse, "%v: make what the remote agent holds smaller", e)
	case cloud.ReasonInvalidResponse, cloud.ReasonNotFound, cloud.ReasonAgentNotFound, cloud.ReasonGone:
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
			"%v: check the CloudProject's url and what is between it and the operator", e).After(e.RetryAfter)
	case cloud.ReasonUnsupported:
		return fault.Terminalf(v1alpha1.ReasonInvalidResponse,
			"%v: check the CloudProject's url", e)
	default:
		return fault.Retryablef(v1alpha1.ReasonUnavailable, "%v", e).After(e.RetryAfter)
	}
}

// fieldOf maps words in an error message to the field of the spec.
var fieldOf = []struct{ words, field string }{
	{"agent name", "spec.name"},
	{"machine id", "spec.machineID (immutable: delete this Agent and create it again)"},
	{"agent type", "spec.type (immutable: delete this Agent and create it again)"},
	{"agent version", "spec.version"},
	{"agent edition", "spec.edition"},
	{"agent flags", "spec.flags"},
	{"raw config", "spec.rawConfig (or what spec.rawConfigFrom refers to)"},
	{"metadata", "spec.metadata"},
	{"fleet", "spec.fleet"},
	{"environment", "spec.environment"},
}

func refusal(e *cloud.Error) *fault.Error {
	said := strings.ToLower(e.Message + " " + e.Detail)
	for _, f := range fieldOf {
		if strings.Contains(said, f.words) {
			return fault.Terminalf(v1alpha1.ReasonInvalid, "%v: correct %s", e, f.field)
		}
	}
	return fault.Terminalf(v1alpha1.ReasonInvalid, "%v: correct the spec", e)
}

// Clip cleans and shortens text from outside the operator.
func Clip(s string) string { return cloud.Clean(s, MaxNote) }

// maxMessage is the longest message. Each part that comes from outside is much shorter.
const maxMessage = 4096

// Message cleans and bounds the message of a condition, an event or a log line.
func Message(s string) string { return cloud.Clean(s, maxMessage) }

// Presentable returns a failure whose message is clean and bounded.
func Presentable(f *fault.Error) *fault.Error {
	if message := Message(f.Message); message != f.Message {
		return f.Saying(message)
	}
	return f
}

// Bound cuts a text to a number of characters.
func Bound(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// CodeOf is the code of a failure, as Classify gives it.
func CodeOf(err error) fault.Code {
	if f := Classify(err); f != nil {
		return f.Code
	}
	return fault.NoCode
}
