/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// forgedLongAgo has a tenant that may adopt claim a machine ID since long ago, with a suspended Agent.
func forgedLongAgo(w, tenant *harness.World, machineID string) {
	w.Helper()
	w.Guest(tenant, "claims", machine(machineID), forged, func(a *v1alpha1.Agent) {
		a.Spec.Suspend = true
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, time.Now().UTC().Format(time.RFC3339Nano)+
			"/0011223344556677@2000-01-01T00:00:00Z-00112233445566770011223344556677")
	})
	tenant.NotReady("claims", v1alpha1.ReasonSuspended)
}

func adoptionAllowed(_ *harness.World, cp *v1alpha1.CloudProject) {
	cp.Spec.Adoption = v1alpha1.AdoptionAllowed
}

// A forged intent that claims to be the first is none: also where nothing is listed, and after a restart.
func TestForgedIntent_OfLongAgo_IsNotTheFirst(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert}, adoptionAllowed)
	w.Ready(w.Apply("first"))
	unanswered(w, "victim", machine("machine-v"), func() {})
	forgedLongAgo(w, tenant, "machine-v")
	w.Stop()
	w.Start(tenant.Namespace)
	w.Clock.Step(w.Settings.Slack)
	w.Ready("victim")
	if n := len(w.Remote()); n != 2 {
		t.Errorf("%d agents, want two", n)
	}
}

// It claims nothing that was there before.
func TestForgedIntent_OfLongAgo_ClaimsNothing(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, adoptionAllowed)
	old := w.Register("old", "machine-old")
	w.Cloud.Mutate(old.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-48 * time.Hour) })
	forgedLongAgo(w, tenant, "machine-old")
	w.Ready(w.Apply("adopts", func(a *v1alpha1.Agent) {
		a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: old.ID}
	}))
}

// A guest had a machine ID at a former installation, and has left the CloudProject since: it has none at the new one.
func TestURL_ChangesToAnotherInstallation_WhoLeftHasNoMachineIDThere(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.Ready(w.Guest(tenant, "guest", machine("machine-1")))
	tenant.Change("guest", in(tenant.Namespace, "none"))
	tenant.NotReady("guest", v1alpha1.ReasonProjectNotFound)
	next := cloudtest.New(cloudtest.Settings{})
	server := next.Start()
	t.Cleanup(server.Close)
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = server.URL })
	replaceToken(w, next.AddProject(w.ProjectID))
	w.Eventually("the new installation is in use", func() error {
		if cp := w.Project(); cp.Status.URL != server.URL {
			return errors.New(cp.Status.URL)
		}
		return nil
	})
	w.Ready(w.Apply("owner", machine("machine-1")))
}
