/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A CloudProject of a stranger, with an opaque token, names the victim's project in spec.projectID. Records made through
// it look as if they were made at the victim's endpoint.
func TestProjectRef_RecordThroughAForgedProject_CausesNoRequestAndBlocksNothing(t *testing.T) {
	t.Parallel()
	const opaque = "an-opaque-token-of-the-tenant-0123456789"
	s := newScene(t)
	s.Cloud.AddToken("0b7e0000-0000-4000-8000-000000000001", opaque)
	s.own(s.stranger, "pretends", func(cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = s.ProjectID })
	s.stranger.SetSecret("token-of-pretends", map[string]string{v1alpha1.TokenKey: opaque})
	for _, name := range []string{"deleted", "stays"} {
		s.stranger.Apply(name, in(s.stranger.Namespace, "pretends"))
		s.stranger.Ready(name)
		s.stranger.Change(name, in(s.Namespace, "calyptia"))
		s.stranger.Stalled(name, v1alpha1.ReasonProjectNotAllowed)
	}
	s.Cloud.ResetRequests()
	s.stranger.Delete("deleted")
	s.stranger.NotReady("deleted", v1alpha1.ReasonProjectNotAllowed, v1alpha1.AnnotationOrphan)
	if calls := s.callsOfTheProject(); calls > 0 {
		t.Errorf("%d calls with the victim's project token, want none", calls)
	}
	s.deleteNamespace()
	s.allDeleted()
}

// A tenant writes invalid IDs into its token Secrets. A proxy in front of the API drops requests that are this long.
func TestSecret_WithAnInvalidID_CausesNoRequest(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{"long": strings.Repeat("x", 500_000), "attack": "' OR 1=1 --", "dots": "../../projects"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			own := tenant.Ready(w.Guest(tenant, "writes")).Status.ID
			w.Cloud.ResetRequests()
			tenant.SetSecret("writes-token", map[string]string{v1alpha1.IDKey: id})
			tenant.Eventually("the Secret is repaired", func() error {
				if got := string(tenant.Secret("writes-token").Data[v1alpha1.IDKey]); got != own {
					return fmt.Errorf("its id has %d characters", len(got))
				}
				return nil
			})
			for _, r := range w.Cloud.Requests() {
				if r.Route == cloudtest.RouteAgent && r.AgentID != own || r.Route == cloudtest.RouteUnknown {
					t.Errorf("%s of an invalid ID of %d characters", r.Method, len(r.Path))
				}
			}
		})
	}
}

