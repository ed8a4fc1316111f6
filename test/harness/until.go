/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package harness

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// until waits until check of an Agent returns nil, and returns the Agent as it was then. It sees every state of the
// Agent from now on, however short, because it watches the API server.
func (w *World) until(what, name string, check func(*v1alpha1.Agent) error) *v1alpha1.Agent {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	last := errors.New("it was not read")
	for ctx.Err() == nil { // Once, unless the API server ends the watch.
		a := w.Get(name)
		if last = check(a); last == nil {
			return a
		}
		found, err := w.follow(ctx, a, check)
		if found != nil {
			return found
		}
		if err != nil {
			last = err
		}
	}
	w.Fatalf("%s: not within %s: %v", what, Patience, last)
	return nil
}

// follow returns the Agent once check returns nil, or the last error of check when the watch ends.
func (w *World) follow(ctx context.Context, from *v1alpha1.Agent, check func(*v1alpha1.Agent) error) (*v1alpha1.Agent, error) {
	changes, err := admin.Watch(ctx, &v1alpha1.AgentList{},
		client.InNamespace(from.Namespace), client.MatchingFields{"metadata.name": from.Name},
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from.ResourceVersion}})
	if err != nil {
		return nil, err
	}
	defer changes.Stop()
	var last error
	for event := range changes.ResultChan() {
		a, is := event.Object.(*v1alpha1.Agent)
		switch {
		case !is || event.Type == watch.Error:
			return nil, last
		case event.Type == watch.Deleted:
			return nil, fmt.Errorf("it was deleted; %w", last)
		}
		if last = check(a); last == nil {
			return a, nil
		}
	}
	return nil, last
}
