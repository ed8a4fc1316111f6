/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"context"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// FindByMachine returns the remote agents with a machine ID, from a snapshot that was begun after the given time. ok is
// false if the API does not list agents. It returns a waiting failure while the list takes long, and while it is unknown
// whether the API lists agents, such as just after a change of the token.
func (i *Inventory) FindByMachine(ctx context.Context, machineID string, after time.Time) (found []Entry, ok bool, err error) {
	ok, err = i.read(ctx, after, func() {
		for _, id := range i.snapshot.byMachine[machineID] {
			found = append(found, i.snapshot.entries[id])
		}
	})
	return found, ok, err
}

// Gather waits for a snapshot that was begun after the given time, as FindByMachine and Lacks do, for Agents that come one after the
// other, and each need a later one than the last. A list that only they need begins some time after the last one ended, and serves all that
// came until then. Until it begins they hold no worker.
func Gather(ctx context.Context, i *Inventory, after time.Time) error {
	if lists := i.source.ListSupported(); lists == nil || !*lists {
		return nil // FindByMachine says so.
	}
	unusable := i.source.Usable()
	r, err := gathered(i, after, unusable)
	if r == nil || err != nil {
		return err
	}
	return r.await(ctx, i)
}

// gathered returns the list in progress that serves those who need one that was begun after the given time; nil if the snapshot does.
func gathered(i *Inventory, after time.Time, unusable error) (*run, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.opts.Clock.Now()
	after = earlier(after, now)
	if i.snapshot.startedAt.After(after) {
		return nil, nil //nolint:nilnil // Documented: the snapshot serves.
	}
	pause := i.reader.delays.Between
	if wait := i.snapshot.endedAt().Add(pause).Sub(now); wait > 0 && i.running == nil {
		return nil, waitingForList(wait)
	}
	r, err := i.join(unusable)
	if err == nil && !r.startedAt.After(after) {
		return nil, waitingForList(r.left(i) + pause)
	}
	return r, err
}

// earlier is the time, or just now if it is not in the past: a list that starts now is newer than anything the caller has seen, even if
// that has a time from a clock that is ahead.
func earlier(after, now time.Time) time.Time {
	if after.Before(now) {
		return after
	}
	return now.Add(-1)
}

// Lacks reports whether a snapshot that was begun after the given time lacks a remote agent. listed is false if the API
// does not list agents: then nothing is known. Its failures are those of FindByMachine. Retry with the same time: a later
// one may need another snapshot each time.
func (i *Inventory) Lacks(ctx context.Context, id string, after time.Time) (lacks, listed bool, err error) {
	listed, err = i.read(ctx, after, func() {
		_, there := i.snapshot.entries[cloud.NormalID(id)]
		lacks = !there
	})
	return lacks, listed, err
}

// read calls found once there is a snapshot that was begun after the given time; ok is false if the API does not list agents.
func (i *Inventory) read(ctx context.Context, after time.Time, found func()) (ok bool, err error) {
	if lists := i.source.ListSupported(); lists == nil {
		unknown := fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"it is not known yet whether the API of CloudProject %s lists agents: see its conditions", i.opts.Name).
			Coded(fault.ProjectNotReady).After(fault.Spread(time.Second))
		if i.source.Usable() != nil { // A credential check is about to show it.
			unknown = unknown.Quietly()
		}
		return true, unknown
	} else if !*lists {
		return false, nil
	}
	after = earlier(after, i.opts.Clock.Now())
	for {
		unusable := i.source.Usable()
		i.mu.Lock()
		if i.snapshot.startedAt.After(after) {
			found()
			i.mu.Unlock()
			return true, nil
		}
		r, err := i.join(unusable)
		i.mu.Unlock()
		if err == nil {
			err = r.await(ctx, i)
		}
		if err != nil {
			return true, err
		}
	}
}

// Lookup returns a remote agent from a snapshot that was begun after the given time, and the time of the snapshot. ok is
// false if there is no such snapshot, or if it lacks the agent: then the agent has to be read. While a list is in progress
// it returns a waiting failure, unless the list takes too long.
func (i *Inventory) Lookup(id string, after time.Time) (seen Entry, at time.Time, ok bool, err error) {
	if lists := i.source.ListSupported(); lists == nil || !*lists {
		return Entry{}, time.Time{}, false, nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.snapshot.startedAt.After(after):
		seen, ok = i.snapshot.entries[id]
		return seen, i.snapshot.startedAt, ok && seen.Remote != nil, nil
	case i.running == nil && i.opts.Clock.Now().Sub(i.failure.at) < maxBackoff:
		return Entry{}, time.Time{}, false, nil
	case i.running == nil:
		i.start()
	case i.running.age(i) >= max(longList, 2*i.snapshot.took):
		return Entry{}, time.Time{}, false, nil
	}
	return Entry{}, time.Time{}, false, i.running.waiting(i)
}

// Newest calls visit with the time of the newest snapshot and a function that finds agents in it, if there is one.
func (i *Inventory) Newest(visit func(at time.Time, has func(id string) bool)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.snapshot.startedAt.IsZero() {
		return
	}
	visit(i.snapshot.startedAt, func(id string) bool {
		_, there := i.snapshot.entries[id]
		return there
	})
}

// Await starts a list, unless one is in progress, and returns a waiting failure until it is complete.
func (i *Inventory) Await() error {
	unusable := i.source.Usable()
	i.mu.Lock()
	defer i.mu.Unlock()
	r, err := i.join(unusable)
	if err != nil {
		return err
	}
	return r.waiting(i)
}
