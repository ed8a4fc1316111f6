/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
	"github.com/calyptia-agent-operator/operator/test/harness/objects"
)

// moved makes the World's CloudProject one of a sandbox, and changes permissions in the same write. It returns when the sandbox is in use.
func moved(w *harness.World, permit func(*v1alpha1.CloudProject)) (sandbox *cloudtest.Server) {
	w.Helper()
	sandbox = cloudtest.New(cloudtest.Settings{})
	server := httptest.NewServer(sandbox)
	w.Cleanup(server.Close)
	w.Create(w.TokenSecret("sandbox-token", sandbox.AddProject(uuid.NewString()).Reveal()))
	w.ChangeProject(func(cp *v1alpha1.CloudProject) {
		cp.Spec.URL, cp.Spec.TokenSecretRef.Name = server.URL, "sandbox-token"
		permit(cp)
	})
	w.Eventually("the sandbox is in use", func() error {
		if cp := w.Project(); cp.Status.URL != server.URL {
			return errors.New(cp.Status.URL)
		}
		return nil
	})
	return sandbox
}

// The owner of a shared CloudProject makes it one of a sandbox, which every team may use and whose agents every team may adopt: url, token and
// permissions change in one write. A tenant waits for that with an Agent that names an agent of the former project.
func TestTerms_OfTheNewURL_AreNotThoseOfTheFormer(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	made := w.Register("victim", "machine-of-another-cluster")
	victim, _ := w.Cloud.Agent(made.ID)
	w.Guest(tenant, "thief", thieving(made.ID))
	tenant.Stalled("thief", v1alpha1.ReasonAdoptionNotAllowed)
	moved(w, func(cp *v1alpha1.CloudProject) { cp.Spec.Adoption = v1alpha1.AdoptionAllowed })
	tenant.Stalled("thief", v1alpha1.ReasonRemoteNotFound)
	tenant.KeepsNothingOf("thief-token", victim)
	w.Unharmed([]cloud.Agent{victim})
}

// The same with a namespace that only the sandbox shall be open to.
func TestTerms_NamespacesOfTheNewURL_AreNotThoseOfTheFormer(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
	w.Ready(w.Apply("own"))
	w.Guest(tenant, "guest")
	tenant.Stalled("guest", v1alpha1.ReasonProjectNotAllowed)
	sandbox := moved(w, func(cp *v1alpha1.CloudProject) {
		cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	})
	tenant.Ready("guest")
	if n := sandbox.Count(http.MethodPost, cloudtest.RouteAgents); n == 0 {
		t.Error("the sandbox has no agent of the guest")
	}
	if n := len(w.Remote()); n != 1 {
		t.Errorf("the former project, which never allowed the namespace, has %d agents", n)
	}
}

// While the API server does not show the new token, the Agents wait and say so, and a permission alone is in use at once.
func TestTerms_CannotBeUsed_AgentsSaySo(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Create(w.TokenSecret("renewed-token", w.Cloud.AddProject(w.ProjectID).Reveal()))
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if reads("/secrets/renewed-token")(r) {
			return harness.Refusal(r, http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcd is slow")
		}
		return send(r)
	})
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.TokenSecretRef.Name = "renewed-token" })
	tenant.NotReady(w.Guest(tenant, "guest"), v1alpha1.ReasonProjectNotReady, "see its conditions")
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonAPIServer)
	w.API.Around(nil)
	w.PokeProject()
	tenant.Ready("guest")

	made := w.Register("free", "machine-of-another-cluster")
	w.Guest(tenant, "adopts", func(a *v1alpha1.Agent) { a.Spec.AgentID, a.Spec.Type, a.Spec.Version = made.ID, "", "" })
	tenant.Stalled("adopts", v1alpha1.ReasonAdoptionNotAllowed)
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.Adoption = v1alpha1.AdoptionAllowed })
	tenant.Ready("adopts")
}

// The other way round: a sandbox becomes production, which permits less, while the API server takes long to show a tenant's namespace.
func TestTerms_OfTheFormerURL_AreNotThoseOfTheNew(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.Adoption = v1alpha1.AdoptionAllowed
		cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{
			From: v1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{},
		}
	})
	production := cloudtest.New(cloudtest.Settings{})
	server := httptest.NewServer(production)
	t.Cleanup(server.Close)
	token := production.AddProject(uuid.NewString())
	w.Create(w.TokenSecret("production-token", token.Reveal()))
	made, err := objects.Register(t, server.URL, cloud.Credential{Scheme: cloud.SchemeBearer, Token: token}, cloud.Registration{
		Name: "victim", MachineID: "machine-of-the-victim", Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "[INPUT]\n    name mem\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	victim, _ := production.Agent(made.ID)
	w.Guest(tenant, "thief", thieving(made.ID))
	tenant.Stalled("thief", v1alpha1.ReasonRemoteNotFound)
	w.PokeProject()
	w.ProjectHandled() // Or its reconciliation, which reads the namespace, too, could be the one that waits.
	entered, release := held(w, reads("/namespaces/"+tenant.Namespace))
	tenant.Poke("thief")
	<-entered
	w.ChangeProject(func(cp *v1alpha1.CloudProject) {
		cp.Spec.URL, cp.Spec.TokenSecretRef.Name, cp.Spec.Adoption = server.URL, "production-token", v1alpha1.AdoptionSameNamespace
	})
	w.Eventually("production is in use", func() error {
		if cp := w.Project(); cp.Status.URL != server.URL {
			return errors.New(cp.Status.URL)
		}
		return nil
	})
	w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
	release()
	tenant.Stalled("thief", v1alpha1.ReasonAdoptionNotAllowed)
	tenant.KeepsNothingOf("thief-token", victim)
	if after, _ := production.Agent(made.ID); after.RawConfig != victim.RawConfig {
		t.Errorf("the victim's configuration is %q", after.RawConfig)
	}
}
