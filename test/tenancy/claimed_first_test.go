/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// copied waits until the operator's copy has a token.
func copied(w *harness.World, token string) {
	w.Helper()
	w.Eventually("the token is copied", func() error {
		if s := w.Secret("calyptia-credentials"); s == nil || string(s.Data[v1alpha1.TokenKey]) != token {
			return errors.New("it is not")
		}
		return nil
	})
}

// The first agent of a project that spec.projectID claims is registered when no list shows an agent. Lists of the same token show it later:
// what was recorded with that token counts when the token is replaced, and the agent is missing.
func TestClaimed_ListsShowedTheFirstAgentLater_TokenIsReplaced(t *testing.T) {
	const first, second = "opaque-token-one-0123456789-abcdefgh", "opaque-token-two-9876543210-abcdefgh"
	for name, deleted := range map[string]bool{"registered again": false, "deleted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.ProjectID = w.ProjectID
				w.Cloud.AddToken(w.ProjectID, first)
				w.Cloud.AddToken(w.ProjectID, second)
			})
			use := func(token string) {
				w.SetSecret("calyptia-token", map[string]string{v1alpha1.TokenKey: token})
				copied(w, token)
				w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
			}
			use(first)
			w.Guest(tenant, "web")
			lost := tenant.Ready("web").Status
			if !lost.ProjectClaimed {
				t.Fatal("a list showed agents before the first")
			}
			w.Guest(tenant, "second")
			tenant.Ready("second") // A list shows the first before.
			use(second)
			w.Cloud.Remove(lost.ID)
			if deleted {
				tenant.Delete("web")
				tenant.Gone("web")
				return
			}
			tenant.Poke("web")
			w.Eventually("it is registered again", func() error {
				if now := tenant.Get("web"); now.Status.ID == "" || now.Status.ID == lost.ID {
					return errors.New(harness.Describe(now))
				}
				return nil
			})
		})
	}
}

// The owner corrects a wrong token, and takes the permission back. The deletion of an Agent whose registration is in doubt is not judged by the
// wrong token, while the right one is on its way.
func TestDelete_NotAllowedAnyMore_InDoubt_AwaitsTheTokenOnItsWay(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) { w.CloudTimeout = 20 * time.Second })
	w.Ready(w.Apply("own"))
	entered, block := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter, Entered: entered, Block: block,
	})
	w.Guest(tenant, "web", machine("machine-1"))
	<-entered
	tenant.Change("web", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	close(block)
	tenant.Becomes("web", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSuspended)
	sandbox := uuid.NewString()
	replaceToken(w, w.Cloud.AddProject(sandbox))
	inUse(w, sandbox)
	entries, release := held(w, reads("/secrets/calyptia-token"))
	replaceToken(w, w.Token)
	<-entries
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
	tenant.Delete("web")
	tenant.Stalled(w.Guest(tenant, "later"), v1alpha1.ReasonProjectNotAllowed)
	tenant.Delete("later")
	tenant.Gone("later") // The other deletion was judged before.
	release()
	tenant.Gone("web")
	if n := len(w.Remote()); n != 1 {
		t.Errorf("%d agents are left, want the owner's alone", n)
	}
}
