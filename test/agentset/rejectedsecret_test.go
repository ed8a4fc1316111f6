/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A Secret with sessions that is rejected does not keep the sessions of the other Secrets from being stored.
func TestRejectedSecret_SessionsOfTheOthersAreStored(t *testing.T) {
	t.Parallel()
	const shards, pods = 3, 12
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	rejecting(w, "secrets", "not allowed here", func(r *http.Request, body string) bool {
		return strings.HasSuffix(r.URL.Path, "/db-sessions-0") || strings.Contains(body, "db-sessions-0")
	})
	w.Start()
	w.AgentSet("db", w.StatefulSet("db", pods), ofStatefulSet, func(set *v1alpha1.AgentSet) { set.Spec.Sessions.Shards = shards })
	want := 0
	for i := range pods {
		if agentset.Shard(agentset.Slot(fmt.Sprint("db-", i)), shards) != 0 {
			want++
		}
	}
	w.Eventually("the sessions of the other Secrets are stored", func() error {
		if ids, _ := w.StoredSessions(w.GetSet("db")); len(ids) != want || want == pods {
			return fmt.Errorf("%d sessions are stored, want %d", len(ids), want)
		}
		return nil
	})
	stalled(w, "db", v1alpha1.ReasonSecretWriteRefused, "db-sessions-0", "not allowed here")
}

// Somebody made a Secret with sessions immutable: the condition says what to do, and that helps.
func TestImmutableSecret_IsCreatedAgainAfterItsDeletion(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.AgentSet("db", w.StatefulSet("db", 2), ofStatefulSet)
	w.SetReady("db", 2)
	secret := w.Secret("db-sessions-0")
	base := secret.DeepCopy()
	secret.Immutable = new(true)
	if err := w.Client.Patch(t.Context(), secret, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	was := w.Get("db-db-0").Status.ID
	w.Clock.Step(time.Minute) // Skips the pause before the next batch.
	w.Cloud.Remove(was)
	w.Poke("db-db-0")
	w.Eventually("the Agent is registered again", func() error {
		if is := w.Get("db-db-0").Status.ID; is == "" || is == was {
			return errors.New("it is not")
		}
		return nil
	})
	stalled(w, "db", v1alpha1.ReasonSecretWriteRefused, "is immutable: delete it")
	if err := w.Client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: secret.Name}}); err != nil {
		t.Fatal(err)
	}
	w.SetReady("db", 2)
	w.HasExactly("db", "db-0", "db-1")
}
