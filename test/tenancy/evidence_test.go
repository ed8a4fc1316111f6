/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func machine(id string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) {
		a.Spec.MachineID, a.Spec.DeletionPolicy = id, v1alpha1.DeletionDelete
	}
}

// intentOf waits for the registration intent of an Agent.
func intentOf(w *harness.World, name string) (intent string) {
	w.Helper()
	w.Eventually("Agent "+name+" has a registration intent", func() error {
		if intent = w.Get(name).Annotations[v1alpha1.AnnotationRegistrationIntent]; intent == "" {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	return intent
}

// A tenant keeps a genuine registration intent and restores it when somebody else has registered the machine
// ID. The intent was closed: it is no evidence any more, however new the agent is.
func TestIntent_RestoredAfterItWasClosed_AdoptsNothing(t *testing.T) {
	for _, row := range []struct {
		name    string
		created time.Duration // of the victim, after the intent
	}{
		{"the victim was created long after the intent", time.Hour},
		{"the victim was created just after the intent", 0},
	} {
		for _, server := range services {
			t.Run(row.name+"/"+server.name, func(t *testing.T) {
				t.Parallel()
				w, tenant := harness.Shared(t, server.settings)
				// The API refuses this registration, and the operator closes the intent.
				restore := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents,
					Status: http.StatusBadRequest, Body: `{"error":"invalid agent raw config"}`})
				w.Guest(tenant, "thief", machine("machine-1"))
				intent := intentOf(tenant, "thief")
				tenant.Stalled("thief", v1alpha1.ReasonInvalid)
				w.Stop()
				restore()
				victim := w.Register("elsewhere", "machine-1")
				w.Cloud.Mutate(victim.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(row.created) })
				victims := w.Remote()
				w.Cloud.ResetRequests()
				tenant.Change("thief", func(a *v1alpha1.Agent) {
					metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent)
					metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationReconcileAt, uuid.NewString())
				})
				w.Start(tenant.Namespace)
				tenant.ReadyOrStalled("thief")
				learnedNothing(t, w, tenant, "thief", victims, server.settings)
			})
		}
	}
}

// learnedNothing checks that a thief got nothing of the victims, also by being deleted. A server that upserts returns the
// existing agent for the registration of a taken machine ID, which cannot be detected before if it lists nothing.
func learnedNothing(t *testing.T, w, tenant *harness.World, thief string, victims []cloud.Agent, settings cloudtest.Settings) {
	t.Helper()
	if settings.UniqueMachineIDs == cloudtest.MachineIDUpsert {
		return
	}
	for _, victim := range victims {
		tenant.KeepsNothingOf(thief+"-token", victim)
		if tenant.Get(thief).Status.ID == victim.ID {
			t.Errorf("the thief's status records the victim's agent")
		}
		if text := harness.Describe(tenant.Get(thief)); strings.Contains(text, victim.ID) {
			t.Errorf("the conditions contain the victim's ID: %s", text)
		}
	}
	tenant.Delete(thief)
	tenant.Gone(thief)
	w.Unharmed(victims)
}

// A tenant writes the ID of another agent, newer than its own, into its token Secret.
func TestSecret_NamesANewerForeignAgent_AdoptsNothing(t *testing.T) {
	for _, settings := range []cloudtest.Settings{
		{UniqueMachineIDs: cloudtest.MachineIDDouble},
		{UniqueMachineIDs: cloudtest.MachineIDDouble, NoList: true},
	} {
		t.Run(fmt.Sprintf("no list %v", settings.NoList), func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, settings)
			own := tenant.Ready(w.Guest(tenant, "thief", machine("machine-1"))).Status.ID
			victim := w.Register("elsewhere", "machine-1")
			victims := w.Remote()[1:]
			s := tenant.Secret("thief-token")
			s.Data[v1alpha1.IDKey], s.Data[v1alpha1.TokenKey] = []byte(victim.ID), nil
			if err := tenant.Client.Update(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			tenant.Eventually("the Secret is repaired", func() error {
				if got := string(tenant.Secret("thief-token").Data[v1alpha1.IDKey]); got != own {
					return fmt.Errorf("it has the id %s", got)
				}
				return nil
			})
			learnedNothing(t, w, tenant, "thief", victims, settings)
		})
	}
}

