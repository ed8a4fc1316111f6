/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package apiserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/calyptia-agent-operator/operator/internal/apiserver"
)

func TestWhatAnErrorOfTheAPIServerMeans(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	denied := func(code int32, reason metav1.StatusReason) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: code, Reason: reason,
			Message: `admission webhook "objects.hnc.x-k8s.io" denied the request: the namespace below has it`,
		}}
	}
	for _, row := range []struct {
		name             string
		err              error
		denied, outdated bool
	}{
		{"none", nil, false, false},
		{"no response", errors.New("connection refused"), false, false},
		{"a conflict", apierrors.NewConflict(secrets, "web", errors.New("modified")), false, true},
		{"a conflict, wrapped", fmt.Errorf("write: %w", apierrors.NewConflict(secrets, "web", nil)), false, true},
		{"it exists", apierrors.NewAlreadyExists(secrets, "web"), false, true},
		{"it does not exist", apierrors.NewNotFound(secrets, "web"), false, true},
		{"forbidden", apierrors.NewForbidden(secrets, "web", nil), false, false},
		{"denied with 403", denied(http.StatusForbidden, metav1.StatusReasonForbidden), true, false},
		{"denied with 409", denied(http.StatusConflict, metav1.StatusReasonConflict), true, false},
		{"denied with 409 and no reason", denied(http.StatusConflict, ""), true, false},
		{"denied with 404", denied(http.StatusNotFound, metav1.StatusReasonNotFound), true, false},
		{"denied by a policy with 401", &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnauthorized, Reason: metav1.StatusReasonUnauthorized,
			Message: `secrets "web-token" is forbidden: ValidatingAdmissionPolicy 'labels' with binding 'labels' denied request: a team is required`,
		}}, true, false},
		{"denied by a policy with 413", &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusRequestEntityTooLarge, Reason: metav1.StatusReasonRequestEntityTooLarge,
			Message: `secrets "web-token" is forbidden: ValidatingAdmissionPolicy 'labels' with binding 'labels' denied request: a team is required`,
		}}, true, false},
		{"the operator's credentials are refused", apierrors.NewUnauthorized("Unauthorized"), false, false},
		{"a webhook in trouble", denied(http.StatusInternalServerError, metav1.StatusReasonInternalError), false, false},
		{"a webhook without time", denied(http.StatusServiceUnavailable, ""), false, false},
		{"a webhook that is busy", denied(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests), false, false},
		{"a conflict of an object with the name of a denial",
			apierrors.NewConflict(secrets, `admission webhook "x" denied the request`, nil), false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := apiserver.Denied(row.err); got != row.denied {
				t.Errorf("denied: %v", got)
			}
			if got := apiserver.Outdated(row.err); got != row.outdated {
				t.Errorf("outdated: %v", got)
			}
			gone := row.err == nil || row.name == "it does not exist"
			if got := apiserver.IgnoreGone(row.err); (got == nil) != gone {
				t.Errorf("gone: %v", got)
			}
		})
	}
}
