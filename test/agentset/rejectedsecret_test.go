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

// rejectingSecret makes the API server reject the writes of one Secret.
func rejectingSecret(w *harness.World, name, said string) {
	response, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Message: said,
		Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Body == nil || !strings.Contains(r.URL.Path, "/"+w.Namespace+"/secrets") {
			return send(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !strings.HasSuffix(r.URL.Path, "/"+name) && !strings.Contains(string(body), name) {
			return send(r)
		}
		return &http.Response{
			StatusCode: http.StatusForbidden, ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(response)),
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(response)),
		}, nil
	})
}

// A Secret with sessions that is rejected does not keep the sessions of the other Secrets from being stored.
func TestRejectedSecret_SessionsOfTheOthersAreStored(t *testing.T) {
	t.Parallel()
	const shards, pods = 3, 12
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	rejectingSecret(w, "db-sessions-0", "not allowed here")
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
