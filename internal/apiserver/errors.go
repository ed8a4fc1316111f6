/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package apiserver

import (
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Denied reports whether a webhook of the cluster denied a request. It may choose any status code, also those of a conflict.
func Denied(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	message := status.Status().Message // The API server itself writes its start.
	return strings.HasPrefix(message, `admission webhook "`) && strings.Contains(message, `" denied the request`)
}

// Outdated reports whether a write failed because the object was created, changed or deleted meanwhile, which the cache will soon show.
func Outdated(err error) bool {
	return (apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)) && !Denied(err)
}
