/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"encoding/json"
	"fmt"
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
	creates := func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/agents")
	}
	w.API.Rewrite(func(r *http.Request) bool { return creates(r) || patches(r) }, func(body []byte) ([]byte, error) {
		var agent v1alpha1.Agent
		if json.Unmarshal(body, &agent) == nil {
			agent.Labels[managedBy] = "platform"
			return json.Marshal(&agent)
		}
		return eachOperation(body, func(operation map[string]any) bool {
			if operation["path"] == path {
				operation["value"] = "platform"
			}
			return true
		})
	})
	w.Cleanup(func() { w.API.Around(nil) })
}

// patches reports whether a request is a JSON patch, with which an AgentSet writes its Agents.
func patches(r *http.Request) bool {
	return r.Header.Get("Content-Type") == "application/json-patch+json"
}

// eachOperation changes the operations of a JSON patch, and leaves out those that are not kept.
func eachOperation(body []byte, keep func(operation map[string]any) bool) ([]byte, error) {
	var patch []map[string]any
	if err := json.Unmarshal(body, &patch); err != nil {
		return nil, err
	}
	return json.Marshal(slices.DeleteFunc(patch, func(operation map[string]any) bool { return !keep(operation) }))
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
	w.API.Rewrite(patches, func(body []byte) ([]byte, error) {
		return eachOperation(body, func(operation map[string]any) bool {
			return !strings.Contains(fmt.Sprint(operation), "removal-started")
		})
	})
	w.Cleanup(func() { w.API.Around(nil) })
	w.RemoveNode("b")
	stalled(w, "logs", v1alpha1.ReasonAPIServer, v1alpha1.AnnotationRemovalStarted, "policy or webhook")
	w.API.Around(nil)
	w.Clock.Step(time.Hour)
	w.Nodes("c") // Starts a pass.
	w.SetReady("logs", 2)
}
