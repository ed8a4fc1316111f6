/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The cache keeps only some of very many finalizers. The operator adds and removes its own, and no other.
func TestVeryManyFinalizersOfOthersAreKept(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	var others []string
	for i := range 80 {
		others = append(others, fmt.Sprint("example.com/other-", i))
	}
	has := func(object client.Object, want []string) func() error {
		return func() error {
			w.Read(client.ObjectKeyFromObject(object), object)
			if got := slices.Sorted(slices.Values(object.GetFinalizers())); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				return fmt.Errorf("%d finalizers: %v", len(got), got)
			}
			return nil
		}
	}
	agent := w.NewAgent("web", func(a *v1alpha1.Agent) { a.Finalizers = others })
	w.Create(agent)
	w.Ready("web")
	w.Eventually("the Agent has the operator's, too", has(agent, append(slices.Clone(others), v1alpha1.AgentFinalizer)))
	project := w.NewCloudProject("other")
	project.Finalizers = others
	w.Create(project)
	w.Eventually("the CloudProject has the operator's, too", has(project, append(slices.Clone(others), v1alpha1.CloudProjectFinalizer)))

	for _, object := range []client.Object{agent, project} {
		if err := w.Client.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		w.Eventually("only those of others are left", has(object, others))
		base := object.DeepCopyObject().(client.Object)
		object.SetFinalizers(nil)
		if err := w.Client.Patch(t.Context(), object, client.MergeFrom(base)); err != nil {
			t.Fatal(err)
		}
	}
	w.Eventually("the remote agent is deleted", func() error {
		if n := len(w.Remote()); n > 0 {
			return errors.New("it is there")
		}
		return nil
	})
}
