/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A forged intent in the far future, once closed, would invalidate every later one: a lost response would be forgotten,
// and the next registration would make a duplicate.
func TestIntent_FromTheFarFuture_ForgetsNoLostResponse(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	before := w.Ready(w.Apply("web"))
	w.Change("web", func(a *v1alpha1.Agent) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, "9999-12-31T23:59:59.999999999Z/ab-cd")
	})
	w.Poke("web")
	w.Ready("web")
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Cut: cloudtest.CutAfter, Times: 1})
	w.Cloud.Remove(before.Status.ID)
	w.Poke("web")
	w.Eventually("it is registered again", func() error {
		if a := w.Get("web"); a.Status.ID == "" || a.Status.ID == before.Status.ID {
			return fmt.Errorf("it is %s", harness.Describe(a))
		}
		return nil
	})
	w.Ready("web")
	w.One("web")
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 2 {
		t.Errorf("%d registrations, want the first and one more", n)
	}
	if got := w.Get("web").Status.RegistrationIntent; got >= "9999" {
		t.Errorf("the forged intent was closed: %s", got)
	}
}
