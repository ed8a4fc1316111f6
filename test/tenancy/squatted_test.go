/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"cmp"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// squatted has the operator stop while the registration of the Agent victim is in doubt, and nothing can be listed. A guest declares the same
// machine ID, and is reconciled first after the restart: it gets nothing.
func squatted(t *testing.T, slack, downFor time.Duration) *harness.World {
	t.Helper()
	w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert},
		func(w *harness.World, _ *v1alpha1.CloudProject) { w.Settings.Slack = cmp.Or(slack, w.Settings.Slack) })
	w.Ready(w.Apply("first"))
	unanswered(w, "victim", machine("machine-v"), func() {})
	w.Stop()
	refusesContent(w)
	w.Guest(tenant, "squatter", machine("machine-v"), configured("# DROP TABLE one\n"))
	w.Clock.Step(downFor)
	w.Start(tenant.Namespace)
	tenant.Stalled("squatter", v1alpha1.ReasonMachineIDConflict)
	return w
}

// firstAlone fails unless the agents of the other Agents are deleted.
func firstAlone(w *harness.World) {
	w.Helper()
	if n := len(w.Remote()); n != 1 {
		w.Errorf("%d agents are left, want the first alone", n)
	}
}

// The squatter does not keep the other from finding its agent when it is deleted.
func TestRegister_InDoubt_AnotherComesAfterARestart_TheFirstHasTheMachineID(t *testing.T) {
	t.Parallel()
	w := squatted(t, time.Minute, 0)
	w.NotReady("victim", v1alpha1.ReasonRegistrationOutcomeUnknown)
	w.Delete("victim")
	w.NotReady("victim", v1alpha1.ReasonRegistrationOutcomeUnknown, v1alpha1.AnnotationOrphan)
	w.Clock.Step(w.Settings.Slack)
	w.Poke("victim")
	w.Gone("victim")
	firstAlone(w)
}

// After a long time the registration is as much in doubt as before.
func TestRegister_LongInDoubt_AnotherComesAfterARestart_TheFirstHasTheMachineID(t *testing.T) {
	t.Parallel()
	w := squatted(t, 0, 61*time.Minute)
	w.Clock.Step(w.Settings.Slack)
	w.Ready("victim")
	w.Delete("victim")
	w.Gone("victim")
	firstAlone(w)
}

// A namespace that is not allowed names another team's machine ID, and writes an intent, through a separate CloudProject that is never
// verified. After a restart that delays the other's registration or adoption by nothing: the slack is longer than the test waits.
func TestRestart_AStrangersIntent_DelaysNobody(t *testing.T) {
	for name, row := range map[string]struct {
		url     string // of the stranger's CloudProject; empty for the shared one
		noToken bool
		signed  bool   // with the stranger's own token
		before  string // an opaque token of another project, which it had first
		adopts  bool
	}{
		"no server":               {url: "http://127.0.0.1:1"},
		"no token":                {noToken: true},
		"no token, adopted":       {noToken: true, adopts: true},
		"rejected, signed itself": {signed: true},
		"rejected now":            {signed: true, before: "an-opaque-token-of-the-tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
				w.Settings.Slack, cp.Spec.AllowedNamespaces = time.Hour, nil
			})
			w.Ready(w.Apply("first"))
			own := tenant.NewCloudProject("own")
			own.Spec.URL = cmp.Or(row.url, own.Spec.URL)
			if own.Spec.TokenSecretRef.Name = "own-token"; !row.noToken {
				tenant.Create(tenant.TokenSecret("own-token", cmp.Or(row.before, "a-token-of-the-tenant")))
			}
			if row.before != "" {
				project := uuid.NewString()
				w.Cloud.AddProject(project)
				w.Cloud.AddToken(project, row.before)
			}
			tenant.Create(own)
			if row.before != "" {
				tenant.Ready(tenant.Apply("before", in(tenant.Namespace, "own")))
				tenant.SetSecret("own-token", map[string]string{"token": "a-token-of-the-tenant"})
			}
			tenant.Apply("stranger", machine("machine-v"), in(tenant.Namespace, "own"), forged)
			if a := tenant.Get("stranger"); row.signed {
				intent, err := registration.NewIntent(time.Now(), registration.Attempt{}, registration.Intent{},
					remoteagent.Subject(a, w.Settings.ClusterID, w.HTTP.URL), connection.Signer(cloud.NewToken("a-token-of-the-tenant")))
				if err != nil {
					t.Fatal(err)
				}
				tenant.Change("stranger", annotated(v1alpha1.AnnotationRegistrationIntent, intent.String()))
			}
			id := ""
			if row.adopts {
				id = w.Register("elsewhere", "machine-v").ID
			}
			w.Stop()
			w.Start(tenant.Namespace)
			w.Ready("first")
			w.Ready(w.Apply("victim", func(a *v1alpha1.Agent) {
				if a.Spec.MachineID = "machine-v"; row.adopts {
					a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: id}
				}
			}))
		})
	}
}

// A forged intent does not keep an Agent that is not allowed, and so its namespace, while a CloudProject cannot be used.
func TestDelete_NotAllowed_ForgedIntent_CloudProjectIsBroken_Ends(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle, func(w *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = w.ProjectID })
	tenant := w.In(w.AddNamespace("tenant"))
	w.Start(tenant.Namespace)
	w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
	replaceToken(w, w.Cloud.AddProject(uuid.NewString()))
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonInvalid)
	w.Guest(tenant, "web", func(a *v1alpha1.Agent) {
		controllerutil.AddFinalizer(a, v1alpha1.AgentFinalizer)
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, time.Now().UTC().Format(time.RFC3339Nano)+"/00-00")
	})
	tenant.Stalled("web", v1alpha1.ReasonProjectNotAllowed)
	tenant.Delete("web")
	tenant.Gone("web")
}
