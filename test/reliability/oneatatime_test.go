/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// mostRequests are more than any sequence needs, also on a slow machine, and fewer than one that never ends makes.
const mostRequests = 15

// nobodys is the ID of no agent.
const nobodys = "11111111-2222-4333-8444-555555555555"

// sequence is what needs several requests of one Agent, which is called web.
type sequence struct {
	name     string
	settings cloudtest.Settings
	before   func(*harness.World)       // without a rate limit
	happens  func(*harness.World)       // while no operator runs
	done     func(*harness.World) error // soon after the operator starts
}

func derivedOf(w *harness.World, name string) string {
	return registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, name)
}

func applied(w *harness.World) { w.Ready(w.Apply("web")) }

// retained leaves the Secrets of an Agent that was deleted, and no remote agent.
func retained(w *harness.World, changes ...func(*v1alpha1.Agent)) {
	keep := func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }
	id := w.Ready(w.Apply("web", append(changes, keep)...)).Status.ID
	w.Delete("web")
	w.Gone("web")
	w.Cloud.Remove(id)
}

func withSession(a *v1alpha1.Agent) {
	a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: "web-session"}
}

func changed(w *harness.World) {
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.2.0" })
}

// secretOfNobody puts the ID of a missing agent into the token Secret.
func secretOfNobody(w *harness.World) {
	w.SetSecret("web-token", map[string]string{"id": nobodys, "token": "an-old-token"})
}

func ready(w *harness.World) error {
	if err := asDeclared(w, "web"); err != nil {
		return err
	}
	a := w.Get("web")
	if s := w.Secret("web-token"); s == nil || string(s.Data[v1alpha1.IDKey]) != a.Status.ID {
		return errors.New("the Secret has another ID")
	}
	return nil
}

func deleted(w *harness.World) error {
	var a v1alpha1.Agent
	if err := w.Client.Get(w.Context(), w.Key("web"), &a); !apierrors.IsNotFound(err) {
		return fmt.Errorf("it is there: %s", harness.Describe(&a))
	}
	if n := len(w.Remote()); n > 0 {
		return fmt.Errorf("%d remote agents are left", n)
	}
	return nil
}

// updated does not ask for Ready.
func updated(w *harness.World) error {
	if remote, _ := w.Cloud.Agent(w.Get("web").Status.ID); remote.Version != w.Get("web").Spec.Version {
		return fmt.Errorf("version %s: %s", remote.Version, harness.Describe(w.Get("web")))
	}
	return nil
}

func stalls(reason string) func(*harness.World) error {
	return func(w *harness.World) error {
		if stalled := harness.Condition(w.Get("web"), v1alpha1.ConditionStalled); stalled.Status != metav1.ConditionTrue || stalled.Reason != reason {
			return errors.New(harness.Describe(w.Get("web")))
		}
		return nil
	}
}

// refusing are all deletions.
func refusing(status int) func(*harness.World) {
	return func(w *harness.World) {
		withDuplicates(w, "web", 1)()
		w.Cloud.Inject(cloudtest.Fault{
			Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: status, Body: `{"error":"permission denied"}`,
			Header: http.Header{"Content-Type": {"application/json"}},
		})
	}
}

func idempotent(w *harness.World) {
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusNoContent, After: true})
	w.Delete("web")
}

