/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The token was replaced while a guest's registration was in doubt: only the permission to adopt shows the agent to be the guest's, and while
// the Secret of the token is missing, that rests. A deletion waits for the Secret, but not for ever.
func TestDelete_InDoubt_TokenIsMissing_WaitsForIt(t *testing.T) {
	for name, restored := range map[string]bool{"restored": true, "never": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.Adoption, w.CloudTimeout, w.Settings.Slack = v1alpha1.AdoptionAllowed, 20*time.Second, 5*time.Minute
			})
			w.Ready(w.Apply("own"))
			entered, block := make(chan struct{}, 1), make(chan struct{})
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter, Entered: entered, Block: block,
			})
			w.Guest(tenant, "web", machine("machine-1"))
			<-entered
			next := w.Cloud.AddProject(w.ProjectID)
			replaceToken(w, next)
			copied(w, next.Reveal())
			tenant.Delete("web")
			missing := w.Secret("calyptia-token")
			if err := w.Client.Delete(t.Context(), missing); err != nil {
				t.Fatal(err)
			}
			w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonSourceNotFound)
			close(block)
			tenant.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
			w.Clock.Step(w.Settings.Slack)
			tenant.Poke("web")
			tenant.NotReady("web", v1alpha1.ReasonProjectNotReady, "copy of its token")
			if restored {
				missing.ObjectMeta = metav1.ObjectMeta{Namespace: missing.Namespace, Name: missing.Name}
				w.Create(missing)
			} else {
				w.Clock.Step(w.Settings.Slack)
				w.Eventually("it is released", func() error {
					patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationReconcileAt, time.Now())
					err := w.Client.Patch(t.Context(), tenant.NewAgent("web"), client.RawPatch(types.MergePatchType, []byte(patch)))
					if err == nil {
						return errors.New("it is there")
					}
					return client.IgnoreNotFound(err)
				})
			}
			tenant.Gone("web")
			events := map[bool]int{true: 2, false: 1}[restored]
			orphaned := slices.ContainsFunc(tenant.Events("web", events), func(reason string) bool { return reason == remoteagent.MaybeOrphaned.Reason })
			left := len(w.Remote()) - 1
			if restored && (left != 0 || orphaned) || !restored && (left != 1 || !orphaned) {
				t.Errorf("%d agents of the guest are left, and the event: %v", left, orphaned)
			}
		})
	}
}
