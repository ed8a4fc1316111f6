/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

func readFailure(name string, err error) error {
	return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q cannot be read: %v", name, apierrors.ReasonForError(err)).Because(err)
}

func writeFailure(err error, written *corev1.Secret, stored ...*corev1.Secret) error {
	contents := []map[string][]byte{written.Data}
	for _, secret := range stored {
		contents = append(contents, secret.Data)
	}
	return WriteFailure(err, written.Name, func(words string) *fault.Error {
		return fault.Terminalf(v1alpha1.ReasonSecretWriteRefused,
			"the API server rejected Secret %q: %s: change the policy that rejects it, or name another Secret in spec.tokenSecretRef",
			written.Name, words)
	}, contents...)
}

// WriteFailure distinguishes a rejection, which only a user can fix, from a temporary failure. refusal makes the failure of a
// rejection from the API server's words: quotas and policies say what they require. They may repeat what they reject, so the words
// are without the secrets in contents, which has to be all that the Secret holds and all that was written.
func WriteFailure(err error, name string, refusal func(words string) *fault.Error, contents ...map[string][]byte) *fault.Error {
	var status apierrors.APIStatus
	switch {
	case apiserver.Outdated(err):
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q was changed meanwhile", name).Quietly().Because(err)
	case immutable(err):
		return fault.Terminalf(v1alpha1.ReasonSecretWriteRefused,
			"Secret %q is immutable: delete it, and the operator creates it again", name).Because(err)
	case Rejected(err):
		return refusal(cloud.Words(err, secretsIn(contents)...)).Because(err)
	case errors.As(err, &status):
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q cannot be written: %s", name, cloud.Words(err, secretsIn(contents)...)).
			Because(err)
	default:
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q cannot be written: the API server cannot be reached", name).Because(err)
	}
}

// immutable reports whether the API server rejected a change of a Secret that somebody made immutable.
func immutable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(cause metav1.StatusCause) bool {
		return strings.Contains(cause.Message, "when `immutable` is set")
	})
}

// Rejected reports whether the API server rejected a write for what it is. A webhook that rejects without a code makes a bad request.
func Rejected(err error) bool {
	return apiserver.Denied(err) || apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsRequestEntityTooLargeError(err)
}

// secretsIn returns the values of Secrets that only readers of Secrets may see; of a session its token.
func secretsIn(contents []map[string][]byte) (values []string) {
	for _, content := range contents {
		for key, value := range content {
			switch {
			case key == v1alpha1.IDKey, key == v1alpha1.CABundleKey, strings.HasSuffix(key, ClassicKey), strings.HasSuffix(key, YAMLKey):
			case strings.HasSuffix(key, SessionKey) && readSession(value)["token"] != "":
				values = append(values, readSession(value)["token"])
			default:
				values = append(values, string(value))
			}
		}
	}
	slices.Sort(values)
	return slices.Compact(values) // What was written is mostly what was stored.
}
