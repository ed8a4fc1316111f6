/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A list takes hours, because the pages are small and slow: each responds in time, so nothing fails. The check of an Agent does not wait
// for its end: somebody deleted its remote agent, and it does not stay Ready.
func TestCheck_ListTakesHours_AgentDoesNotStayReady(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	for n := range 150 {
		w.Register("other", fmt.Sprint("machine-", n))
	}
	w.Cloud.Configure(func(s *cloudtest.Settings) { s.PageSize = 1 })
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteList, Latency: time.Second,
		Match: func(r *http.Request) bool { return r.URL.Query().Get("last") != "1" }, // The credential check.
	})
	w.Cloud.Remove(id)
	for n := range 3 {
		w.Clock.Step(time.Hour)
		wake(w, time.Duration(11+n)*time.Minute)
	}
	w.Eventually("it is not Ready", func() error {
		if harness.Condition(w.Get("web"), v1alpha1.ConditionReady).Status == metav1.ConditionTrue {
			return errors.New(harness.Describe(w.Get("web")))
		}
		return nil
	})
}

// A list takes minutes. An Agent whose check is due waits for it with the check alone: what changed meanwhile is applied.
func TestCheck_ListTakesLong_ChangesAreApplied(t *testing.T) {
	const before, after = "[INPUT]\n    name cpu\n", "[INPUT]\n    name mem\n"
	for name, row := range map[string]struct {
		change func(w *harness.World)
		done   func(w *harness.World, id string) bool
	}{
		"the source of the configuration": {
			func(w *harness.World) { w.ConfigMap("config", "conf", after) },
			func(w *harness.World, id string) bool {
				remote, _ := w.Cloud.Agent(id)
				return remote.RawConfig == after
			},
		},
		"the Secret with the token": {
			func(w *harness.World) {
				if err := w.Client.Delete(w.Context(), w.Secret("web-token")); err != nil {
					w.Fatal(err)
				}
			},
			func(w *harness.World, _ string) bool { return w.Secret("web-token") != nil },
		},
		"the spec": {
			func(w *harness.World) { w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" }) },
			func(w *harness.World, id string) bool {
				remote, _ := w.Cloud.Agent(id)
				return remote.Version == "v4.1.0"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			w.ConfigMap("config", "conf", before)
			w.Apply("web", func(a *v1alpha1.Agent) {
				a.Spec.RawConfig = ""
				a.Spec.RawConfigFrom = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "config", Key: "conf"}}
			})
			id := w.Ready("web").Status.ID
			w.Ready(w.Apply("other"))
			w.Check("web")
			w.Check("other")
			for n := range 150 {
				w.Register("other", fmt.Sprint("machine-", n))
			}
			w.Cloud.Configure(func(s *cloudtest.Settings) { s.PageSize = 1 })
			var begun atomic.Bool
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodGet, Route: cloudtest.RouteList, Latency: time.Second,
				Match: func(r *http.Request) bool {
					page := r.URL.Query().Get("last") != "1" // Else it is the credential check.
					begun.Store(page || begun.Load())
					return page
				},
			})
			w.Clock.Step(12 * time.Minute) // The check is due.
			w.Poke("other")
			w.Eventually("the list has begun", func() error {
				if !begun.Load() {
					return errors.New("no page was requested")
				}
				return nil
			})
			row.change(w)
			w.Eventually("the change is applied", func() error {
				if !row.done(w, id) {
					return errors.New(harness.Describe(w.Get("web")))
				}
				return nil
			})
		})
	}
}
