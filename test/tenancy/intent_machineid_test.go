/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
	"github.com/calyptia-agent-operator/operator/test/harness/objects"
)

// A tenant keeps a registration in doubt, has its Agent adopt in its own project an agent with the machine ID of an agent that another
// team registered in the shared project meanwhile, and restores the intent. An intent entitles to the machine ID that was sent with it.
func TestIntent_OfAnotherMachineID_DeletesNothing(t *testing.T) {
	for name, machineID := range map[string]string{
		"chosen by a Fluent Bit":                "machine-of-the-victim",
		"derived by another cluster's operator": registration.DerivedMachineID("another-cluster", "logging", "web"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			// The tenant's own project, on the same server.
			ownProject := uuid.NewString()
			ownToken := w.Cloud.AddProject(ownProject)
			tenant.Create(tenant.TokenSecret("calyptia-token", ownToken.Reveal()))
			tenant.Create(tenant.NewCloudProject("own"))
			// A filter refuses the content of the tenant's registration.
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusForbidden,
				Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>blocked</html>",
				Match: func(r *http.Request) bool {
					body, _ := io.ReadAll(r.Body)
					return strings.Contains(string(body), `"thief"`)
				},
			})
			w.Guest(tenant, "thief", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
			intent := intentOf(tenant, "thief")
			tenant.Eventually("the registration is in doubt", func() error {
				if c := harness.Condition(tenant.Get("thief"), v1alpha1.ConditionReady); c.Status != metav1.ConditionFalse {
					return fmt.Errorf("it is %+v", c)
				}
				return nil
			})
			// Another team registers an agent a second later.
			made := w.Register("elsewhere", machineID)
			head, _, _ := strings.Cut(intent, "/")
			at, err := time.Parse(time.RFC3339Nano, head)
			if err != nil {
				t.Fatal(err)
			}
			w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = at.Add(time.Second) })
			victims := w.Remote()
			if len(victims) != 1 {
				t.Fatalf("%d agents", len(victims))
			}
			// The tenant learns its machine ID, and gives an agent of the tenant's project the same.
			decoy, err := objects.Register(t, w.HTTP.URL, cloud.Credential{Scheme: cloud.SchemeBearer, Token: ownToken}, cloud.Registration{
				Name: "decoy", MachineID: machineID, Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "[INPUT]\n    name dummy\n",
			})
			if err != nil {
				t.Fatal(err)
			}
			tenant.Change("thief", func(a *v1alpha1.Agent) {
				metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, "2500-01-01T00:00:00Z/0-0")
				a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "own"}
				a.Spec.AgentID = decoy.ID
			})
			if a := tenant.Ready("thief"); a.Status.ID != decoy.ID || a.Status.MachineID != machineID {
				t.Fatalf("the decoy is recorded as %s, %s", a.Status.ID, a.Status.MachineID)
			}
			w.Cloud.ResetRequests()
			tenant.Change("thief", func(a *v1alpha1.Agent) {
				metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent)
				a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "calyptia", Namespace: w.Namespace}
			})
			tenant.Delete("thief")
			tenant.Gone("thief")
			w.Unharmed(victims)
		})
	}
}
