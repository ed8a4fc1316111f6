/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

const managedBy = "app.kubernetes.io/managed-by"

// relabels has the API server keep a label of all Agents at its own value, as with a policy or webhook of the cluster.
func relabels(w *harness.World) {
	path := "/metadata/labels/" + strings.ReplaceAll(managedBy, "/", "~1")
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		creates := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/agents")
		if !creates && r.Header.Get("Content-Type") != "application/json-patch+json" {
			return send(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		var agent v1alpha1.Agent
		var patch []map[string]any
		if creates {
			err = json.Unmarshal(body, &agent)
			agent.Labels[managedBy] = "platform"
			body, _ = json.Marshal(&agent)
		} else {
			err = json.Unmarshal(body, &patch)
			for _, operation := range patch {
				if operation["path"] == path {
					operation["value"] = "platform"
				}
			}
			body, _ = json.Marshal(patch)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if err != nil {
			return nil, err
		}
		return send(r)
	})
	w.Cleanup(func() { w.API.Around(nil) })
}

// patched is how many patches of Agents the operator sent.
func patched(w *harness.World) (n int) {
	writes, _ := w.API.Writes()
	for _, write := range writes {
		if write.Method == http.MethodPatch && strings.Contains(write.Path, "/agents/") && !strings.HasSuffix(write.Path, "/status") {
			n++
		}
	}
	return n
}

// A policy changes what the AgentSet writes: the set says so, does not write that again in each pass, and does all else.
func TestAPolicyChangesALabel_TheSetSaysSoAndContinues(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	relabels(w)
	w.Start()
	w.Nodes("a", "b", "c")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"), func(set *v1alpha1.AgentSet) { set.Spec.RemovalDelay = &metav1.Duration{} })
	stalled(w, "logs", v1alpha1.ReasonAgentConflict, managedBy, "and 2 more", "policy or webhook")
	has := func(agents int) {
		w.Eventually(fmt.Sprintf("%d Agents are Ready", agents), func() error {
			if s := w.GetSet("logs").Status; int(s.Ready) != agents || int(s.Current) != agents {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	}
	has(3)
	w.API.Reset()
	const rounds = 5
	for i := range rounds {
		extra := fmt.Sprint("extra-", i)
		w.Nodes(extra)
		has(4)
		w.RemoveNode(extra)
		has(3)
	}
	// A registration has two patches, the intent and the release; the update of its Agent comes once for each change of it.
	if n, most := patched(w), rounds*10; n > most {
		t.Errorf("%d patches of Agents in %d rounds, want %d at most", n, rounds, most)
	}
	w.API.Around(nil)
	w.Clock.Step(time.Hour)
	w.Nodes("d") // Starts a pass.
	w.SetReady("logs", 4)
}

// A policy removes the mark of an Agent whose replica is gone, so that it would never be deleted: the set says so, and what to do.
func TestAPolicyRemovesTheMarkOfARemoval_TheSetSaysSo(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	w.Start()
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"), func(set *v1alpha1.AgentSet) {
		set.Spec.RemovalDelay = &metav1.Duration{Duration: time.Second}
	})
	w.SetReady("logs", 2)
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Header.Get("Content-Type") != "application/json-patch+json" {
			return send(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		var patch []map[string]any
		err = json.Unmarshal(body, &patch)
		body, _ = json.Marshal(slices.DeleteFunc(patch, func(operation map[string]any) bool {
			return strings.Contains(fmt.Sprint(operation), "removal-started")
		}))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if err != nil {
			return nil, err
		}
		return send(r)
	})
	w.Cleanup(func() { w.API.Around(nil) })
	w.RemoveNode("b")
	stalled(w, "logs", v1alpha1.ReasonAPIServer, v1alpha1.AnnotationRemovalStarted, "policy or webhook")
	w.API.Around(nil)
	w.Clock.Step(time.Hour)
	w.Nodes("c") // Starts a pass.
	w.SetReady("logs", 2)
}
