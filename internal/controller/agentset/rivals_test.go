/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// claimants are the cached sets of one target.
type claimants struct {
	client.Reader
	sets []v1alpha1.AgentSet
}

func (c claimants) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.AgentSetList).Items = c.sets
	return nil
}

// enqueued records what a handler enqueues, at once or later.
type enqueued struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	now, later []string
}

func (q *enqueued) Add(r reconcile.Request) { q.now = append(q.now, r.Name) }

func (q *enqueued) AddAfter(r reconcile.Request, _ time.Duration) { q.later = append(q.later, r.Name) }

func claimant(name string, age time.Duration, target string) *v1alpha1.AgentSet {
	set := &v1alpha1.AgentSet{}
	set.Name, set.CreationTimestamp = name, metav1.NewTime(time.Unix(1e9, 0).Add(-age))
	set.Spec.TargetRef = v1alpha1.WorkloadReference{Kind: v1alpha1.TargetDaemonSet, Name: target}
	return set
}

// Of many sets of one target only those are woken for which a change of one of them changes something.
func TestWhichSetsOfATargetAreWoken(t *testing.T) {
	old, middle, young := claimant("old", 3*time.Hour, "logs"), claimant("middle", 2*time.Hour, "logs"), claimant("young", time.Hour, "logs")
	described := young.DeepCopy()
	described.Annotations = map[string]string{"team/note": "changed"}
	elsewhere := old.DeepCopy()
	elsewhere.Spec.TargetRef.Name = "others"
	again := young.DeepCopy()
	again.UID = "another"
	for _, row := range []struct {
		name       string
		cached     []*v1alpha1.AgentSet
		happens    func(handler.EventHandler, queue)
		now, later []string
	}{
		{"a younger one comes", []*v1alpha1.AgentSet{old, middle, young}, created(young), nil, nil},
		{"one that wins comes, of the same second", []*v1alpha1.AgentSet{old, middle, young}, created(old), []string{"middle"}, []string{"young"}},
		{"it is there at the start", []*v1alpha1.AgentSet{old, middle, young}, func(h handler.EventHandler, q queue) {
			h.Create(t.Context(), event.CreateEvent{Object: old, IsInInitialList: true}, q)
		}, nil, nil},
		{"an annotation or the status changes", []*v1alpha1.AgentSet{old, middle, described}, changed(young, described), nil, nil},
		{"the winner changes its target", []*v1alpha1.AgentSet{middle, young}, changed(old, elsewhere),
			[]string{"middle", "middle"}, []string{"young", "young"}}, // The stub knows one target.
		{"a loser is created again", []*v1alpha1.AgentSet{old, middle, again}, changed(young, again), nil, nil},
		{"the winner is deleted", []*v1alpha1.AgentSet{middle, young}, deleted(old), []string{"middle"}, []string{"young"}},
		{"a loser is deleted", []*v1alpha1.AgentSet{old, young}, deleted(middle), nil, nil},
		{"the only one is deleted", nil, deleted(old), nil, nil},
	} {
		var cached claimants
		for _, set := range row.cached {
			cached.sets = append(cached.sets, *set)
		}
		q := &enqueued{}
		row.happens(watches{client: cached}.rivalHandler(), q)
		if !slices.Equal(q.now, row.now) || !slices.Equal(q.later, row.later) {
			t.Errorf("%s: %v at once and %v later", row.name, q.now, q.later)
		}
	}
}

func created(set *v1alpha1.AgentSet) func(handler.EventHandler, queue) {
	return func(h handler.EventHandler, q queue) {
		h.Create(context.Background(), event.CreateEvent{Object: set}, q)
	}
}

func changed(was, is *v1alpha1.AgentSet) func(handler.EventHandler, queue) {
	return func(h handler.EventHandler, q queue) {
		h.Update(context.Background(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, q)
	}
}

func deleted(set *v1alpha1.AgentSet) func(handler.EventHandler, queue) {
	return func(h handler.EventHandler, q queue) {
		h.Delete(context.Background(), event.DeleteEvent{Object: set}, q)
	}
}
