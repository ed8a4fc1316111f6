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

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A service may list agents for a token that it then refuses to register with.
func TestATokenThatOnlyTheListAccepts(t *testing.T) {
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
	// Each worker may have been on its way, before and after the token was proved once more.
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n > 2*harness.Workers {
		t.Errorf("%d registrations were tried", n)
	}
}
