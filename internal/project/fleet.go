/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const (
	// fleetWindow is the time over which vanished agents are counted.
	fleetWindow = 15 * time.Minute
	// fewLost is how many agents may vanish at once without a doubt of the service itself.
	fewLost = 10
)

// loss is one vanished agent: when that was certain, and since when it may have been so.
type loss struct {
	at, since time.Time
	namespace string
}

// sight is a remote agent that was there.
type sight struct {
	at time.Time
	id string
}

// fleet is what the Agents of a project know only together: whether the service lost them all, and which
// doubles there are.
type fleet struct {
	mu   sync.Mutex
	seen map[types.UID]sight
	gone map[types.UID]loss
	lost *fault.Error
	// forgiven is until when agents that vanished are registered anew on a person's word. Each that comes moves it on:
	// the rate limit may let them come for hours.
	forgiven time.Time
	doubles  map[types.UID][]string
}

func newFleet() fleet {
	return fleet{seen: map[types.UID]sight{}, gone: map[types.UID]loss{}, doubles: map[types.UID][]string{}}
}

// Seen notes that the remote agent of an Agent is there.
func (p *Project) Seen(who types.UID, id string) { p.SeenAt(who, id, p.registry.opts.Clock.Now()) }

// SeenAt notes that the remote agent of an Agent was there at a time.
func (p *Project) SeenAt(who types.UID, id string, at time.Time) {
	p.fleet.mu.Lock()
	defer p.fleet.mu.Unlock()
	if at.After(p.fleet.seen[who].at) {
		p.fleet.seen[who] = sight{at: at, id: id}
	}
}

// Gone notes that the remote agent of an Agent vanished; since is when the look began that found so first. The
// failure says that too many have at once: a service that was restored from an old backup, or another one behind
// the same URL, must not be filled anew without a person's leave. Or that a list is waited for, which tells.
func (p *Project) Gone(who Caller, since time.Time) error {
	f, now := &p.fleet, p.registry.opts.Clock.Now()
	f.mu.Lock()
	delete(f.seen, who.UID)
	if now.Before(f.forgiven) {
		f.forgiven = now.Add(fleetWindow)
		f.mu.Unlock()
		return nil
	}
	f.gone[who.UID] = loss{at: now, since: since, namespace: who.Namespace}
	tripped, undecided := false, error(nil)
	if f.lost == nil { // Once it is known, thousands may come who need not be counted.
		maps.DeleteFunc(f.gone, func(_ types.UID, l loss) bool { return now.Sub(l.at) >= fleetWindow })
		tripped, undecided = p.losing()
	}
	if tripped {
		f.lost = serverLost()
	}
	lost := f.lost
	f.mu.Unlock()
	if tripped {
		p.registry.doubted(p.key)
	}
	if lost != nil {
		return fault.Waitingf(v1alpha1.ReasonMassDeletionDetected,
			"the remote agent is gone, and so are too many others of CloudProject %s: its own conditions say what to do", p.key)
	}
	return undecided
}

// losing judges whether the service lost most agents. Where it lists them, a list tells that was begun after they
// were missed: those that were missed by reads would else be compared with others that nobody has looked at since.
// The error says that it is waited for. The fleet's lock is held.
func (p *Project) losing() (lost bool, undecided error) {
	f := &p.fleet
	suspected := f.mostAreLost(time.Time{})
	if !suspected || !p.Proof().lists() {
		return suspected && p.widespread(), nil
	}
	if listedAt := p.listing.confirm(f.seen); !listedAt.IsZero() && f.mostAreLost(listedAt) {
		return true, nil
	}
	if !f.mostAreLost(time.Time{}) {
		return false, nil
	}
	return false, p.awaitList()
}

