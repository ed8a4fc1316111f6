/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package safeguard pauses registration when most remote agents of a project disappear at once: at least 10, and more
// than half of the project's Agents, missing in the newest snapshot (without a list: within 15 minutes). What it knows is
// lost with the process, except that it tripped: that is in the status of the CloudProject.
package safeguard

import (
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

const (
	// window is the time over which missing agents are counted.
	window = 15 * time.Minute
	// least is how many agents have to be missing.
	least = 10
)

// Project is what the safeguard asks of the project that it watches.
type Project interface {
	// Lists reports whether the API lists the agents.
	Lists() bool
	// Newest calls visit with a function that finds agents in the newest snapshot, and returns when that was begun;
	// zero if there is none.
	Newest(visit func(has func(id string) bool)) time.Time
	// Await has a snapshot begun, and is a waiting failure until it is there.
	Await() error
	// Counts are the Agents of the project, and those in one namespace.
	Counts(namespace string) (all, there int)
	// NeedsVerification has the CloudProject reconciled.
	NeedsVerification()
}

// missing is one agent that was not found: when that was certain, and since when it may have been so.
type missing struct {
	at, since time.Time
	namespace string
}

// seen is a remote agent that was there.
type seen struct {
	at time.Time
	id string
}

// Safeguard watches the agents of one project.
type Safeguard struct {
	project Project
	clock   clock.PassiveClock
	name    string // of the CloudProject, for messages

	mu      sync.Mutex
	seen    map[types.UID]seen
	missing map[types.UID]missing
	tripped *fault.Error
	// resetUntil is until when missing agents are registered again because a user said so. Each that comes moves it on:
	// the rate limit may spread them over hours.
	resetUntil time.Time
}

// New returns a Safeguard that has seen nothing yet; name is that of the CloudProject.
func New(project Project, clock clock.PassiveClock, name string) *Safeguard {
	return &Safeguard{project: project, clock: clock, name: name, seen: map[types.UID]seen{}, missing: map[types.UID]missing{}}
}

// Seen notes that the remote agent of an Agent is there.
func (s *Safeguard) Seen(who types.UID, id string) { s.SeenAt(who, id, s.clock.Now()) }

// SeenAt notes that the remote agent of an Agent was there at a time.
func (s *Safeguard) SeenAt(who types.UID, id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.seen[who].at) {
		s.seen[who] = seen{at: at, id: id}
	}
}

// Gone notes that the remote agent of an Agent is missing; since is when the check began that found so first. It fails
// where too many are missing: an API that was restored from an old backup, or another one behind the same URL, must not
// be filled again without a user's consent. Or a snapshot is waited for, which shows whether they are.
func (s *Safeguard) Gone(who ratelimit.Caller, since time.Time) error {
	now := s.clock.Now()
	s.mu.Lock()
	delete(s.seen, who.UID)
	if now.Before(s.resetUntil) {
		s.resetUntil = now.Add(window)
		s.mu.Unlock()
		return nil
	}
	s.missing[who.UID] = missing{at: now, since: since, namespace: who.Namespace}
	trips, undecided := false, error(nil)
	if s.tripped == nil { // Once it tripped, thousands may come who need not be counted.
		maps.DeleteFunc(s.missing, func(_ types.UID, m missing) bool { return now.Sub(m.at) >= window })
		trips, undecided = s.judge()
	}
	if trips {
		s.tripped = massDeletion()
	}
	tripped := s.tripped
	s.mu.Unlock()
	if trips {
		s.project.NeedsVerification()
	}
	if tripped != nil {
		return fault.Waitingf(v1alpha1.ReasonMassDeletionDetected,
			"the remote agent is gone, and so are too many others of CloudProject %s: its own conditions say what to do", s.name)
	}
	return undecided
}

