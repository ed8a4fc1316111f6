/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// yielding is a world whose Agent has a second agent, as from a second leader.
func yielding(t *testing.T, noList bool) (*harness.World, *cloud.Registered) {
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble, NoList: noList})
	w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} })
	return w, w.Register("web", w.Ready("web").Status.MachineID)
}

// nameInSecret writes the ID of an agent, whose token only Calyptia Cloud has, into a token Secret.
func nameInSecret(w *harness.World, name, id string) {
	w.Helper()
	s := w.Secret(name)
	s.Data[v1alpha1.IDKey] = []byte(id)
	delete(s.Data, v1alpha1.TokenKey)
	if err := w.Client.Update(w.Context(), s); err != nil {
		w.Fatal(err)
	}
}

// refuses has the API refuse requests for an agent, in its own form.
func refuses(status int, method, id string, entered chan<- struct{}) cloudtest.Fault {
	return cloudtest.Fault{
		Method: method, Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"error":"permission denied"}`,
		Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, id) }, Entered: entered,
	}
}

// noneLeft checks that no remote agent outlives the Agent.
func noneLeft(w *harness.World) {
	w.Helper()
	w.Gone("web")
	if left := w.Remote(); len(left) > 0 {
		w.Errorf("%d agents are left in Calyptia Cloud: %s; events %v", len(left), left[0].ID, w.Events("web", 1))
	}
}

// The operator ends while an Agent gives its remote agent up for the one that its Secret names. Then the Agent is deleted, or stays.
func TestYield_OperatorKilled_OneAgentOrNone(t *testing.T) {
	for _, at := range []string{"web/status", "web-token", "web-session"} {
		for _, noList := range []bool{false, true} {
			for _, then := range []string{"deleted meanwhile", "stays"} {
				t.Run(fmt.Sprintf("%s, no list %t, %s", strings.ReplaceAll(at, "/", " "), noList, then), func(t *testing.T) {
					t.Parallel()
					w, other := yielding(t, noList)
					stopped := w.API.StopWhen(func(r *http.Request) bool {
						return r.Method != http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+at)
					})
					nameInSecret(w, "web-token", other.ID)
					<-stopped
					w.Stop()
					if remote := w.Remote(); len(remote) != 2 {
						t.Errorf("%d agents before the status names the other", len(remote))
					}
					if a := w.Get("web"); a.Status.ID == other.ID && harness.Condition(a, v1alpha1.ConditionReady).Status == metav1.ConditionTrue {
						t.Errorf("it is %s", harness.Describe(a))
					}
					if then != "stays" {
						w.Delete("web")
					}
					w.API.Before(nil)
					w.Start()
					if then != "stays" {
						noneLeft(w)
						return
					}
					if at == "web/status" { // Nothing is given up yet: the next check reads the Secret.
						w.Poke("web")
					}
					w.Eventually("one agent, its token and its session", func() error {
						a, token, remote := w.Get("web"), w.Secret("web-token"), w.Remote()
						session := tokensecret.SessionID(w.Secret("web-session"))
						if len(remote) != 1 || remote[0].ID != other.ID || a.Status.ID != other.ID || session != other.ID ||
							tokensecret.Token(token).Reveal() != remote[0].Token.Reveal() {
							return fmt.Errorf("%d agents, status %s, session %s: %s", len(remote), a.Status.ID, session, harness.Describe(a))
						}
						return nil
					})
				})
			}
		}
	}
}

// An Agent is deleted before it gives its remote agent up for another that its Secret names: both are deleted, also if the operator ends
// while one of the two cannot be deleted, and the Secret goes meanwhile.
func TestYield_AgentDeletedBefore_BothAreDeleted(t *testing.T) {
	for _, noList := range []bool{false, true} {
		for _, refused := range []string{"none", "own", "other"} {
			t.Run(fmt.Sprintf("no list %t, refuses to delete: %s", noList, refused), func(t *testing.T) {
				t.Parallel()
				w, other := yielding(t, noList)
				ids := map[string]string{"own": w.Get("web").Status.ID, "other": other.ID}
				w.Stop()
				nameInSecret(w, "web-token", other.ID)
				w.Delete("web")
				if refused != "none" {
					tried := make(chan struct{}, 1000)
					heal := w.Cloud.Inject(refuses(http.StatusInternalServerError, http.MethodDelete, ids[refused], tried))
					w.Start()
					w.Eventually("the API refuses the deletion", func() error {
						if len(tried) == 0 {
							return errors.New("no deletion")
						}
						return nil
					})
					w.Stop()
					if err := w.Client.Delete(t.Context(), w.Secret("web-token")); err != nil {
						t.Fatal(err)
					}
					heal()
				}
				w.Start()
				noneLeft(w)
			})
		}
	}
}

// Whoever writes the Secret gets nothing deleted that is not this Agent's, and delays nothing for long: an agent with another machine ID,
// one that does not exist, one that the API does not show, and no ID at all.
func TestYield_AgentDeletedBefore_OthersStay(t *testing.T) {
	for _, named := range []string{"another's", "none", "forbidden", "no ID"} {
		t.Run(named, func(t *testing.T) {
			t.Parallel()
			w, other := yielding(t, false)
			theirs := w.Register("theirs", "machine-of-theirs")
			id := map[string]string{"another's": theirs.ID, "none": uuid.NewString(), "forbidden": other.ID, "no ID": "../" + theirs.ID}[named]
			w.Stop()
			nameInSecret(w, "web-token", id)
			w.Delete("web")
			if named == "forbidden" {
				w.Cloud.Inject(refuses(http.StatusForbidden, http.MethodGet, id, nil))
			}
			w.Start()
			w.Gone("web")
			left := map[string]bool{}
			for _, remote := range w.Remote() {
				left[remote.ID] = true
			}
			if !left[theirs.ID] || !left[other.ID] || len(left) != 2 {
				t.Errorf("left are %v, want %s and %s", left, theirs.ID, other.ID)
			}
			want := map[string]string{"forbidden": remoteagent.MaybeOrphaned.Reason}
			w.Eventually("the last event", func() error { // The operator that was stopped may have lost the first.
				if events := w.Events("web", 1); !slices.Contains(events, cmp.Or(want[named], remoteagent.Deleted.Reason)) {
					return fmt.Errorf("events %v", events)
				}
				return nil
			})
			if events := w.Events("web", 1); slices.Contains(events, remoteagent.MaybeOrphaned.Reason) != (named == "forbidden") {
				t.Errorf("events %v", events)
			}
		})
	}
}

// A guest that chose its machine ID writes the ID of another's agent with that machine ID into its Secret, and deletes its Agent. Through a
// CloudProject that no longer allows its namespace, the agent is not even read.
func TestYield_GuestDeletedBefore_OthersStay(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		t.Run(fmt.Sprint("allowed ", allowed), func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			tenant.Ready(w.Guest(tenant, "web", func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-of-both" }))
			theirs, _ := w.Cloud.Agent(w.Register("theirs", "machine-of-both").ID)
			w.Stop()
			nameInSecret(tenant, "web-token", theirs.ID)
			tenant.Delete("web")
			if !allowed {
				w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
			}
			w.Cloud.ResetRequests()
			w.Start(tenant.Namespace)
			tenant.Gone("web")
			w.Unharmed([]cloud.Agent{theirs})
			if remote := w.Remote(); len(remote) != 1 {
				t.Errorf("%d agents are left", len(remote))
			}
			asked := slices.ContainsFunc(w.Cloud.Requests(), func(r cloudtest.Request) bool { return r.AgentID == theirs.ID })
			if asked != allowed {
				t.Errorf("requests for another's agent: %t", asked)
			}
		})
	}
}

// An API server that does not store status.duplicatesToDelete, as with an older CustomResourceDefinition: the Agent waits, and says so.
func TestYield_DuplicatesAreNotStored_IsShown(t *testing.T) {
	t.Parallel()
	w, other := yielding(t, false)
	w.Stop()
	nameInSecret(w, "web-token", other.ID)
	w.Delete("web")
	w.API.Rewrite(func(r *http.Request) bool {
		return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/web/status")
	}, func(body []byte) ([]byte, error) {
		var patch map[string]any
		if err := json.Unmarshal(body, &patch); err != nil {
			return nil, err
		}
		if status, ok := patch["status"].(map[string]any); ok {
			delete(status, "duplicatesToDelete")
		}
		return json.Marshal(patch)
	})
	w.Start()
	w.NotReady("web", v1alpha1.ReasonAPIServer, "did not store status.duplicatesToDelete", "CustomResourceDefinition")
	if n := len(w.Remote()); n != 2 {
		t.Errorf("%d agents are left, want 2", n)
	}
	w.API.Around(nil)
	noneLeft(w)
}
