/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// stopwatch measures by a watch how long each Agent takes from its creation to Ready. The creationTimestamp would
// not do: it is in whole seconds.
type stopwatch struct {
	watch   watch.Interface
	created map[string]time.Time
	ready   map[string]time.Time
}

func newStopwatch(ctx context.Context, kube client.WithWatch) (*stopwatch, error) {
	w, err := kube.Watch(ctx, &v1alpha1.AgentList{}, client.InNamespace(namespace))
	if err != nil {
		return nil, err
	}
	return &stopwatch{watch: w, created: map[string]time.Time{}, ready: map[string]time.Time{}}, nil
}

// run notes the times until every one of the Agents was Ready.
func (s *stopwatch) run(names []string) error {
	defer s.watch.Stop()
	timeout := time.After(patience)
	for {
		waiting := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !s.ready[name].IsZero() })
		if len(waiting) == 0 {
			return nil
		}
		select {
		case event, open := <-s.watch.ResultChan():
			agent, ok := event.Object.(*v1alpha1.Agent)
			if !open || !ok {
				return fmt.Errorf("the watch ended with %v before these were Ready: %v", event.Object, waiting)
			}
			s.note(agent, time.Now())
		case <-timeout:
			return fmt.Errorf("not Ready within %v: %v", patience, waiting)
		}
	}
}

func (s *stopwatch) note(agent *v1alpha1.Agent, now time.Time) {
	if s.created[agent.Name].IsZero() {
		s.created[agent.Name] = now
	}
	ready := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady)
	if s.ready[agent.Name].IsZero() && ready != nil && ready.Status == metav1.ConditionTrue &&
		ready.ObservedGeneration == agent.Generation {
		s.ready[agent.Name] = now
	}
}

// took is the time from the creation of an Agent to Ready.
func (s *stopwatch) took(name string) time.Duration { return s.ready[name].Sub(s.created[name]) }
