/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package safeguard pauses registration when most remote agents of a project disappear at once: at least 10, and more
// than half of the project's Agents, missing in the newest snapshot (without a list: within 15 minutes). Its state is lost
// with the process, except that it tripped: that is in the status of the CloudProject.
package safeguard

import (
	"maps"
	"slices"
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

// Project is the watched project as the safeguard uses it.
type Project interface {
	// Lists reports whether the API lists the agents.
	Lists() bool
	// Newest calls visit with the time of the newest snapshot and a function that finds agents in it, if there is one.
	Newest(visit func(at time.Time, has func(id string) bool))
	// Await starts a snapshot, and returns a waiting failure until it is complete.
	Await() error
	// Counts returns the number of Agents of the project, and of those in one namespace.
	Counts(namespace string) (all, there int)
	// NeedsVerification requests a reconciliation of the CloudProject.
	NeedsVerification()
}

// Safeguard watches the agents of one project.
type Safeguard struct {
	project Project
	clock   clock.PassiveClock
	name    string // of the CloudProject, for messages

	mu sync.Mutex
	agents
	tripped *fault.Error
	// resetUntil is the end of a user's reset. Each further missing agent extends it: the rate limit may spread them
	// over hours.
	resetUntil time.Time
}

// New returns a Safeguard that has seen nothing yet; name is that of the CloudProject.
func New(project Project, clock clock.PassiveClock, name string) *Safeguard {
	return &Safeguard{
		project: project, clock: clock, name: name,
		agents: agents{recorded: map[types.UID]seen{}, seen: map[types.UID]seen{}, missing: map[types.UID]missing{}},
	}
}

// SetRecorded sets the remote agents that the Agents of the project record. After a start most were not checked yet: the newest
// snapshot shows which of them exist. An Agent that is not among them any more left the project, or is not checked.
func (s *Safeguard) SetRecorded(ids map[types.UID]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for who := range s.recorded {
		if _, still := ids[who]; !still {
			delete(s.seen, who)
		}
	}
	before := s.recorded
	s.recorded = map[types.UID]seen{}
	for who, id := range ids {
		s.record(before[who], who, id)
	}
	if s.project.Lists() {
		s.compare(s.project) // The next snapshot may lack what this one shows.
	}
}

// Recorded records that an Agent records a remote agent, as it does from its registration on.
func (s *Safeguard) Recorded(who types.UID, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record(s.recorded[who], who, id)
	if s.seen[who].id != id {
		delete(s.seen, who)
	}
}

// KnowsAgents reports whether an Agent records a remote agent that is not known to be missing, or one was found.
func (s *Safeguard) KnowsAgents() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.recorded)+len(s.seen) > 0
}

// Seen records that the remote agent of an Agent was found now.
func (s *Safeguard) Seen(who types.UID, id string) { s.SeenAt(who, id, s.clock.Now()) }

// SeenAt records that the remote agent of an Agent was found at a time.
func (s *Safeguard) SeenAt(who types.UID, id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.seen[who].at) {
		s.seen[who] = seen{at: at, id: id}
	}
}

// Gone records that the remote agent of an Agent is missing; since is the start of the check that first found so. It fails
// if too many are missing: an API that was restored from an old backup, or another one behind the same URL, must not be
// filled again without a user's consent. It returns a waiting failure until a snapshot shows whether too many are missing.
func (s *Safeguard) Gone(who ratelimit.Caller, since time.Time) error {
	now := s.clock.Now()
	s.mu.Lock()
	seenAt := slices.MaxFunc([]time.Time{s.seen[who.UID].at, s.recorded[who.UID].at, s.missing[who.UID].seenAt}, time.Time.Compare)
	delete(s.seen, who.UID)
	delete(s.recorded, who.UID)
	if now.Before(s.resetUntil) {
		s.resetUntil = now.Add(window)
		s.mu.Unlock()
		return nil
	}
	s.missing[who.UID] = missing{at: now, since: since, seenAt: seenAt, namespace: who.Namespace}
	trips, undecided := false, error(nil)
	if s.tripped == nil { // Once tripped, further agents need not be counted.
		maps.DeleteFunc(s.missing, func(_ types.UID, m missing) bool { return now.Sub(m.at) >= window })
		trips, undecided = s.judge(since)
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
			"the remote agent was not found, like too many others of CloudProject %s: see its conditions", s.name)
	}
	return undecided
}

// judge decides whether most agents are missing, once ten were missed one by one. If the API lists agents, the newest snapshot decides
// about the others, whatever the order in which the Agents are checked. undecided is the wait for the next one, if the agent was missed
// after the newest began, at since, and so many others were. The caller holds the lock.
func (s *Safeguard) judge(since time.Time) (trips bool, undecided error) {
	if !s.project.Lists() {
		return len(s.missing) >= least && s.mostAreMissing() && s.widespread(), nil
	}
	listedAt := s.compare(s.project)
	s.dropEarlier(s.clock.Now())
	there, unlisted := s.count()
	later := 0
	for _, m := range s.missing {
		if m.since.After(listedAt) {
			later++
		}
	}
	switch {
	case len(s.missing) < least:
		return false, nil
	case len(s.missing)+unlisted > there && !listedAt.IsZero():
		return true, nil
	case later >= least && since.After(listedAt):
		return false, s.project.Await()
	default:
		return false, nil
	}
}

// widespread reports whether more than one tenant's agents are missing, for an API that does not list agents. The namespace
// that lost most is excluded. If it has more than half of the project's Agents, one loss elsewhere is enough, or the loss of
// half of the project's Agents; else the other namespaces have to lose ten, or more than half of theirs. The caller holds the
// lock.
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

func massDeletion() *fault.Error {
	return fault.Terminalf(v1alpha1.ReasonMassDeletionDetected,
		"most remote agents disappeared at once, so registration is paused: make sure that spec.url and the token belong to "+
			"the right project; to register the agents again, give the annotation %s a new value", v1alpha1.AnnotationReconcileAt)
}

// Tripped returns why registration is paused; nil if it is not.
func (s *Safeguard) Tripped() *fault.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tripped
}

// Reset allows missing agents to be registered again, at a user's request.
func (s *Safeguard) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tripped == nil {
		return // There is nothing to reset.
	}
	s.tripped = nil
	s.resetUntil = s.clock.Now().Add(window)
	clear(s.missing)
}

// Restore restores the tripped state from the status.
func (s *Safeguard) Restore(cp *v1alpha1.CloudProject) { s.tripped = Recorded(cp) }

// Recorded returns why registration was paused when the status was written; nil if it was not.
func Recorded(cp *v1alpha1.CloudProject) *fault.Error {
	stalled := apimeta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionStalled)
	if stalled == nil || stalled.Reason != v1alpha1.ReasonMassDeletionDetected {
		return nil
	}
	return massDeletion()
}

// Moved drops the agents of a project whose endpoint changed. Registration stays paused: only a user resumes it.
func (s *Safeguard) Moved() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.recorded)
	clear(s.seen)
	clear(s.missing)
}

// Forget drops an Agent that was deleted.
func (s *Safeguard) Forget(who types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.recorded, who)
	delete(s.seen, who)
	delete(s.missing, who)
}
