/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// rounds is how often a tenth of the nodes is replaced within -duration.
const rounds = 10

// TestNodesAreReplaced replaces a tenth of the nodes of an AgentSet in each tenth of -duration. Agents of removed nodes are
// removed meanwhile. Afterwards no agent is missing or left over. `make churn` replaces 1,000 nodes for ten minutes.
func TestNodesAreReplaced(t *testing.T) {
	t.Parallel()
	round := *duration / rounds
	delay := (round * 3 / 2).Round(time.Second)
	c := newCluster(t, "churn", delay, *nodes+*nodes/5)
	ch := &churn{cluster: c, rng: rand.New(rand.NewPCG(*seed, workerStream))}
	began := time.Now()
	if err := ch.furnish(); err != nil {
		t.Fatal(err)
	}
	last := c.start("operator")
	defer last.Kill()
	if _, err := c.settles(max(time.Minute, time.Duration(*nodes)*time.Second)); err != nil {
		t.Fatalf("%v: see %s", err, last.log)
	}
	t.Logf("%d nodes have their agents after %s", *nodes, time.Since(began).Round(time.Second))
	for n := range rounds {
		if err := ch.round(round); err != nil {
			t.Fatal(err)
		}
		remote := c.cloud.Agents(c.projectID)
		names := map[string]bool{}
		for _, a := range remote {
			if names[a.Name] {
				t.Errorf("round %d: two agents are called %s", n+1, a.Name)
			}
			names[a.Name] = true
		}
		t.Logf("round %d: %d nodes, %d agents", n+1, c.count(), len(remote))
	}
	took, err := c.settles(max(*duration/2, 90*time.Second))
	if err != nil {
		t.Errorf("%v: see %s", err, last.log)
	}
	posts, deletes := c.cloud.Count(http.MethodPost, cloudtest.RouteAgents), c.cloud.Count(http.MethodDelete, cloudtest.RouteAgent)
	t.Logf("%d nodes removed, removalDelay %s; %d nodes have one agent and one session each, %s after the last change; "+
		"%d registrations, %d deletions", ch.removed, delay, c.count(), took.Round(100*time.Millisecond), posts, deletes)
	if deletes == 0 || posts-deletes != c.count() {
		t.Errorf("%d registrations and %d deletions for %d nodes", posts, deletes, c.count())
	}
	if err := panics(c.logs); err != nil {
		t.Error(err)
	}
}

// churn replaces nodes.
type churn struct {
	*cluster
	rng     *rand.Rand
	living  []string
	gone    []string // names of removed nodes, the earliest first
	made    int
	removed int
}

// furnish creates the first nodes.
func (ch *churn) furnish() error {
	for range *nodes {
		name := ch.name()
		ch.living = append(ch.living, name)
		ch.there[name] = true
	}
	var group sync.WaitGroup
	failed := make([]error, workers)
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < len(ch.living) && failed[worker] == nil; i += workers {
				failed[worker] = ch.node(context.Background(), ch.living[i])
			}
		})
	}
	group.Wait()
	return errors.Join(failed...)
}

func (ch *churn) name() string {
	ch.made++
	return fmt.Sprintf("churn-node-%d", ch.made)
}

// round replaces a tenth of the nodes, evenly over the time.
func (ch *churn) round(d time.Duration) error {
	count := max(1, *nodes/10)
	ticks := time.NewTicker(d / time.Duration(count))
	defer ticks.Stop()
	for range count {
		if err := ch.replace(context.Background()); err != nil {
			return err
		}
		<-ticks.C
	}
	return nil
}

// replace removes a node and adds one: with another name, with the same name, or with the name of a node that was removed
// earlier, whose Agent may be there still, be deleted just now, or be gone.
func (ch *churn) replace(ctx context.Context) error {
	i := ch.rng.IntN(len(ch.living))
	name, next := ch.living[i], ""
	switch kind := ch.rng.IntN(4); {
	case kind == 0:
		next = name
	case kind == 1 && len(ch.gone) > 0:
		next, ch.gone = ch.gone[0], ch.gone[1:]
	default:
		next = ch.name()
	}
	if next != name {
		ch.gone = append(ch.gone, name)
	}
	ch.living[i] = next
	ch.removed++
	if err := ch.remove(ctx, name); err != nil {
		return err
	}
	return ch.add(ctx, next)
}
