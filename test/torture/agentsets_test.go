/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// setNodes is the number of nodes that come and go, and setTime the duration.
const (
	setNodes = 12
	setTime  = 20 * time.Second
)

// TestOneAgentForEachNodeThroughKills kills the operator repeatedly while the nodes of an AgentSet come and go. Afterwards
// each node has one agent and its session, and nothing else is left.
func TestOneAgentForEachNodeThroughKills(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "agentsets", time.Second, setNodes)
	k := &killer{world: c.world, rng: rand.New(rand.NewPCG(*seed, killStream)), at: map[moment]int{}}
	rng := rand.New(rand.NewPCG(*seed, workerStream))
	err := k.chaos(setTime, 5, func(ctx context.Context, stop <-chan struct{}) error {
		for {
			name := fmt.Sprintf("torture-node-%d", rng.IntN(setNodes))
			change := c.add
			if c.there[name] {
				change = c.remove
			}
			if err := change(ctx, name); err != nil {
				return err
			}
			select {
			case <-stop:
				return nil
			default:
			}
			if err := testenv.Pause(ctx, time.Duration(rng.Int64N(int64(300*time.Millisecond)))); err != nil {
				return err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	last := c.start("operator")
	defer last.Kill()
	if _, err := c.settles(10*slack() + 90*time.Second); err != nil {
		t.Errorf("%v: see %s", err, last.log)
	}
	if err := panics(c.logs); err != nil {
		t.Error(err)
	}
	t.Logf("%d kills, %d nodes in the end", k.kills, c.count())
}
