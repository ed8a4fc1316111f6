/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

func TestAgentsAreFoundByTheirRemoteAgent(t *testing.T) {
	agents := &crowd{}
	for i := range 10_000 { // More than there are buckets.
		a := v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("agent-", i)}}
		a.Status.ID, a.Status.MachineID = fmt.Sprint("id-", i), fmt.Sprint("machine-", i%5_000)
		agents.agents = append(agents.agents, a)
	}
	r := &Operator{Client: agents}
	names := func(index, value string) (names []string) {
		found, err := r.having(t.Context(), index, value)
		for i := range found {
			names = append(names, found[i].Name)
		}
		if err != nil {
			t.Error(err)
		}
		return names
	}
	if got := names(remoteIndex, "id-77"); !slices.Equal(got, []string{"agent-77"}) {
		t.Errorf("by the remote agent: %v", got)
	}
	if got := names(machineIndex, "machine-77"); !slices.Equal(got, []string{"agent-77", "agent-5077"}) {
		t.Errorf("by the machine ID: %v", got)
	}
	// An empty value would make all unregistered Agents look like owners of one remote agent.
	if id, machine := indexes[remoteIndex](&v1alpha1.Agent{}), indexes[machineIndex](&v1alpha1.Agent{}); len(id)+len(machine) != 0 {
		t.Errorf("%v, %v", id, machine)
	}
}

// crowd lists by the indexes, as a cache does.
type crowd struct {
	client.Client
	agents []v1alpha1.Agent
}

func (c crowd) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var asked client.ListOptions
	asked.ApplyOptions(options)
	for _, wanted := range asked.FieldSelector.Requirements() {
		for _, a := range c.agents {
			if index := indexes[wanted.Field]; index == nil || bucket(index(&a)) == wanted.Value {
				list.(*v1alpha1.AgentList).Items = append(list.(*v1alpha1.AgentList).Items, a)
			}
		}
	}
	return nil
}

func TestSettingsHaveDefaults(t *testing.T) {
	want := Settings{Times: Times{
		PostWindow: 20 * time.Second, Slack: 80 * time.Second, ErrorSlack: 5 * time.Second, GoneDelay: 5 * time.Second,
		OutageGrace: 15 * time.Minute, VolatileInterval: time.Hour, BackoffMin: time.Second, BackoffMax: 5 * time.Minute,
	}}
	if diff := cmp.Diff(want, Settings{}.withDefaults()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	set := Settings{
		ClusterID: "blue", ReadOnly: true, Times: Times{
			PostWindow: 1, Slack: 2, ErrorSlack: 3, GoneDelay: 4, OutageGrace: 5, VolatileInterval: 6, BackoffMin: 7, BackoffMax: 8,
		},
	}
	if diff := cmp.Diff(set, set.withDefaults()); diff != "" {
		t.Errorf("what is set is changed, -want +got:\n%s", diff)
	}
}
