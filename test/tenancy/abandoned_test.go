/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Agents that wait for the rate limit are changed so that they ask for nothing any more. Nobody waits for them: their reservations would take
// hundreds of times as long as the test waits.
func TestRateLimit_AgentsThatNoLongerAsk_DelayNoOthers(t *testing.T) {
	for reason, change := range map[string]func(*v1alpha1.Agent){
		v1alpha1.ReasonSuspended:       func(a *v1alpha1.Agent) { a.Spec.Suspend = true },
		v1alpha1.ReasonProjectNotFound: func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "none" },
		v1alpha1.ReasonSourceNotFound: func(a *v1alpha1.Agent) {
			a.Spec.RawConfig = ""
			a.Spec.RawConfigFrom = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "none", Key: "config"}}
		},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: new(int32(1)), Burst: new(int32(1))}
			})
			w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
			const waiting = 300
			for i := range waiting {
				w.Guest(tenant, fmt.Sprint("web-", i))
			}
			for i := range waiting {
				tenant.Change(fmt.Sprint("web-", i), change)
			}
			for i := range waiting {
				tenant.Eventually("the change is seen", func() error {
					a := tenant.Get(fmt.Sprint("web-", i))
					if c := harness.Condition(a, v1alpha1.ConditionReady); c.Reason != reason {
						return errors.New(harness.Describe(a))
					}
					return nil
				})
			}
			tenant.Ready(w.Guest(tenant, "new"))
		})
	}
}

// They move to a separate CloudProject whose server asks to wait: they do not return to the former one.
func TestRateLimit_AgentsThatMoveToAThrottledProject_DelayNoOthers(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: new(int32(1)), Burst: new(int32(1))}
	})
	w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
	busy := cloudtest.New(cloudtest.Settings{})
	server := busy.Start()
	t.Cleanup(server.Close)
	tenant.Create(tenant.TokenSecret("busy-token", busy.AddProject(uuid.NewString()).Reveal()))
	cp := tenant.NewCloudProject("busy")
	cp.Spec.URL, cp.Spec.TokenSecretRef.Name = server.URL, "busy-token"
	tenant.Create(cp)
	toBusy := func(a *v1alpha1.Agent) { a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "busy"} }
	tenant.Ready(tenant.Apply("there", toBusy))
	const waiting = 300
	for i := range waiting {
		w.Guest(tenant, fmt.Sprint("web-", i))
	}
	busy.Inject(cloudtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}})
	tenant.Change("there", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.0.1" })
	tenant.NotReady("there", v1alpha1.ReasonRateLimited)
	for i := range waiting {
		tenant.Change(fmt.Sprint("web-", i), toBusy)
	}
	for i := range waiting {
		tenant.NotReady(fmt.Sprint("web-", i), v1alpha1.ReasonRateLimited, "asked to wait")
	}
	tenant.Ready(w.Guest(tenant, "new"))
}

// A sync is asked for, and then not any more, as a GitOps controller writes the former annotations back.
func TestRateLimit_ASyncIsNoLongerAskedFor_DelaysNoOthers(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	const waiting = 150
	for i := range waiting {
		w.Guest(tenant, fmt.Sprint("web-", i))
	}
	for i := range waiting {
		tenant.Ready(fmt.Sprint("web-", i))
	}
	w.ChangeProject(func(cp *v1alpha1.CloudProject) {
		cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: new(int32(1)), Burst: new(int32(1))}
	})
	w.ProjectHandled()
	for i := range waiting {
		tenant.Poke(fmt.Sprint("web-", i))
	}
	for i := range waiting {
		tenant.Change(fmt.Sprint("web-", i), func(a *v1alpha1.Agent) { delete(a.Annotations, v1alpha1.AnnotationReconcileAt) })
	}
	tenant.Ready(w.Guest(tenant, "new"))
}
