/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A changed ConfigMap changes no generation. Still, the Agent is not Ready until the API accepted the change and a read
// confirmed it, even if an outage otherwise keeps an applied Agent Ready.
func TestSource_Changed_NotReadyBeforeItIsConfirmed(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault cloudtest.Fault
	}{
		{"the update fails", cloudtest.Fault{Method: http.MethodPatch, Route: cloudtest.RouteAgent, Status: http.StatusServiceUnavailable}},
		{"the read-back fails", cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: http.StatusServiceUnavailable}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{NoList: true}, rarely)
			w.ConfigMap("web", "fluent-bit.conf", "[INPUT]\n    name dummy\n")
			w.Ready(w.Apply("web", func(a *v1alpha1.Agent) {
				a.Spec.RawConfig = ""
				a.Spec.RawConfigFrom = &v1alpha1.KeySource{
					ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "web", Key: "fluent-bit.conf"},
				}
			}))
			restore := w.Cloud.Inject(row.fault)
			w.ConfigMap("web", "fluent-bit.conf", "[INPUT]\n    name mem\n")
			w.NotReady("web", v1alpha1.ReasonUnavailable, "503")
			restore()
			w.Ready("web")
			if remote := w.One("web"); remote.RawConfig != "[INPUT]\n    name mem\n" {
				t.Errorf("the configuration is %q", remote.RawConfig)
			}
		})
	}
}
