/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The url of a CloudProject changes to other host names of the same service, with the same token, and back. The Agents of guests keep
// their agents, also those that chose a machine ID.
func TestURL_ChangesAndIsChangedBack_GuestsKeepTheirAgents(t *testing.T) {
	for name, first := range map[string]func(w, tenant *harness.World, change func()){
		"the operator runs":    func(_, _ *harness.World, change func()) { change() },
		"the operator is down": func(w, tenant *harness.World, change func()) { w.Stop(); change(); w.Start(tenant.Namespace) },
		"the operator dies before it records the first change": func(w, tenant *harness.World, change func()) {
			dead := w.API.StopWhen(func(r *http.Request) bool {
				return strings.HasSuffix(r.URL.Path, "/chosen/status") && strings.Contains(bodyOf(w, r), `"url":`)
			})
			change()
			<-dead
			w.API.Before(nil)
			w.Stop()
			w.Start(tenant.Namespace)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			ids := map[string]string{}
			for name, change := range map[string]func(*v1alpha1.Agent){"derived": func(*v1alpha1.Agent) {}, "chosen": machine("machine-1")} {
				ids[name] = tenant.Ready(w.Guest(tenant, name, change)).Status.ID
			}
			for n, url := range []string{alias(w), alias(w), w.HTTP.URL} {
				change := func() { w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = url }) }
				if n == 0 {
					first(w, tenant, change)
				} else {
					change()
				}
				for name, id := range ids {
					recordedAt(tenant, name, id, url)
				}
			}
			for name := range ids {
				tenant.Delete(name)
				tenant.Gone(name)
			}
			if left := w.Remote(); len(left) > 0 {
				t.Errorf("%d remote agents are left", len(left))
			}
		})
	}
}

// bodyOf reads the body of a request that is still to be sent.
func bodyOf(t testing.TB, r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return string(body)
}

// alias is another URL of the API.
func alias(w *harness.World) string {
	server := httptest.NewServer(w.Cloud)
	w.Cleanup(server.Close)
	return server.URL
}

// recordedAt waits until an Agent is Ready with its agent at a URL.
func recordedAt(w *harness.World, name, id, url string) {
	w.Helper()
	w.Eventually(name+" is Ready at "+url, func() error {
		a := w.Get(name)
		if a.Status.URL != url || a.Status.ID != id || !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
}

// The same, while an Agent of the tenant is at a server of the tenant, where its record becomes that of another agent, with its machine ID
// and registered at the same time: its registration is no evidence for that agent, at any URL.
func TestURL_ChangesAndIsChangedBack_AnIDFromATenantsServer_AdoptsNothing(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	own := tenant.Ready(w.Guest(tenant, "thief", machine("machine-1")))
	victim, _ := w.Cloud.Agent(w.Register("elsewhere", "machine-1").ID)
	mine, _ := w.Cloud.Agent(own.Status.ID)
	liar, mirror := lying(t, victim).Config.Handler, lying(t, mine).Config.Handler
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, own.Status.ID) {
			mirror.ServeHTTP(rw, r)
			return
		}
		liar.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	ownProject(tenant, server.URL)
	tenant.Change("thief", in(tenant.Namespace, "own"))
	recordedAt(tenant, "thief", own.Status.ID, server.URL)
	secret := tenant.Secret("thief-token")
	secret.Data[v1alpha1.IDKey], secret.Data[v1alpha1.TokenKey] = []byte(victim.ID), nil
	if err := tenant.Client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	tenant.Eventually("the tenant's server has it yield to the victim's agent", func() error {
		if a := tenant.Get("thief"); a.Status.ID != victim.ID {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.Cloud.ResetRequests()
	for _, url := range []string{alias(w), w.HTTP.URL} {
		w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = url })
		w.Eventually("the CloudProject is usable at "+url, func() error {
			if status := w.Project().Status; status.URL != url || !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
				return errors.New(status.URL)
			}
			return nil
		})
		tenant.Change("thief", in(w.Namespace, "calyptia"))
		tenant.Check("thief")
		if a := tenant.Stalled("thief", v1alpha1.ReasonAdoptionNotAllowed); a.Status.URL != server.URL ||
			a.Status.RegistrationIntent != own.Status.RegistrationIntent {
			t.Errorf("it is recorded at %s, with the intent %s", a.Status.URL, a.Status.RegistrationIntent)
		}
	}
	tenant.KeepsNothingOf("thief-token", victim)
	tenant.Delete("thief")
	tenant.NotReady("thief", v1alpha1.ReasonAdoptionNotAllowed, v1alpha1.AnnotationOrphan)
	tenant.Change("thief", func(a *v1alpha1.Agent) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationOrphan, "true")
	})
	tenant.Gone("thief")
	w.Unharmed([]cloud.Agent{victim})
}
