/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
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
