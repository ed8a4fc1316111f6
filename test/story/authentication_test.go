/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The API may list agents for a token with which it refuses registrations.
func TestATokenWithWhichOnlyTheListWorks(t *testing.T) {
	t.Parallel()
	refusing := func(authentication v1alpha1.Authentication) *harness.World {
		w := harness.New(t, cloudtest.Settings{}, harness.Idle, func(_ *harness.World, cp *v1alpha1.CloudProject) {
			cp.Spec.Authentication = authentication
		})
		w.Cloud.Inject(cloudtest.Fault{
			Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusUnauthorized, Body: `{"error":"invalid token"}`,
			Match: func(r *http.Request) bool { return r.Header.Get("Authorization") != "" },
		})
		w.Start()
		return w
	}
	becomes := func(w *harness.World, check func(v1alpha1.CloudProjectStatus) bool) {
		t.Helper()
		w.Eventually("the CloudProject shows it", func() error {
			var cp v1alpha1.CloudProject
			err := w.Client.Get(context.Background(), w.Key("calyptia"), &cp)
			if !check(cp.Status) {
				return errors.Join(fmt.Errorf("it shows %+v", cp.Status), err)
			}
			return nil
		})
	}

	w := refusing(v1alpha1.AuthenticationAuto)
	for i := range 3 {
		w.Apply(fmt.Sprint("web-", i))
	}
	for i := range 3 {
		w.Ready(fmt.Sprint("web-", i))
	}
	becomes(w, func(s v1alpha1.CloudProjectStatus) bool {
		return s.Authentication == v1alpha1.AuthenticationProjectToken && meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady)
	})

	w = refusing(v1alpha1.AuthenticationBearer)
	for i := range 3 {
		w.Apply(fmt.Sprint("web-", i))
	}
	becomes(w, func(s v1alpha1.CloudProjectStatus) bool {
		ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == v1alpha1.ReasonUnauthorized
	})
	// Each worker may have had a request in flight, before and after the token was verified again.
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n > 2*harness.Workers {
		t.Errorf("%d registrations were tried", n)
	}
}

// A 401 may be transient. The Agents continue soon after it, however long the interval between credential checks.
func TestTransientRefusalsDelayAgentsOnlyBriefly(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
	}{
		{"a server that lists", cloudtest.Settings{}},
		{"a server that does not list", cloudtest.Settings{NoList: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings, func(_ *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.ResyncInterval = &metav1.Duration{Duration: 24 * time.Hour}
			})
			w.Ready(w.Apply("web"))
			repair := w.Cloud.Inject(cloudtest.Fault{Status: http.StatusUnauthorized, Body: `{"error":"invalid token"}`})
			w.Apply("mail")
			w.Eventually("the CloudProject reports it", func() error { return refused(w, metav1.ConditionFalse, v1alpha1.ReasonUnauthorized) })
			repair()
			w.Ready("mail")
			w.Eventually("the CloudProject is Ready again", func() error { return refused(w, metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified) })
		})
	}
}

func refused(w *harness.World, status metav1.ConditionStatus, reason string) error {
	var cp v1alpha1.CloudProject
	err := w.Client.Get(context.Background(), w.Key("calyptia"), &cp)
	ready := meta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != status || ready.Reason != reason {
		return errors.Join(fmt.Errorf("it shows %+v", ready), err)
	}
	return nil
}