// lying is a server of the tenant that returns forged data about a victim's agent.
func lying(t testing.TB, victim cloud.Agent) *httptest.Server {
	t.Helper()
	text, err := json.Marshal(struct {
		cloud.Agent
		Token string `json:"token"`
	}{victim, "a-token-of-the-liar-123456"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, uuid.Nil.String()), strings.Contains(r.URL.Path, "/projects/"):
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write([]byte(`{"error":"agent not found"}`))
		case r.Method == http.MethodPost:
			rw.WriteHeader(http.StatusCreated)
			_, _ = rw.Write(text)
		case r.Method == http.MethodGet:
			_, _ = rw.Write(text)
		default:
			rw.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// ownProject makes the CloudProject "own" of a tenant, for a server of the tenant.
func ownProject(tenant *harness.World, url string) {
	tenant.Helper()
	tenant.Create(tenant.TokenSecret("calyptia-token", "a-token-of-the-tenant"))
	own := tenant.NewCloudProject("own")
	own.Spec.URL = url
	tenant.Create(own)
}

// recordedElsewhere makes the tenant's Agent thief, which records another cluster's agent of the shared project through a server of the
// tenant.
func recordedElsewhere(t testing.TB, w, tenant *harness.World, change func(victim cloud.Agent) func(*v1alpha1.Agent)) (victim cloud.Agent) {
	t.Helper()
	w.Register("elsewhere", "machine-1")
	victim = w.Remote()[0]
	ownProject(tenant, lying(t, victim).URL)
	tenant.Apply("thief", func(a *v1alpha1.Agent) {
		a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "own"}
		change(victim)(a)
	})
	if a := tenant.Ready("thief"); a.Status.ID != victim.ID {
		t.Fatalf("the liar's agent is recorded as %s", a.Status.ID)
	}
	return victim
}

// A tenant has another ID recorded through its own server, then points projectRef at the shared CloudProject.
// A record counts only at the endpoint where it was made.
func TestProjectRef_RecordFromAnotherEndpoint_AdoptsNothing(t *testing.T) {
	rows := []struct {
		name   string
		change func(victim cloud.Agent) func(*v1alpha1.Agent)
		forge  bool // an open intent, too
		gone   bool // deleted at the same time
	}{
		{name: "adopted there", change: adopts},
		{name: "adopted there, with a forged intent", change: adopts, forge: true},
		{name: "adopted there, and deleted here", change: adopts, gone: true},
		{name: "registered there", change: registers},
		{name: "registered there, with a forged intent", change: registers, forge: true},
		{name: "registered there, and deleted here", change: registers, gone: true},
	}
	for _, server := range services {
		for _, row := range rows {
			t.Run(server.name+"/"+row.name, func(t *testing.T) {
				t.Parallel()
				w, tenant := harness.Shared(t, server.settings)
				victim := recordedElsewhere(t, w, tenant, row.change)
				w.Cloud.ResetRequests()
				tenant.Change("thief", func(a *v1alpha1.Agent) {
					a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "calyptia", Namespace: w.Namespace}
					if row.forge {
						forged(a)
					}
				})
				if !row.gone {
					tenant.Stalled("thief", v1alpha1.ReasonAdoptionNotAllowed)
					tenant.KeepsNothingOf("thief-token", victim)
				}
				tenant.Delete("thief")
				tenant.NotReady("thief", v1alpha1.ReasonAdoptionNotAllowed, v1alpha1.AnnotationOrphan)
				w.Unharmed([]cloud.Agent{victim})
				tenant.Change("thief", func(a *v1alpha1.Agent) {
					metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationOrphan, "true")
				})
				tenant.Gone("thief")
				w.Unharmed([]cloud.Agent{victim})
			})
		}
	}
}

func adopts(victim cloud.Agent) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) {
		a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: victim.ID, DeletionPolicy: v1alpha1.DeletionDelete}
	}
}

func registers(victim cloud.Agent) func(*v1alpha1.Agent) { return machine(victim.MachineID) }

// An ID that a tenant had recorded through its own server must not stall the Agent that owns it.
func TestProjectRef_RecordFromAnotherEndpoint_BlocksNobody(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	made := w.Register("legacy", "machine-of-the-victim")
	victim := w.Remote()[0]
	ownProject(tenant, lying(t, victim).URL)
	tenant.Apply("thief", func(a *v1alpha1.Agent) {
		a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "own"}
		adopts(victim)(a)
	})
	tenant.Ready("thief") // It is the older one.
	w.Apply("owned", func(a *v1alpha1.Agent) { a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: made.ID} })
	w.Ready("owned")
	w.Poke("owned")
	w.Ready("owned")
	w.One("owned")
}

// A tenant chooses the machine ID that is derived from another Agent's name, before that Agent exists.
func TestMachineID_SquattingADerivedOne_BlocksNobody(t *testing.T) {
	for _, server := range services {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			// A namespace that may not adopt may not choose it at all.
			w, tenant := harness.Shared(t, server.settings, func(_ *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.Adoption = v1alpha1.AdoptionAllowed })
			derived := w.Ready(w.Apply("owned")).Status.MachineID
			w.Delete("owned")
			w.Gone("owned")
			tenant.Ready(w.Guest(tenant, "squatter", machine(derived)))
			w.Ready(w.Apply("owned"))
			owned := w.Get("owned")
			remote, there := w.Cloud.Agent(owned.Status.ID)
			if !there || remote.MachineID != derived {
				t.Fatalf("the owner has the agent %+v", remote)
			}
			tenant.Eventually("the squatter leaves it to the owner", func() error {
				tenant.Poke("squatter") // Again, if the operator had not seen the owner's status yet.
				a := tenant.ReadyOrStalled("squatter")
				stalled := harness.Condition(a, v1alpha1.ConditionStalled)
				if a.Status.ID == owned.Status.ID && stalled.Reason != v1alpha1.ReasonRemoteAlreadyManaged {
					return errors.New(harness.Describe(a))
				}
				return nil
			})
			tenant.Delete("squatter")
			tenant.Gone("squatter")
			w.Poke("owned")
			w.Ready("owned")
			if _, there := w.Cloud.Agent(owned.Status.ID); !there {
				t.Error("the squatter's deletion deleted the owner's agent")
			}
			w.HoldsToken("owned", remote)
		})
	}
}
