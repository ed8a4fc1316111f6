/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"context"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// FindByMachine returns the remote agents with a machine ID, from a list that was started after the given
// time. ok is false where the service lists nothing. A list that takes long is a waiting failure, and so is that it
// is not known yet whether there is one: just after the token changed, say.
func (p *Project) FindByMachine(ctx context.Context, machineID string, after time.Time) (found []Entry, ok bool, err error) {
	l := &p.listing
	ok, err = p.snapshot(ctx, after, func() {
		for _, id := range l.byMachine[machineID] {
			found = append(found, l.entries[id])
		}
	})
	return found, ok, err
}

// Lacks reports whether a snapshot that was begun after the given time lacks a remote agent. listed is false where the
// service lists nothing: then nothing is known. Its failures are those of FindByMachine. Who asks again gives the same
// time again: a later one may need another snapshot each time.
func (p *Project) Lacks(ctx context.Context, id string, after time.Time) (lacks, listed bool, err error) {
	listed, err = p.snapshot(ctx, after, func() {
		_, there := p.listing.entries[cloud.NormalID(id)]
		lacks = !there
	})
	return lacks, listed, err
}

// snapshot has a list read that was started after the given time; ok is false where the service lists nothing.
func (p *Project) snapshot(ctx context.Context, after time.Time, read func()) (ok bool, err error) {
	if lists := p.Proof().ListSupported; lists == nil {
		return true, fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"it is not known yet whether the service of CloudProject %s lists its agents", p.key).Coded(fault.ProjectNotReady).After(spread(time.Second)).Quietly()
	} else if !*lists {
		return false, nil
	}
	// A list that starts from now on is after whatever the caller has seen, even if that was written by
	// somebody whose clock is ahead.
	if now := p.registry.opts.Clock.Now(); !after.Before(now) {
		after = now.Add(-1)
	}
	l := &p.listing
	for {
		unusable := p.usable()
		l.mu.Lock()
		if l.startedAt.After(after) {
			read()
			l.mu.Unlock()
			return true, nil
		}
		run, err := l.join(unusable)
		l.mu.Unlock()
		if err == nil {
			err = l.await(ctx, run)
		}
		if err != nil {
			return true, err
		}
	}
}

// Sighting returns a remote agent as a list showed it that was started after the given time, and when that
// was. ok is false where no such list can be had, or where it lacks the agent: then a read has to tell. It
// does not wait for a list that is under way, but is a waiting failure.
func (p *Project) Sighting(id string, after time.Time) (seen Entry, at time.Time, ok bool, err error) {
	if !p.Proof().lists() {
		return Entry{}, time.Time{}, false, nil
	}
	l := &p.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.startedAt.After(after):
		seen, ok = l.entries[id]
		return seen, l.startedAt, ok && seen.Remote != nil, nil
	case l.running == nil && p.registry.opts.Clock.Now().Sub(l.failedAt) < listRest:
		return Entry{}, time.Time{}, false, nil
	case l.running == nil:
		l.start()
	}
	return Entry{}, time.Time{}, false, l.waiting(l.running)
}