// The first Events of an Agent that changes all the time are written one by one; later ones of a reason are a series.
func TestEvents_OfAFlappingAgent_AreBounded(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.Ready(w.Guest(tenant, "flaps"))
	const changes = 50
	for i := range changes {
		tenant.Change("flaps", func(a *v1alpha1.Agent) { a.Spec.RawConfig = fmt.Sprint("# ", i) })
		tenant.Eventually("it is applied", func() error {
			if a := tenant.Get("flaps"); a.Status.Applied.Generation != a.Generation {
				return fmt.Errorf("generation %d is applied, want %d", a.Status.Applied.Generation, a.Generation)
			}
			return nil
		})
	}
	var list eventsv1.EventList
	tenant.Eventually("the later ones are counted", func() error {
		if err := w.Client.List(t.Context(), &list, client.InNamespace(tenant.Namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == "Updated" && e.Series != nil {
				return nil
			}
		}
		return fmt.Errorf("%d Events, and none with a series", len(list.Items))
	})
	if most := 25; len(list.Items) > most {
		t.Errorf("%d Events for %d changes, want at most %d", len(list.Items), changes, most)
	}
}

// The API repeats the refused value in an error. Values from a Secret are not shown to users who may only read Agents.
func TestSecretSource_RepeatedInAnError_IsNotShown(t *testing.T) {
	const password = "hunter2-is-my-password"
	for _, row := range []struct{ name, method, body string }{
		{"at the registration", http.MethodPost, `{"error":"invalid agent raw config: line 3: http_passwd ` + password + `"}`},
		{"quoted, in the detail", http.MethodPost, `{"error":"invalid agent raw config","detail":"unexpected \"` + password + `\""}`},
		{"cut", http.MethodPost, `{"error":"invalid agent raw config: ` + password[:14] + `…"}`},
		{"at an update", http.MethodPatch, `{"error":"invalid agent raw config: ` + password + `"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			tenant.SetSecret("source", map[string]string{"conf": "[INPUT]\n    name dummy\n"})
			source := &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "source", Key: "conf"}}
			change := func(a *v1alpha1.Agent) { a.Spec.RawConfig, a.Spec.RawConfigFrom = "", source }
			if row.method == http.MethodPatch {
				tenant.Ready(w.Guest(tenant, "echo", change))
			}
			w.Cloud.Inject(cloudtest.Fault{Method: row.method, Status: http.StatusBadRequest, Body: row.body})
			tenant.SetSecret("source", map[string]string{"conf": "[OUTPUT]\n    name http\n    http_passwd " + password + "\n"})
			if row.method == http.MethodPost {
				w.Guest(tenant, "echo", change)
			}
			a := tenant.Stalled("echo", v1alpha1.ReasonInvalid, "invalid agent raw config", cloud.Redacted)
			if text := harness.Describe(a); strings.Contains(text, password[:10]) {
				t.Errorf("it is shown: %s", text)
			}
		})
	}
}

// A tenant registers the machine ID that is derived from the name of another Agent, keeps the token, and leaves the
// remote agent for that Agent to adopt.
func TestMachineID_DerivedOneLeftToItsOwner_LeaksNoToken(t *testing.T) {
	for _, server := range services {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, server.settings)
			derived := w.Ready(w.Apply("owned")).Status.MachineID
			w.Delete("owned")
			w.Gone("owned")
			w.Guest(tenant, "squatter", machine(derived), func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
			tenant.Stalled("squatter", v1alpha1.ReasonMachineIDConflict, "derives")
			tenant.Delete("squatter")
			tenant.Gone("squatter")
			w.Apply("owned")
			w.Ready("owned")
			w.One("owned")
		})
	}
}

// The configuration of an agent may be too large to be read. It does not hide other agents or block the credential check,
// and can be deleted.
func TestHugeAgent_HidesNoOtherAndIsDeleted(t *testing.T) {
	for _, server := range services {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, server.settings, func(w *harness.World, _ *v1alpha1.CloudProject) { w.CloudTimeout = 15 * time.Second })
			id := tenant.Ready(w.Guest(tenant, "huge")).Status.ID
			w.Stop()
			w.Cloud.Mutate(id, func(a *cloud.Agent) { a.RawConfig = strings.Repeat("x", 10<<20) })
			tenant.Change("huge", func(a *v1alpha1.Agent) { a.Spec.Suspend = true }) // Otherwise it would be corrected.
			w.Start(tenant.Namespace)
			w.Ready(w.Apply("new"))
			tenant.Delete("huge")
			tenant.Gone("huge")
			if _, there := w.Cloud.Agent(id); there {
				t.Error("the remote agent was left behind")
			}
		})
	}
}

// The source of the shared token is lost. How the Secret is called, and what is wrong with it, concerns the owner of the CloudProject.
func TestCloudProject_LostSource_IsNotDescribedToAGuest(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Ready(w.Apply("own"))
	w.SetSecret("calyptia-token", map[string]string{v1alpha1.TokenKey: "a token of two lines\nand more"})
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonSourceInvalid, "calyptia-token")
	a := tenant.NotReady(w.Guest(tenant, "guest"), v1alpha1.ReasonProjectNotReady, "calyptia: see its conditions")
	if text := harness.Describe(a); strings.Contains(text, "calyptia-token") || strings.Contains(text, "line break") {
		t.Errorf("the guest reads: %s", text)
	}
}
