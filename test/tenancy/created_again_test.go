/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A CloudProject is created again, as from a backup, and the API lost agents of the Agents of other namespaces, which record the UID of
// the former. If it lost most, the safeguard pauses registration, as where the CloudProject is the same; else it does not.
func TestSafeguard_CloudProjectCreatedAgain_CountsTheAgentsOfGuests(t *testing.T) {
	const each = 14 // Agents in each of two namespaces
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
		lost     [2]int
		most     int // that are registered again before the pause; 0: all are, and there is none
	}{
		{"all are lost, and the API lists", cloudtest.Settings{}, [2]int{each, each}, 9},
		{"all are lost, and the API does not list", cloudtest.Settings{NoList: true}, [2]int{each, each}, each + each/2},
		{"fewer than half are lost, and the API lists", cloudtest.Settings{}, [2]int{11, 0}, 0},
		{"fewer than half are lost, and the API does not list", cloudtest.Settings{NoList: true}, [2]int{11, 0}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, row.settings)
			guests := [2]*harness.World{tenant, w.In(w.AddNamespace("second"))}
			w.Stop()
			w.Start(guests[0].Namespace, guests[1].Namespace)
			forEach := func(do func(guest int, name string, n int)) {
				for n := range each {
					for guest := range guests {
						do(guest, fmt.Sprint("agent-", n), n)
					}
				}
			}
			forEach(func(guest int, name string, _ int) { w.Guest(guests[guest], name) })
			var lost []string
			forEach(func(guest int, name string, n int) {
				if id := guests[guest].Ready(name).Status.ID; n < row.lost[guest] {
					lost = append(lost, id)
				}
			})
			w.Stop()
			for _, id := range lost {
				w.Cloud.Remove(id)
			}
			createdAgain(w)
			w.Start(guests[0].Namespace, guests[1].Namespace)
			forEach(func(guest int, name string, _ int) { guests[guest].Poke(name) })
			w.Eventually("registration is paused, or all are registered again", func() error {
				stalled := meta.FindStatusCondition(w.Project().Status.Conditions, v1alpha1.ConditionStalled)
				if there := len(w.Remote()); there < 2*each && (stalled == nil || stalled.Reason != v1alpha1.ReasonMassDeletionDetected) {
					return fmt.Errorf("there are %d agents, and the CloudProject is %+v", there, stalled)
				}
				return nil
			})
			made := len(w.Remote()) - (2*each - len(lost))
			if row.most > 0 && made > row.most {
				t.Errorf("%d of %d lost agents are registered again, without a user's consent", made, len(lost))
			}
			if row.most == 0 && made < len(lost) {
				t.Errorf("registration is paused, and %d of %d agents were lost", len(lost), 2*each)
			}
		})
	}
}

// createdAgain deletes the CloudProject without the operator, and creates another of its name.
func createdAgain(w *harness.World) {
	w.Helper()
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Finalizers = nil })
	former := w.Project()
	if err := w.Client.Delete(w.Context(), former); err != nil {
		w.Fatal(err)
	}
	w.Eventually("the CloudProject goes", func() error {
		var cp v1alpha1.CloudProject
		if err := w.Client.Get(w.Context(), w.Key(former.Name), &cp); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there, or %w", err)
		}
		return nil
	})
	cp := w.NewCloudProject(former.Name)
	cp.Spec.AllowedNamespaces = former.Spec.AllowedNamespaces
	w.Create(cp)
}