// widespread reports whether the losses are more than one tenant's own affair. It is asked where no list tells how many
// of the others are still there. The namespace that lost most is set apart. If it has more than half of the project's
// Agents, one loss elsewhere is enough, or that of half of the project's Agents; else the other namespaces have to lose
// ten, or more than half of theirs. The fleet's lock is held.
func (p *Project) widespread() bool {
	lost := map[string]int{}
	for _, l := range p.fleet.gone {
		lost[l.namespace]++
	}
	worst := ""
	for namespace, n := range lost {
		if n > lost[worst] {
			worst = namespace
		}
	}
	elsewhere := len(p.fleet.gone) - lost[worst]
	all, own := p.counts(worst)
	others := all - own
	switch {
	case others == 0:
		return true
	case own > others:
		return elsewhere > 0 || 2*lost[worst] > all
	default:
		return elsewhere >= fewLost || 2*elsewhere > others
	}
}

// mostAreLost reports whether, from some moment on, more agents were missed than seen, in the same list or later.
// Those seen before that moment say nothing: with them, half of all agents would be registered anew before the loss
// is noticed. Nor does one that was missed long before. Those missed after until, if that is set, are left out.
func (f *fleet) mostAreLost(until time.Time) bool {
	var missed []time.Time
	for _, l := range f.gone {
		if until.IsZero() || !l.since.After(until) {
			missed = append(missed, l.since)
		}
	}
	if len(missed) < fewLost {
		return false
	}
	slices.SortFunc(missed, func(a, b time.Time) int { return b.Compare(a) }) // The latest first.
	seen := make([]int, len(missed)+1)                                        // not before each of them, and not counted before
	for _, s := range f.seen {
		seen[sort.Search(len(missed), func(i int) bool { return !s.at.Before(missed[i]) })]++
	}
	later := 0
	for i := range missed {
		later += seen[i]
		if lost := i + 1; lost >= fewLost && lost > later {
			return true
		}
	}
	return false
}

func serverLost() *fault.Error {
	return fault.Terminalf(v1alpha1.ReasonMassDeletionDetected,
		"most remote agents vanished at once, so nothing is registered: make sure that spec.url and the token lead to "+
			"the right service; to have the agents registered anew, give the annotation %s a new value", v1alpha1.AnnotationReconcileAt)
}

// MassDeletionDetected returns why nothing is registered since most agents vanished; nil in good times.
func (p *Project) MassDeletionDetected() *fault.Error {
	p.fleet.mu.Lock()
	defer p.fleet.mu.Unlock()
	return p.fleet.lost
}

// Forgive has agents that vanished registered anew, and what calls were refused tried again, on a person's word.
func (p *Project) Forgive() {
	p.mu.Lock()
	clear(p.refusals)
	p.mu.Unlock()
	p.fleet.mu.Lock()
	defer p.fleet.mu.Unlock()
	if p.fleet.lost == nil {
		return // A look that was asked for in good times forgives nothing.
	}
	p.fleet.lost = nil
	p.fleet.forgiven = p.registry.opts.Clock.Now().Add(fleetWindow)
	clear(p.fleet.gone)
}

// recall takes up what the status says of an earlier process's findings.
func (p *Project) recall(cp *v1alpha1.CloudProject) {
	stalled := apimeta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionStalled)
	if stalled != nil && stalled.Reason == v1alpha1.ReasonMassDeletionDetected {
		p.fleet.lost = serverLost()
	}
}

// SetDoubles notes the remote agents that share the machine ID of an Agent's own and are left to a person.
func (p *Project) SetDoubles(who types.UID, ids []string) {
	p.fleet.mu.Lock()
	defer p.fleet.mu.Unlock()
	if len(ids) == 0 {
		delete(p.fleet.doubles, who)
		return
	}
	p.fleet.doubles[who] = ids
}

// Doubles are all that SetDoubles noted, sorted, and the first hundred at most.
func (p *Project) Doubles() []string {
	const most = 100
	p.fleet.mu.Lock()
	defer p.fleet.mu.Unlock()
	var all []string
	for _, ids := range p.fleet.doubles {
		all = append(all, ids...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), most)]
}

// leave forgets an Agent that is no more.
func (f *fleet) leave(who types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.seen, who)
	delete(f.gone, who)
	delete(f.doubles, who)
}
