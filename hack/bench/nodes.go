/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

const (
	setName       = "set"
	daemonSetName = "fluent-bit"
	setsPath      = "/apis/" + apiVersion + "/namespaces/" + benchNamespace + "/agentsets"
	daemonSets    = "/apis/apps/v1/namespaces/" + benchNamespace + "/daemonsets"
	nodesPath     = "/api/v1/nodes"
	// lateNodes are added one by one to the idle operator.
	lateNodes = 10
	// batchPause is longer than the operator waits between two writes to one Secret with sessions.
	batchPause = 4 * time.Second
)

// nodes measures an AgentSet with as many nodes as there were plain Agents: all at once and, if those phases were selected, a
// change of the template, a restart of the operator, and a few nodes one by one. A new process makes its memory comparable.
func (p *show) nodes(ctx context.Context) error {
	p.stopOperator()
	all := names("node", p.N)
	if err := each(ctx, p.concurrency, all, p.addNode); err != nil {
		return err
	}
	labels := map[string]string{"app": daemonSetName}
	daemonSet := object("apps/v1", "DaemonSet", daemonSetName, map[string]any{"spec": map[string]any{
		"selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{
			"containers": []map[string]string{{"name": "fluent-bit", "image": "fluent-bit"}},
			// Without kubelets the nodes keep the taint not-ready.
			"tolerations": []map[string]string{{"operator": "Exists"}},
		}},
	}})
	if err := p.create(ctx, daemonSets, daemonSet); err != nil {
		return err
	}
	if _, err := p.startOperator(ctx); err != nil {
		return err
	}
	for _, step := range []struct {
		like string
		run  func(context.Context, []string) error
	}{{"register", p.nodesAtOnce}, {"update", p.nodesUpdate}, {"restart", p.nodesRestart}, {"single", p.nodesOneByOne}} {
		if !p.phases[step.like] {
			continue
		}
		if err := step.run(ctx, all); err != nil {
			return err
		}
	}
	return nil
}

// addNode creates a node with the labels and the status of a real one.
func (s *stage) addNode(ctx context.Context, name string) error {
	var images []map[string]any
	for i := range 50 {
		name := fmt.Sprintf("registry.example.com/team/image-%d:v1.2.3", i)
		images = append(images, map[string]any{"sizeBytes": 50_000_000, "names": []string{name}})
	}
	return s.create(ctx, nodesPath, object("v1", "Node", name, map[string]any{
		"metadata": map[string]any{"name": name, "labels": map[string]string{
			"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
			"node.kubernetes.io/instance-type": "large", "topology.kubernetes.io/region": "region-1",
			"topology.kubernetes.io/zone": "region-1a", "node.example.com/pool": "default",
		}},
		"status": map[string]any{"images": images},
	}))
}

// shards is the number of Secrets that the sessions of the set fit into.
func (s *stage) shards() int { return 1 + s.N/900 }

func (p *show) nodesAtOnce(ctx context.Context, all []string) error {
	set := object(apiVersion, "AgentSet", setName, map[string]any{"spec": map[string]any{
		"targetRef":    map[string]string{"kind": "DaemonSet", "name": daemonSetName},
		"template":     map[string]any{"spec": p.spec()},
		"sessions":     map[string]int{"shards": p.shards()},
		"removalDelay": "0s",
	}})
	return p.whole(ctx, "nodes", "register", all, isReady, func(ctx context.Context) error { return p.create(ctx, setsPath, set) })
}

func (p *show) nodesUpdate(ctx context.Context, all []string) error {
	if p.fromConfigMap {
		return nil
	}
	change, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{
		"spec": map[string]string{"rawConfig": configText(p.rawConfig, 1)},
	}}})
	if err != nil {
		return err
	}
	return p.whole(ctx, "nodes-update", "update", all, isUpdated, func(ctx context.Context) error {
		return p.api.Patch(types.MergePatchType).AbsPath(setsPath + "/" + setName).Body(change).Do(ctx).Error()
	})
}

