/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A tenant's own CloudProject has the URL and, as a claim, the project of the victim's. While one of its Agents is reconciled, before the
// first request for it, the tenant points that CloudProject at its own server, which shows the victim's agent. What that server showed
// must not be recorded at the victim's endpoint: the Agent, pointed at the shared CloudProject, would have the victim's agent.
func TestProjectRef_CloudProjectMovedDuringAReconciliation_AdoptsNothing(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Register("elsewhere", "machine-1") // By another cluster.
	victim := w.Remote()[0]
	liar := lying(t, victim)
	const token = "opaque-token-of-the-tenant"
	w.Cloud.AddToken("0b7e0000-0000-4000-8000-0000000000aa", token)
	tenant.Create(tenant.TokenSecret("calyptia-token", token))
	own := tenant.NewCloudProject("own")
	own.Spec.ProjectID = w.ProjectID // A claim.
	tenant.Create(own)
	usable := func(url string) {
		w.Helper()
		w.Eventually("the tenant's CloudProject is usable at "+url, func() error {
			var cp v1alpha1.CloudProject
			tenant.Read(tenant.Key("own"), &cp)
			if cp.Status.URL != url || !meta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("%+v", cp.Status)
			}
			return nil
		})
	}
	usable(w.HTTP.URL)

	tenant.ConfigMap("pipeline", "config", "# of the thief")
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) { // The API server is slow for once.
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/namespaces/"+tenant.Namespace+"/configmaps/pipeline") {
			once.Do(func() {
				close(entered)
				<-release
			})
		}
		return send(r)
	})
	tenant.Apply("thief", func(a *v1alpha1.Agent) {
		a.Finalizers = []string{v1alpha1.AgentFinalizer}
		a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "own"}
		adopts(victim)(a)
		a.Spec.RawConfigFrom = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "pipeline", Key: "config"}}
	})
	<-entered
	cp := v1alpha1.CloudProject{ObjectMeta: own.ObjectMeta}
	tenant.Edit(&cp, func() { cp.Spec.URL = liar.URL })
	usable(liar.URL)
	tenant.Change("thief", in(w.Namespace, "calyptia"))
	close(release)

	w.Eventually("the thief has an outcome in the shared CloudProject", func() error {
		a := tenant.Get("thief")
		if ready := harness.Condition(a, v1alpha1.ConditionReady); ready.Status == "" || a.Status.ObservedGeneration != a.Generation {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	tenant.Poke("thief")
	if a := tenant.ReadyOrStalled("thief"); a.Status.ID == victim.ID && a.Status.URL == w.HTTP.URL {
		t.Errorf("the victim's agent is recorded as the thief's at %s: it is %s", a.Status.URL, harness.Describe(a))
	}
	tenant.KeepsNothingOf("thief-token", victim)
	w.Unharmed([]cloud.Agent{victim})
}
