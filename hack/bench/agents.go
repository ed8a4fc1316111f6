/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	apiVersion   = "cloud.calyptia.com/v1alpha1"
	projectName  = "calyptia"
	projectsPath = "/apis/" + apiVersion + "/namespaces/" + benchNamespace + "/cloudprojects"
	sourceName   = "source"
	sourceKey    = "fluent-bit.conf"
	finalizer    = "cloud.calyptia.com/agent"
	rateBurst    = 20
	fleetName    = "edge"
)

func agentsPath(namespace string) string {
	return "/apis/" + apiVersion + "/namespaces/" + namespace + "/agents"
}
func secretsPath(namespace string) string { return "/api/v1/namespaces/" + namespace + "/secrets" }
func configMapsPath(namespace string) string {
	return "/api/v1/namespaces/" + namespace + "/configmaps"
}

// configText is a rawConfig of the given size; each number makes a different text.
func configText(size, number int) string {
	head := fmt.Sprintf("# configuration %d\n", number)
	const lines = "[INPUT]\n    Name  tail\n    Path  /var/log/containers/*.log\n"
	return head + strings.Repeat(lines, size/len(lines)+1)[:max(0, size-len(head))]
}

// spec is what all Agents declare.
func (s *stage) spec() map[string]any {
	spec := map[string]any{"type": "fluentbit", "version": "v4.0.0", "projectRef": map[string]string{"name": projectName}}
	if s.inFleet {
		spec["fleet"] = map[string]string{"name": fleetName}
	}
	if s.fromConfigMap {
		spec["rawConfigFrom"] = map[string]any{"configMapKeyRef": map[string]string{"name": sourceName, "key": sourceKey}}
	} else {
		spec["rawConfig"] = configText(s.rawConfig, 0)
	}
	return spec
}

// apply creates an Agent.
func (s *stage) apply(namespace string) func(context.Context, string) error {
	spec := s.spec()
	if s.sessions {
		spec["sessionSecretRef"] = map[string]string{}
	}
	return func(ctx context.Context, name string) error {
		return s.create(ctx, agentsPath(namespace), object(apiVersion, "Agent", name, map[string]any{"spec": spec}))
	}
}

// change gives an Agent another rawConfig.
func (s *stage) change(namespace string, number int) func(context.Context, string) error {
	return s.patch(namespace, map[string]any{"spec": map[string]string{"rawConfig": configText(s.rawConfig, number)}})
}

// poke requests a sync of the Agent now.
func (s *stage) poke(namespace, mark string) func(context.Context, string) error {
	return s.patch(namespace, map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{"cloud.calyptia.com/reconcile-at": mark}},
	})
}

func (s *stage) patch(namespace string, change map[string]any) func(context.Context, string) error {
	body, err := json.Marshal(change)
	return func(ctx context.Context, name string) error {
		if err != nil {
			return err
		}
		path := agentsPath(namespace) + "/" + name
		return s.api.Patch(types.MergePatchType).AbsPath(path).Body(body).Do(ctx).Error()
	}
}

func (s *stage) delete(namespace string) func(context.Context, string) error {
	return func(ctx context.Context, name string) error {
		return s.api.Delete().AbsPath(agentsPath(namespace) + "/" + name).Do(ctx).Error()
	}
}

// batch applies a change to all names, as fast as the concurrency allows, and waits until the watch shows it for
// each of them.
func (s *stage) batch(ctx context.Context, t *tracker, names []string, done func(before, now sight) bool,
	do func(context.Context, string) error) (timing, error) {
	r := t.round(len(names))
	began := time.Now()
	err := each(ctx, s.concurrency, names, func(ctx context.Context, name string) error {
		t.expect(r, name, done)
		return do(ctx, name)
	})
	if err == nil {
		err = t.wait(ctx, r)
	}
	if err != nil {
		return timing{}, err
	}
	return newTiming(r.last.Sub(began), r.took), nil
}

// oneByOne applies a change to each name and waits for it before the next.
func (s *stage) oneByOne(ctx context.Context, t *tracker, names []string, done func(before, now sight) bool,
	do func(context.Context, string) error) (timing, error) {
	var all []time.Duration
	began := time.Now()
	for _, name := range names {
		r := t.round(1)
		t.expect(r, name, done)
		if err := do(ctx, name); err != nil {
			return timing{}, err
		}
		if err := t.wait(ctx, r); err != nil {
			return timing{}, err
		}
		all = append(all, r.took...)
	}
	return newTiming(time.Since(began), all), nil
}

// mark is a new value for the annotation.
func (s *stage) mark() string {
	s.marks++
	return fmt.Sprintf("mark-%d", s.marks)
}
