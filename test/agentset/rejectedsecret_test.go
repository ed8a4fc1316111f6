/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// othersStored applies an AgentSet with three Secrets with sessions, and waits for the sessions of all but the first Secret.
func othersStored(w *harness.World) {
	w.Helper()
	const shards, pods = 3, 12
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
}

// A Secret with sessions that is rejected does not keep the sessions of the other Secrets from being stored.
func TestRejectedSecret_SessionsOfTheOthersAreStored(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	rejecting(w, "secrets", "not allowed here", func(r *http.Request, body string) bool {
		return strings.HasSuffix(r.URL.Path, "/db-sessions-0") || strings.Contains(body, "db-sessions-0")
	})
	w.Start()
	othersStored(w)
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

// A Secret of somebody else with the name of one of those with sessions is not written, and keeps no session of the other Secrets from being
// stored.
func TestForeignSecret_SessionsOfTheOthersAreStored(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	theirs := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db-sessions-0"}, Data: map[string][]byte{"key": []byte("value")},
	}
	w.Create(theirs)
	othersStored(w)
	stalled(w, "db", v1alpha1.ReasonSecretConflict, "db-sessions-0", "delete it")
	if is := w.Secret(theirs.Name); is.ResourceVersion != theirs.ResourceVersion {
		t.Errorf("it was written: %v", is)
	}
	if err := w.Client.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.Clock.Step(time.Minute) // Skips the pause before the next batch.
	w.SetReady("db", 12)
}

// A token Secret, or a Secret with sessions, that cannot be read keeps no other session from being stored.
func TestUnreadableSecret_TheOtherSessionsAreStored(t *testing.T) {
	const shards, pods, one = 3, 12, "db-3"
	home := fmt.Sprint("db-sessions-", agentset.Shard(agentset.Slot(one), shards))
	for name, row := range map[string]struct {
		secret  string // that cannot be read
		restart bool
		lost    func(slot string) bool // the sessions that are not stored meanwhile
	}{
		"token":                     {"db-" + one + "-token", false, func(slot string) bool { return slot == one }},
		"token, after a restart":    {"db-" + one + "-token", true, func(slot string) bool { return slot == one }},
		"sessions, after a restart": {home, true, func(slot string) bool { return fmt.Sprint("db-sessions-", agentset.Shard(slot, shards)) == home }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			w.AgentSet("db", w.StatefulSet("db", pods), ofStatefulSet, func(set *v1alpha1.AgentSet) { set.Spec.Sessions.Shards = shards })
			w.SetReady("db", pods)
			if row.restart {
				w.Stop()
			}
			unreadable(w, row.secret)
			want := 0
			for i := range pods {
				if !row.lost(agentset.Slot(fmt.Sprint("db-", i))) {
					want++
				}
			}
			w.Clock.Step(time.Minute) // Skips the pause before the next batch.
			for i := range shards {
				err := w.Client.Delete(t.Context(), w.Secret(fmt.Sprint("db-sessions-", i)))
				if err != nil {
					t.Fatal(err)
				}
			}
			if row.restart {
				w.Start()
			}
			w.Eventually("the other sessions are stored", func() error {
				if ids, _ := w.StoredSessions(w.GetSet("db")); len(ids) != want {
					return fmt.Errorf("%d sessions are stored, want %d", len(ids), want)
				}
				return nil
			})
			w.SetBecomes("db", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAPIServer, row.secret, "not readable here", "correct")
			w.API.Around(nil)
			w.Clock.Step(time.Minute)
			w.SetReady("db", pods)
			var all []string
			for i := range pods {
				all = append(all, fmt.Sprint("db-", i))
			}
			w.HasExactly("db", all...)
		})
	}
}

// unreadable makes the API server reject reads of one Secret.
func unreadable(w *harness.World, name string) {
	w.Helper()
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Message: "not readable here",
		Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/"+w.Namespace+"/secrets/"+name) {
			return send(r)
		}
		return &http.Response{
			StatusCode: http.StatusForbidden, ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(body)),
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
		}, nil
	})
}