// judge decides whether most agents are missing. Where the API lists them, it needs a snapshot that was begun after they
// were missed: those that were missed by reads would else be compared with others that were not looked at since. The
// error says that it is waited for. The lock is held.
func (s *Safeguard) judge() (trips bool, undecided error) {
	suspected := s.mostAreMissing(time.Time{})
	if !suspected || !s.project.Lists() {
		return suspected && s.widespread(), nil
	}
	if listedAt := s.confirm(); !listedAt.IsZero() && s.mostAreMissing(listedAt) {
		return true, nil
	}
	if !s.mostAreMissing(time.Time{}) {
		return false, nil
	}
	return false, s.project.Await()
}

// confirm brings what was seen up to the newest snapshot, and returns when that was begun; zero if there is none. The
// lock is held.
func (s *Safeguard) confirm() (listedAt time.Time) {
	var listed []types.UID
	listedAt = s.project.Newest(func(has func(id string) bool) {
		for who, last := range s.seen {
			if has(last.id) {
				listed = append(listed, who)
			}
		}
	})
	for _, who := range listed {
		if last := s.seen[who]; last.at.Before(listedAt) {
			s.seen[who] = seen{at: listedAt, id: last.id}
		}
	}
	return listedAt
}

// widespread reports whether what is missing is more than one tenant's own affair. It is asked where no list shows how many
// of the others are still there. The namespace that lost most is set apart. If it has more than half of the project's
// Agents, one loss elsewhere is enough, or that of half of the project's Agents; else the other namespaces have to lose
// ten, or more than half of theirs. The lock is held.
func (s *Safeguard) widespread() bool {
	lost := map[string]int{}
	for _, m := range s.missing {
		lost[m.namespace]++
	}
	worst := ""
	for namespace, n := range lost {
		if n > lost[worst] {
			worst = namespace
		}
	}
	elsewhere := len(s.missing) - lost[worst]
	all, own := s.project.Counts(worst)
	others := all - own
	switch {
	case others == 0:
		return true
	case own > others:
		return elsewhere > 0 || 2*lost[worst] > all
	default:
		return elsewhere >= least || 2*elsewhere > others
	}
}

// mostAreMissing reports whether, from some moment on, more agents were missed than seen, in the same list or later.
// Those seen before that moment say nothing: with them, half of all agents would be registered again before the loss
// is noticed. Nor does one that was missed long before. Those missed after until, if that is set, are left out.
func (s *Safeguard) mostAreMissing(until time.Time) bool {
	var missed []time.Time
	for _, m := range s.missing {
		if until.IsZero() || !m.since.After(until) {
			missed = append(missed, m.since)
		}
	}
	if len(missed) < least {
		return false
	}
	slices.SortFunc(missed, func(a, b time.Time) int { return b.Compare(a) }) // The latest first.
	there := make([]int, len(missed)+1)                                       // not before each of them, and not counted before
	for _, last := range s.seen {
		there[sort.Search(len(missed), func(i int) bool { return !last.at.Before(missed[i]) })]++
	}
	later := 0
	for i := range missed {
		later += there[i]
		if lost := i + 1; lost >= least && lost > later {
			return true
		}
	}
	return false
}

func massDeletion() *fault.Error {
	return fault.Terminalf(v1alpha1.ReasonMassDeletionDetected,
		"most remote agents vanished at once, so nothing is registered: make sure that spec.url and the token lead to "+
			"the right service; to have the agents registered anew, give the annotation %s a new value", v1alpha1.AnnotationReconcileAt)
}

// Tripped returns why registration is paused; nil if it is not.
func (s *Safeguard) Tripped() *fault.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tripped
}

// Reset has missing agents registered again, because a user said so.
func (s *Safeguard) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tripped == nil {
		return // A reconciliation that was requested in good times resets nothing.
	}
	s.tripped = nil
	s.resetUntil = s.clock.Now().Add(window)
	clear(s.missing)
}

// Restore takes up what the status says of an earlier process's findings.
func (s *Safeguard) Restore(cp *v1alpha1.CloudProject) {
	stalled := apimeta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionStalled)
	if stalled != nil && stalled.Reason == v1alpha1.ReasonMassDeletionDetected {
		s.tripped = massDeletion()
	}
}

// Forget drops an Agent that was deleted.
func (s *Safeguard) Forget(who types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, who)
	delete(s.missing, who)
}