var sequences = []sequence{
	{"registration, and the Secret names a missing agent", cloudtest.Settings{}, func(w *harness.World) { retained(w) },
		func(w *harness.World) { w.Apply("web") }, ready},
	{"registration, and two Secrets name a missing agent", cloudtest.Settings{}, func(w *harness.World) {
		retained(w, withSession)
		session := w.Secret("web-session").Data
		delete(session, v1alpha1.IDKey)
	}, func(w *harness.World) { w.Apply("web", withSession) }, ready},
	{"its own agent is listed, and the Secret names a missing agent", cloudtest.Settings{}, func(w *harness.World) { retained(w) },
		func(w *harness.World) {
			w.Register("web", derivedOf(w, "web"))
			w.Apply("web")
		}, ready},
	{"its own agent is listed, and the response named another", cloudtest.Settings{}, func(*harness.World) {}, func(w *harness.World) {
		made := w.Register("elsewhere", "another-teams-machine")
		victim, _ := w.Cloud.Agent(made.ID)
		w.Cloud.Inject(swapped(victim, 1))
		w.Apply("web")
	}, ready},
	{"registration with names of a fleet and an environment", cloudtest.Settings{
		Fleets: map[string]string{nobodys: "edge"}, Environments: map[string]string{nobodys: "production"},
	}, func(*harness.World) {}, func(w *harness.World) {
		w.Apply("web", func(a *v1alpha1.Agent) {
			a.Spec.Fleet = &v1alpha1.FleetReference{Name: "edge"}
			a.Spec.Environment = &v1alpha1.EnvironmentReference{Name: "production"}
		})
	}, ready},
	{"adoption by agentID, and a change", cloudtest.Settings{}, func(*harness.World) {}, func(w *harness.World) {
		id := w.Register("elsewhere", "machine-1").ID
		w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.AgentID, a.Spec.Type, a.Spec.Version = id, "", "v4.2.0" })
	}, ready},
	{"agentID ends a registration in doubt", cloudtest.Settings{NoList: true}, func(w *harness.World) {
		w.Register("elsewhere", "machine-1")
		w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Cut: cloudtest.CutBefore})
		w.NotReady(w.Apply("web"), v1alpha1.ReasonRegistrationOutcomeUnknown)
	}, func(w *harness.World) {
		w.Change("web", func(a *v1alpha1.Agent) { a.Spec.AgentID, a.Spec.Version = w.Remote()[0].ID, "v4.2.0" })
	}, ready},
	{"another Agent chose its machine ID", cloudtest.Settings{NoList: true}, func(w *harness.World) {
		w.Ready(w.Apply("other", func(a *v1alpha1.Agent) { a.Spec.MachineID = derivedOf(w, "web") }))
	}, func(w *harness.World) { w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.2.0" }) }, ready},
	{"a check is requested, and the Secret names a missing agent", cloudtest.Settings{}, applied, func(w *harness.World) {
		secretOfNobody(w)
		w.Poke("web")
	}, ready},
	{"the Secret names a duplicate that it registered", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, applied,
		func(w *harness.World) {
			made := w.Register("web", derivedOf(w, "web"))
			w.SetSecret("web-token", map[string]string{"id": made.ID, "token": made.Token.Reveal()})
			w.Poke("web")
		}, func(w *harness.World) error {
			if n := len(w.Remote()); n != 1 {
				return fmt.Errorf("%d remote agents: %s", n, harness.Describe(w.Get("web")))
			}
			return ready(w)
		}},
	{"a change, and no token is shown", cloudtest.Settings{MaskTokens: true, MaskRegister: true, MaskAs: "***"}, func(w *harness.World) {
		w.Apply("web")
		w.Stalled("web", v1alpha1.ReasonTokenUnavailable)
	}, changed, updated},
	{"a change that only the agent may make, and its token is wrong",
		cloudtest.Settings{OnlyAgentPatches: true, MaskTokens: true, MaskAs: "***"}, func(w *harness.World) {
			id := w.Ready(w.Apply("web")).Status.ID
			w.SetSecret("web-token", map[string]string{"id": id, "token": "wrong-token-of-the-agent-0123456789"})
			w.Check("web")
		}, changed, stalls(v1alpha1.ReasonTokenUnavailable)},
	{"a change, and a duplicate that may not be deleted", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble},
		refusing(http.StatusForbidden), changed, func(w *harness.World) error {
			return errors.Join(updated(w), stalls(v1alpha1.ReasonForbidden)(w))
		}},
	{"a change, and a duplicate whose deletion fails", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble},
		refusing(http.StatusInternalServerError), changed, updated},
	{"deletion, and the API accepts each", cloudtest.Settings{}, applied, idempotent, deleted},
	{"deletion with a duplicate, and the API accepts each", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble},
		func(w *harness.World) { withDuplicates(w, "web", 1)() }, idempotent, deleted},
	{"deletion, and its registration named another's agent", cloudtest.Settings{}, func(w *harness.World) {
		misnamed(w)
		applied(w)
	}, func(w *harness.World) { w.Delete("web") }, func(w *harness.World) error {
		if n := len(w.Remote()); n != 1 {
			return fmt.Errorf("%d remote agents", n)
		}
		w.Gone("web")
		return nil
	}},
}

// A rate limit of one request at a time ends each turn after one request. The next turn goes on from there, so that all that needs several
// requests comes to its end, with few of them.
func TestOneRequestAtATime_EachSequenceEnds(t *testing.T) {
	for _, row := range sequences {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings, limited(100, 100))
			row.before(w)
			w.Stop()
			perSecond, burst := int32(4), int32(1)
			w.ChangeProject(func(cp *v1alpha1.CloudProject) {
				cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: &perSecond, Burst: &burst}
			})
			row.happens(w)
			w.Cloud.ResetRequests()
			w.Start()
			w.Eventually("it ends", func() error { return row.done(w) })
			requests := 0
			for _, r := range w.Cloud.Requests() {
				if r.Route == cloudtest.RouteAgent || r.Route == cloudtest.RouteAgents {
					requests++
				}
			}
			if requests > mostRequests {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

// Somebody restores an old Secret, which names a missing agent, while the operator runs.
func TestOneRequestAtATime_OldSecretIsRestored_IsRepaired(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, limited(4, 1))
	applied(w)
	w.Check("web")
	secretOfNobody(w)
	w.Eventually("the Secret is repaired", func() error { return ready(w) })
}
