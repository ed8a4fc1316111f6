/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The CloudProject's url moves to an installation that has an older configuration, as one restored from a backup. Whatever the policy, it
// gets what is declared; what somebody else had changed before stays with OnChange.
func TestURL_Changes_WhatWasAppliedThereIsSentHere(t *testing.T) {
	const former, declared = "# the first\n", "# the second\n"
	for name, row := range map[string]struct {
		policy  v1alpha1.SyncPolicy
		changed bool // by somebody else, before the move
		want    string
	}{
		"OnChange":                          {v1alpha1.SyncOnChange, false, declared},
		"OnChange, changed by someone else": {v1alpha1.SyncOnChange, true, former},
		"Enforce":                           {v1alpha1.SyncEnforce, false, declared},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			api, err := url.Parse(w.HTTP.URL)
			if err != nil {
				t.Fatal(err)
			}
			alias := httptest.NewServer(httputil.NewSingleHostReverseProxy(api))
			t.Cleanup(alias.Close)
			id := w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SyncPolicy, a.Spec.RawConfig = row.policy, former })).Status.ID
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.RawConfig = declared })
			w.Ready("web")
			older := func() { w.Cloud.Mutate(id, func(a *cloud.Agent) { a.RawConfig = former }) }
			if row.changed {
				older()
				w.Poke("web")
				w.Becomes("web", v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonChangedExternally)
			}
			w.Stop()
			older()
			w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = alias.URL })
			w.Start()
			w.Eventually("it is checked at the new url", func() error {
				if a := w.Get("web"); a.Status.URL != alias.URL {
					return errors.New(harness.Describe(a))
				}
				return nil
			})
			w.Check("web")
			w.Ready("web")
			if got, _ := w.Cloud.Agent(id); got.RawConfig != row.want {
				t.Errorf("Calyptia Cloud has %q, want %q; %s", got.RawConfig, row.want, harness.Describe(w.Get("web")))
			}
		})
	}
}
