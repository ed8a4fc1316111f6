/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"errors"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// classed is a failure with its class; the zero value is none.
type classed struct{ *fault.Error }

func (c classed) is(reason string) bool { return c.Error != nil && c.Reason == reason }

// cause is what the failure came from; nil if there is none.
func (c classed) cause() error {
	if c.Error == nil {
		return nil
	}
	return c.Err
}

// classify gives every failure of a pass its class, reason and message. It is the one table of failures.
func classify(err error) classed {
	if err == nil {
		return classed{}
	}
	if f, ok := fault.As(err); ok {
		return classed{f}
	}
	if e, ok := cloud.AsError(err); ok {
		return classed{fromCloud(e).Because(err)}
	}
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return classed{fault.Retryablef(v1alpha1.ReasonAPIServer, "the object was changed meanwhile").Quietly().Because(err)}
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return classed{fault.Retryablef(v1alpha1.ReasonAPIServer,
			"the Kubernetes API server answers: %s", clip(status.Status().Message)).Because(err)}
	}
	return classed{fault.Retryablef(v1alpha1.ReasonAPIServer,
		"the Kubernetes API server cannot be reached").Because(err)}
}

// fromCloud is the part of the table that concerns the service.
func fromCloud(e *cloud.Error) *fault.Error {
	switch e.Reason {
	case cloud.ReasonInvalid, cloud.ReasonFleetNotFound, cloud.ReasonEnvironmentNotFound:
		return refusal(e)
	case cloud.ReasonQuotaExceeded:
		return fault.Terminalf(v1alpha1.ReasonQuotaExceeded,
			"%v: delete agents that are not needed, or have the quota raised", e)
	case cloud.ReasonFieldForbidden:
		return fault.Terminalf(v1alpha1.ReasonForbidden,
			"%v: the service lets nobody change that; take the field out of the spec", e)
	case cloud.ReasonForbidden:
		return fault.Terminalf(v1alpha1.ReasonForbidden,
			"%v: the token of the CloudProject may not do that; use a project token", e)
	case cloud.ReasonConflict:
		return fault.Terminalf(v1alpha1.ReasonMachineIDConflict, "%v: "+takeOver, e)
	case cloud.ReasonUnauthorized:
		if e.Status == http.StatusUnauthorized && !e.API {
			return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
				"%v: the credentials are checked again; if they are good, see what is between the operator and the API", e)
		}
		return fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"the service refuses the token of the CloudProject: correct the token in its Secret")
	case cloud.ReasonRateLimited:
		return fault.Waitingf(v1alpha1.ReasonRateLimited,
			"the service asked to wait; it is called again by itself").After(e.RetryAfter)
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
			"%v: check the CloudProject's url and what stands between it and the operator", e).After(e.RetryAfter)
	case cloud.ReasonUnsupported:
		return fault.Terminalf(v1alpha1.ReasonInvalidResponse,
			"%v: check the CloudProject's url", e)
	default:
		return fault.Retryablef(v1alpha1.ReasonUnavailable, "%v", e).After(e.RetryAfter)
	}
}

// fieldOf finds the field of the spec that a refusal speaks of.
var fieldOf = []struct{ words, field string }{
	{"agent name", "spec.name"},
	{"machine id", "spec.machineID (which cannot be changed: delete this Agent and create it anew)"},
	{"agent type", "spec.type (which cannot be changed: delete this Agent and create it anew)"},
	{"agent version", "spec.version"},
	{"agent edition", "spec.edition"},
	{"agent flags", "spec.flags"},
	{"raw config", "spec.rawConfig (or what spec.rawConfigFrom refers to)"},
	{"metadata", "spec.metadata"},
	{"fleet", "spec.fleetID"},
	{"environment", "spec.environmentID"},
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

// clip makes words of others fit to be shown.
func clip(s string) string { return cloud.Clean(s, maxNote) }

// bound cuts a text to so many characters.
func bound(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
