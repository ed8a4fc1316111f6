/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func shardOf(t *testing.T, selector string) projectref.Shard {
	t.Helper()
	parsed, err := labels.Parse(selector)
	if err != nil {
		t.Fatal(err)
	}
	return projectref.Shard{Selector: parsed}
}

// touches fails if the operator wrote to an Agent or a Secret without this prefix.
func touches(w *harness.World, prefixes ...string) {
	w.Helper()
	writes, _ := w.API.Writes()
	for _, write := range writes {
		_, name, found := strings.Cut(write.Path, "/agents/")
		mine := !found
		for _, prefix := range prefixes {
			mine = mine || strings.HasPrefix(name, prefix)
		}
		if !mine {
			w.Errorf("an operator whose Agents begin with %v wrote %s %s", prefixes, write.Method, write.Path)
		}
	}
}

// Two operators in one cluster: each manages only the CloudProjects of its shard and their Agents; a CloudProject may move.
func TestShards(t *testing.T) {
	t.Parallel()
	first := harness.New(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
		w.Settings.Shard = shardOf(t, "shard=a")
		cp.Labels = map[string]string{"shard": "a"}
	})
	second := first.Second()
	second.Settings.Shard = shardOf(t, "shard!=a")
	second.Start()
	first.Create(first.NewCloudProject("beta"))
	beta := func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "beta" }
	for i := range 4 {
		first.Apply(fmt.Sprint("alpha-", i))
		first.Apply(fmt.Sprint("beta-", i), beta)
	}
	first.Apply("stray", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "none" })
	for i := range 4 {
		first.Ready(fmt.Sprint("alpha-", i))
		first.Ready(fmt.Sprint("beta-", i))
	}
	first.NotReady("stray", v1alpha1.ReasonProjectNotFound, "none")
	touches(first, "alpha-")
	touches(second, "beta-", "stray")

	var cp v1alpha1.CloudProject
	if err := first.Client.Get(t.Context(), first.Key("beta"), &cp); err != nil {
		t.Fatal(err)
	}
	base := cp.DeepCopy()
	cp.Labels = map[string]string{"shard": "a"}
	if err := first.Client.Patch(t.Context(), &cp, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	first.Eventually("the first operator has the CloudProject that moved", func() error {
		writes, _ := first.API.Writes()
		first.Poke("beta-0")
		for _, write := range writes {
			if strings.HasSuffix(write.Path, "/agents/beta-0/status") {
				return nil
			}
		}
		return errors.New("not yet")
	})
	second.API.Reset()
	for i := range 4 {
		name := fmt.Sprint("beta-", i)
		first.Change(name, func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
		first.Ready(name)
	}
	touches(second, "stray")
	if n := len(first.Remote()); n != 8 {
		t.Errorf("%d remote agents for 8 Agents", n)
	}
	for i := range 4 {
		first.Delete(fmt.Sprint("beta-", i))
		first.Gone(fmt.Sprint("beta-", i))
	}
	if n := len(first.Remote()); n != 4 {
		t.Errorf("%d remote agents for 4 Agents", n)
	}
}