// whole measures one write of the set until all its Agents, and then the set itself, are Ready. like is the same change of
// plain Agents.
func (p *show) whole(
	ctx context.Context, phase, like string, all []string, done func(before, now sight) bool, write func(context.Context) error,
) error {
	var ready time.Duration
	r, err := p.measure(ctx, phase, func() (timing, error) {
		round, began := p.tracker.round(len(all)), time.Now()
		for _, name := range all {
			p.tracker.expect(round, setName+"-"+name, done)
		}
		if err := write(ctx); err != nil {
			return timing{}, err
		}
		if err := p.tracker.wait(ctx, round); err != nil {
			return timing{}, err
		}
		err := p.setReady(ctx, len(all))
		ready = time.Since(began)
		return newTiming(round.last.Sub(began), round.took), err
	})
	if err != nil {
		return err
	}
	r.figure("seconds until the AgentSet is Ready", ready.Seconds())
	for _, plain := range p.results {
		if plain.Phase == like {
			r.figure("rate over that of plain Agents", r.PerSecond/plain.PerSecond)
			r.figure("processor time of plain Agents over it", plain.processor()/r.processor())
		}
	}
	return nil
}

// setReady waits until the AgentSet is Ready with so many Agents.
func (s *stage) setReady(ctx context.Context, count int) error {
	return poll(ctx, 20*time.Minute, fmt.Sprintf("the AgentSet is Ready with %d Agents", count), func() (bool, error) {
		raw, err := s.api.Get().AbsPath(setsPath + "/" + setName).Do(ctx).Raw()
		if err != nil {
			return false, err
		}
		var set struct {
			Metadata struct{ Generation int64 }
			Status   struct {
				ObservedGeneration int64
				Ready              int
				Conditions         []struct{ Type, Status string }
			}
		}
		if err := json.Unmarshal(raw, &set); err != nil {
			return false, err
		}
		for _, c := range set.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				return set.Status.Ready == count && set.Status.ObservedGeneration == set.Metadata.Generation, nil
			}
		}
		return false, nil
	})
}

// nodesRestart stops the operator and starts it again over the set. Nothing changes meanwhile.
func (p *show) nodesRestart(ctx context.Context, _ []string) error {
	p.stopOperator()
	if err := p.begin(ctx); err != nil {
		return err
	}
	before, began := p.processor(), time.Now()
	ready, err := p.startOperator(ctx)
	if err != nil {
		return err
	}
	if err := testenv.Pause(ctx, time.Until(began.Add(ready+burstWindow))); err != nil {
		return err
	}
	requests, err := p.settle(ctx)
	if err != nil {
		return err
	}
	if err := p.collected(ctx); err != nil {
		return err
	}
	r, err := p.end(ctx, "nodes-restart", timing{Count: p.N, Seconds: time.Since(began).Seconds()}, before, requests)
	if err != nil {
		return err
	}
	r.figure("seconds until ready", ready.Seconds())
	r.figure("percent of the fleet that was called", 100*float64(fleetCalled(r.calls))/float64(p.N))
	return p.setReady(ctx, p.N)
}

// nodesOneByOne adds nodes to the idle operator, and waits for the Agent and then the session of each.
func (p *show) nodesOneByOne(ctx context.Context, all []string) error {
	var stored []time.Duration
	_, err := p.measure(ctx, "nodes-single", func() (timing, error) {
		var took []time.Duration
		began := time.Now()
		for _, name := range names("late-node", lateNodes) {
			if err := testenv.Pause(ctx, batchPause); err != nil {
				return timing{}, err
			}
			round, added := p.tracker.round(1), time.Now()
			p.tracker.expect(round, setName+"-"+name, isReady)
			if err := p.addNode(ctx, name); err != nil {
				return timing{}, err
			}
			if err := p.tracker.wait(ctx, round); err != nil {
				return timing{}, err
			}
			if err := p.sessionStored(ctx, name); err != nil {
				return timing{}, err
			}
			took, stored = append(took, round.took...), append(stored, time.Since(added))
		}
		return newTiming(time.Since(began), took), nil
	})
	if err != nil {
		return err
	}
	sessions := newTiming(time.Second, stored)
	r := p.results[len(p.results)-1]
	r.figure("seconds until the session is stored, p50", sessions.P50)
	r.figure("seconds until the session is stored, p99", sessions.P99)
	return p.setReady(ctx, len(all)+lateNodes)
}

// sessionStored waits until one of the Secrets has the session of a node.
func (s *stage) sessionStored(ctx context.Context, node string) error {
	return poll(ctx, time.Minute, "the session of "+node+" is stored", func() (bool, error) {
		for shard := range s.shards() {
			raw, err := s.api.Get().AbsPath(fmt.Sprintf("%s/%s-sessions-%d", secretsPath(benchNamespace), setName, shard)).Do(ctx).Raw()
			if err != nil {
				return false, err
			}
			var secret struct{ Data map[string]string }
			if err := json.Unmarshal(raw, &secret); err != nil {
				return false, err
			}
			if secret.Data[node+".session.CALYPTIA"] != "" {
				return true, nil
			}
		}
		return false, nil
	})
}
