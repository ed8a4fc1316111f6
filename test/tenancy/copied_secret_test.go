/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A user copies the token Secret, with its labels, and adds a key: that is no longer a Secret of the operator, which deletes only its own.
func TestSecret_CopyOfTheTokenWithAnotherKey_IsNotDeleted(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.Ready(w.Guest(tenant, "web"))
	made := tenant.Secret("web-token")
	data := maps.Clone(made.Data)
	data["password"] = []byte("of the user")
	for name, data := range map[string]map[string][]byte{"mine": data, "plain": made.Data} {
		tenant.Create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: tenant.Namespace, Name: name, Labels: made.Labels}, Data: data,
		})
	}
	tenant.Eventually("the operator deletes what has only its own keys", func() error {
		tenant.Check("web")
		if tenant.Secret("plain") != nil {
			return errors.New("it is there")
		}
		return nil
	})
	if tenant.Secret("mine") == nil {
		t.Error("the operator deleted a Secret with a key of the user")
	}
}
