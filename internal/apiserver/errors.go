/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package apiserver

import (
	"errors"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Denied reports whether a webhook or policy of the cluster denied a request for what it is. A policy may choose 401, a webhook any status
// code, also those of a conflict; one of those of a server's trouble is no denial.
func Denied(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	is := status.Status()
	trouble := is.Code >= http.StatusInternalServerError || is.Code == http.StatusTooManyRequests || is.Code == http.StatusRequestTimeout
	if is.Code < http.StatusInternalServerError && strings.Contains(is.Message, "ValidatingAdmissionPolicy '") {
		return true // With any of four codes. The operator's own credentials are refused in one word, without a name.
	}
	// The API server itself writes the start of the message.
	return !trouble && strings.HasPrefix(is.Message, `admission webhook "`) && strings.Contains(is.Message, `" denied the request`)
}

// Outdated reports whether a write failed because the object was created, changed or deleted meanwhile, which the cache will soon show.
func Outdated(err error) bool {
	return (apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)) && !Denied(err)
}

// IgnoreGone returns the error of a write, but nil if the object was deleted meanwhile.
func IgnoreGone(err error) error {
	if apierrors.IsNotFound(err) && !Denied(err) {
		return nil
	}
	return err
}
