/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"maps"
	"time"

	"k8s.io/utils/clock"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
)

// sessionKeeper stores the session of every registered Agent.
type sessionKeeper struct {
	tokens tokenReader
	shards shardStore
	memory *memory
	clock  clock.PassiveClock
}

func (r *Reconciler) sessionKeeper(set *v1alpha1.AgentSet, known *memory) sessionKeeper {
	return sessionKeeper{
		tokens: tokenReader{r.Client, r.APIReader, set.Namespace, known.sources},
		shards: shardStore{r.Client, r.APIReader, r.Clock, set, known},
		memory: known, clock: r.Clock,
	}
}

// sessions are what is stored, and when the next pass has to start at the latest.
type sessions struct {
	plan    agentset.Plan
	stored  int      // desired sessions that are in their Secrets
	renewed []string // slots whose stored session changed
	next    time.Duration
}

// keep stores the sessions of Agents, which are given by slot. desired are the nodes or replicas that need one.
func (k sessionKeeper) keep(ctx context.Context, agents map[string]*v1alpha1.Agent, desired []string) (done sessions, err error) {
	stored, err := k.shards.read(ctx)
	if err != nil {
		return done, err
	}
	wanted, stale := k.tokens.wanted(ctx, agents)
	fresh := map[string]session{}
	wait := k.memory.free.Sub(k.clock.Now())
	if wait <= 0 {
		if fresh, err = k.tokens.read(ctx, agents, stale); err != nil {
			return done, err
		}
		for slot := range fresh {
			wanted[slot] = k.memory.sources[slot].Wanted
		}
	}
	done.plan = agentset.PlanSessions(wanted, stored)
	done.stored = countStored(desired, wanted, stored)
	switch {
	case wait > 0:
		done.next = wait // Also for steps after the writes.
		return done, nil
	case len(done.plan.Writes) == 0:
		return done, k.shards.removeExcess(ctx)
	}
	if done.next, err = k.write(ctx, agents, done.plan, fresh); err != nil {
		return done, err
	}
	done.stored, done.renewed = countStored(desired, wanted, stored), done.plan.Renewed
	return done, nil
}

// write executes the plan: one write for each Secret. It returns how long the next batch has to wait.
func (k sessionKeeper) write(
	ctx context.Context, agents map[string]*v1alpha1.Agent, plan agentset.Plan, fresh map[string]session,
) (time.Duration, error) {
	var missing []string
	for _, write := range plan.Writes {
		for _, slot := range write.Set {
			if fresh[slot] == nil {
				missing = append(missing, slot)
			}
		}
	}
	more, err := k.tokens.read(ctx, agents, missing)
	if err != nil {
		return 0, err
	}
	maps.Copy(fresh, more)
	written := 0
	for _, write := range plan.Writes {
		if err = k.shards.write(ctx, write, fresh); err != nil {
			break
		}
		written++
	}
	pause := agentset.Pause(written)
	k.memory.free = k.clock.Now().Add(pause)
	return pause, err
}

// countStored counts the desired sessions that are in their Secrets.
func countStored(desired []string, wanted map[string]agentset.Wanted, stored []map[string]agentset.Stored) (count int) {
	for _, key := range desired {
		slot := agentset.Slot(key)
		want, known := wanted[slot]
		have, found := stored[agentset.Shard(slot, len(stored))][slot]
		if known && !want.Unknown && found && have.Digest == want.Digest {
			count++
		}
	}
	return count
}
