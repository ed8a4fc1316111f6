/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// storesLess has the API server accept what the operator writes to Agents, and store less of it, as with a policy or webhook of the
// cluster that changes objects.
func storesLess(w *harness.World, remove func(metadata map[string]any)) {
	storesLessOf(w, "/agents/", remove)
}

func storesLessOf(w *harness.World, kind string, remove func(metadata map[string]any)) {
	w.API.Rewrite(func(r *http.Request) bool {
		return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, kind) && !strings.HasSuffix(r.URL.Path, "/status")
	}, func(body []byte) ([]byte, error) {
		var patch struct {
			Metadata map[string]any `json:"metadata"`
		}
		if err := json.Unmarshal(body, &patch); err != nil {
			return nil, err
		}
		remove(patch.Metadata)
		return json.Marshal(patch)
	})
	w.Cleanup(func() { w.API.Around(nil) })
}

func withoutIntent(metadata map[string]any) {
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		delete(annotations, v1alpha1.AnnotationRegistrationIntent)
	}
}

func withoutFinalizer(metadata map[string]any) { delete(metadata, "finalizers") }

var notStored = map[string]func(map[string]any){
	v1alpha1.AnnotationRegistrationIntent: withoutIntent,
	v1alpha1.AgentFinalizer:               withoutFinalizer,
}

// Without its stored intent, a registration whose response is lost would be sent again and again; without the finalizer, its agent would
// outlive the Agent.
func TestRegister_IntentOrFinalizerIsNotStored_RegistersNothing(t *testing.T) {
	for what, remove := range notStored {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			storesLess(w, remove)
			w.Stalled(w.Apply("web"), v1alpha1.ReasonAPIServer, "did not store", what, "policy or webhook")
			w.Check("web")
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
				t.Errorf("%d registrations were sent", n)
			}
			w.API.Around(nil)
			w.Ready("web") // Nothing but the time wakes it.
			w.One("web")
		})
	}
}

// The intent of a registration in doubt is removed, and what the operator restores is not stored: it waits, and sends no second one.
func TestRegister_InDoubt_IntentIsNotStoredAgain_RegistersOnce(t *testing.T) {
	t.Parallel()
	w, _, shows := doubtful(t, cloudtest.Settings{}, func(*v1alpha1.Agent) {})
	storesLess(w, withoutIntent)
	pruned(w)
	w.Stalled("web", v1alpha1.ReasonAPIServer, v1alpha1.AnnotationRegistrationIntent)
	shows()
	w.API.Around(nil)
	w.Ready("web")
	if left := len(w.Remote()); left != 2 {
		t.Errorf("the cloud has %d agents, want two", left)
	}
}

// A finalizer that is removed later and cannot be restored stalls the Agent: its deletion would leave the remote agent.
func TestKeep_FinalizerIsNotStoredAgain_StallsTheAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	storesLess(w, withoutFinalizer)
	w.Change("web", func(a *v1alpha1.Agent) { a.Finalizers = nil })
	w.Stalled("web", v1alpha1.ReasonAPIServer, "did not store", v1alpha1.AgentFinalizer, "policy or webhook")
	w.API.Around(nil)
	w.Ready("web")
	w.Delete("web")
	w.Gone("web")
	if left := len(w.Remote()); left != 0 {
		t.Errorf("%d remote agents are left", left)
	}
}

// unfenced are the ways in which a cluster keeps the finalizer of a CloudProject from being stored, and words of the condition then.
var unfenced = []struct {
	name, words string
	start       func(w *harness.World)
}{
	{"not stored", "did not store", func(w *harness.World) { storesLessOf(w, "/cloudprojects/", withoutFinalizer) }},
	{"rejected", "finalizers.example.com", func(w *harness.World) {
		rejectsFinalizer(w, http.StatusForbidden, metav1.StatusReasonForbidden,
			`admission webhook "finalizers.example.com" denied the request: no finalizers of others`)
	}},
	{"rejected by a policy with 413", "no finalizers of others", func(w *harness.World) {
		rejectsFinalizer(w, http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge,
			`cloudprojects.cloud.calyptia.com "calyptia" is forbidden: ValidatingAdmissionPolicy 'finalizers' with binding 'all' denied request: `+
				`no finalizers of others`)
	}},
}

func rejectsFinalizer(w *harness.World, code int, reason metav1.StatusReason, message string) {
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Method != http.MethodPatch || !strings.HasSuffix(r.URL.Path, "/cloudprojects/calyptia") {
			return send(r)
		}
		return harness.Refusal(r, code, reason, message)
	})
	w.Cleanup(func() { w.API.Around(nil) })
}

// A CloudProject without its finalizer could be gone before its Agents, so none is registered. Nothing but the time shows the correction.
func TestCloudProject_FinalizerIsNotStored_PausesRegistration(t *testing.T) {
	for _, how := range unfenced {
		for variant, later := range map[string]bool{"first": false, "removed later": true} {
			t.Run(how.name+", "+variant, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{}, harness.Idle)
				if later {
					w.Start()
					w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
				}
				how.start(w)
				if later {
					w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Finalizers = nil })
				} else {
					w.Start()
				}
				w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonAPIServer, how.words, v1alpha1.CloudProjectFinalizer, "policy or webhook")
				w.NotReady(w.Apply("web"), v1alpha1.ReasonProjectNotReady)
				if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
					t.Errorf("%d registrations were sent", n)
				}
				w.API.Around(nil)
				w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
				w.Ready("web")
			})
		}
	}
}

// What is registered is kept as usual meanwhile: also after a restart, and with another token, it can be deleted.
func TestCloudProject_FinalizerIsNotStored_AgentsAreDeleted(t *testing.T) {
	for name, change := range map[string]func(w *harness.World){
		"restart": func(w *harness.World) { w.Restart() },
		"rotation": func(w *harness.World) {
			w.Cloud.AddToken(w.ProjectID, renewed)
			w.Cloud.RevokeToken(w.Token)
			setToken(w, renewed)
		},
	} {
		for _, how := range unfenced {
			t.Run(how.name+", "+name, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = w.ProjectID })
				w.Ready(w.Apply("web"))
				how.start(w)
				w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Finalizers = nil })
				w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonAPIServer, how.words, v1alpha1.CloudProjectFinalizer)
				change(w)
				w.Delete("web")
				w.Gone("web")
				if n := len(w.Remote()); n != 0 {
					t.Errorf("%d remote agents are left", n)
				}
			})
		}
	}
}

// The same while the Agent is being deleted: it stays, and its condition names the annotation that leaves the remote agent behind.
func TestDelete_InDoubt_IntentIsNotStoredAgain_WaitsForTheUser(t *testing.T) {
	t.Parallel()
	w, _, _ := doubtful(t, cloudtest.Settings{}, func(*v1alpha1.Agent) {})
	storesLess(w, withoutIntent)
	pruned(w)
	doomed(w)
	w.Stalled("web", v1alpha1.ReasonAPIServer, v1alpha1.AnnotationRegistrationIntent, "policy or webhook", v1alpha1.AnnotationOrphan)
	w.Change("web", func(a *v1alpha1.Agent) { a.Annotations = map[string]string{v1alpha1.AnnotationOrphan: "true"} })
	w.Gone("web")
}
