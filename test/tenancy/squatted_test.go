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
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The operator restarts while a registration is in doubt. A guest declares the same machine ID, and is reconciled first: it gets nothing,
// and does not keep the other from finding its agent.
func TestRegister_InDoubt_AnotherComesAfterARestart_TheFirstHasTheMachineID(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert},
		func(w *harness.World, _ *v1alpha1.CloudProject) { w.Settings.Slack = time.Minute })
	w.Ready(w.Apply("first"))
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
	w.Apply("victim", machine("machine-v"))
	w.Eventually("it is registered", func() error {
		if len(w.Remote()) < 2 {
			return errors.New("it is not there")
		}
		return nil
	})
	w.NotReady("victim", v1alpha1.ReasonRegistrationOutcomeUnknown)
	w.Stop()
	refusesContent(w)
	w.Guest(tenant, "squatter", machine("machine-v"), configured("# DROP TABLE one\n"))
	w.Start(tenant.Namespace)
	tenant.Stalled("squatter", v1alpha1.ReasonMachineIDConflict)
	w.NotReady("victim", v1alpha1.ReasonRegistrationOutcomeUnknown)
	w.Delete("victim")
	w.NotReady("victim", v1alpha1.ReasonRegistrationOutcomeUnknown, v1alpha1.AnnotationOrphan)
	w.Clock.Step(w.Settings.Slack)
	w.Poke("victim")
	w.Gone("victim")
	if n := len(w.Remote()); n != 1 {
		t.Errorf("%d agents are left, want the first alone", n)
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
