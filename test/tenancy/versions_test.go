/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// These tests have an honest owner change two things in the right order, while requests to the API server are slow. What follows is one that a
// single version of the world permits.

// thieving names an agent of a project in an Agent that a guest may not adopt it with yet.
func thieving(id string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) {
		a.Spec.AgentID, a.Spec.Type, a.Spec.Version, a.Spec.RawConfig = id, "", "v9.9.9", "[INPUT]\n    name thief\n"
	}
}

// held has the first request of the operator that is selected wait.
func held(w *harness.World, selected func(*http.Request) bool) (entered <-chan struct{}, release func()) {
	var first atomic.Bool
	in, out := make(chan struct{}), make(chan struct{})
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if selected(r) && first.CompareAndSwap(false, true) {
			close(in)
			<-out
		}
		return send(r)
	})
	return in, func() { close(out) }
}

func reads(path string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, path) }
}

func label(w *harness.World, namespace, team string) {
	w.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"team":`+team+`}}}`))
	if err := w.Client.Patch(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, patch); err != nil {
		w.Fatal(err)
	}
}

func selecting(_ *harness.World, cp *v1alpha1.CloudProject) {
	cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{
		From: v1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "guest"}},
	}
}

func replaceToken(w *harness.World, token cloud.Token) {
	w.Helper()
	w.SetSecret("calyptia-token", map[string]string{"token": token.Reveal()})
}

func inUse(w *harness.World, projectID string) {
	w.Helper()
	w.Eventually("the other project is in use", func() error {
		if cp := w.Project(); cp.Status.ProjectID != projectID {
			return errors.New(cp.Status.ProjectID)
		}
		return nil
	})
	w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
}

// The owner names the token of a sandbox, and permits adoption there, in one write. The Secret comes later, or is empty at first: the
// operator's copy of the former token adopts nothing.
func TestVersions_PermissionForATokenThatIsMissing_IsNoneForTheCopy(t *testing.T) {
	for name, empty := range map[string]bool{"no Secret": false, "an empty Secret": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			made := w.Register("victim", "machine-of-another-cluster")
			victim, _ := w.Cloud.Agent(made.ID)
			w.Guest(tenant, "thief", thieving(made.ID))
			tenant.Stalled("thief", v1alpha1.ReasonAdoptionNotAllowed)
			if empty {
				w.SetSecret("sandbox-token", map[string]string{"token": " "})
			}
			w.ChangeProject(func(cp *v1alpha1.CloudProject) {
				cp.Spec.TokenSecretRef.Name, cp.Spec.Adoption = "sandbox-token", v1alpha1.AdoptionAllowed
			})
			w.ProjectBecomes(metav1.ConditionFalse, "")
			tenant.NotReady("thief", v1alpha1.ReasonProjectNotReady, "the operator's copy")
			w.SetSecret("sandbox-token", map[string]string{"token": w.Cloud.AddProject(uuid.NewString()).Reveal()})
			tenant.Stalled("thief", v1alpha1.ReasonRemoteNotFound)
			tenant.KeepsNothingOf("thief-token", victim)
			w.Unharmed([]cloud.Agent{victim})
		})
	}
}

// A team moves its Agent to its own project, and then writes into its ConfigMap what the former project shall not see. A reconciliation that
// began before sends nothing of it to the former project.
func TestVersions_ConfigurationOfAfterAMove_IsNotSentToTheFormerProject(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{}}
	})
	const confidential = "[OUTPUT]\n    name http\n    passwd confidential\n"
	own := w.Cloud.AddProject(uuid.NewString())
	tenant.Create(tenant.TokenSecret("own-token", own.Reveal()))
	cp := tenant.NewCloudProject("own")
	cp.Spec.TokenSecretRef.Name = "own-token"
	tenant.Create(cp)
	tenant.ConfigMap("conf", "fluent-bit.conf", "[INPUT]\n    name mem\n")
	w.Guest(tenant, "web", func(a *v1alpha1.Agent) {
		a.Spec.RawConfig, a.Spec.RawConfigFrom = "", &v1alpha1.KeySource{
			ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "conf", Key: "fluent-bit.conf"},
		}
	})
	former := tenant.Ready("web").Status.ID
	entered, release := held(w, reads("/namespaces/"+tenant.Namespace))
	tenant.Poke("web")
	<-entered
	tenant.Change("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "own"} })
	var conf corev1.ConfigMap
	tenant.Read(tenant.Key("conf"), &conf)
	tenant.Edit(&conf, func() { conf.Data["fluent-bit.conf"] = confidential })
	release()
	w.Eventually("the Agent is judged by its own project", func() error {
		if a := tenant.Get("web"); a.Status.ObservedGeneration != a.Generation {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	if a, _ := w.Cloud.Agent(former); strings.Contains(a.RawConfig, "confidential") {
		t.Error("the agent of the former project has the confidential configuration")
	}
}

// The owner replaces the token by that of a sandbox, and then a namespace gets the label, while a credential check with the former token hangs.
func TestVersions_LaterLabel_IsNoneForAFormerToken(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, selecting, func(w *harness.World, _ *v1alpha1.CloudProject) { w.CloudTimeout = time.Minute })
	id := uuid.NewString()
	sandbox := w.Cloud.AddProject(id)
	w.Guest(tenant, "guest")
	tenant.Stalled("guest", v1alpha1.ReasonProjectNotAllowed)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Times: 1, Entered: entered, Block: release})
	w.PokeProject()
	<-entered
	replaceToken(w, sandbox)
	label(w, tenant.Namespace, `"guest"`)
	var looks atomic.Int32
	w.API.Before(func(r *http.Request) error {
		if reads("/namespaces/" + tenant.Namespace)(r) {
			looks.Add(1)
		}
		return nil
	})
	w.Eventually("the guest is judged some times", func() error {
		if n := looks.Load(); n < 4 && len(w.Remote()) == 0 {
			tenant.Poke("guest")
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	close(release)
	inUse(w, id)
	tenant.Ready("guest")
	if n := len(w.Remote()); n != 0 {
		t.Errorf("the former project, to which the namespace was never admitted, has %d agents of the guest", n)
	}
}

// The API server does not show the token Secret any more. A change of a permission leaves the Agents as they are: they can be deleted.
func TestVersions_PermissionChangesWhileTheSecretCannotBeRead_AgentsAreDeleted(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.Ready(w.Guest(tenant, "guest"))
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if reads("/secrets/calyptia-token")(r) {
			return harness.Refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "secrets is forbidden")
		}
		return send(r)
	})
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.Adoption = v1alpha1.AdoptionAllowed })
	w.ProjectBecomes(metav1.ConditionFalse, "")
	tenant.Delete("guest")
	tenant.Gone("guest")
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d remote agents are left", n)
	}
}
