/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package plan

import (
	"maps"
	"slices"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// Remote is how the remote value of a declared field compares.
type Remote int

const (
	// NotRead: the remote agent was not read in this check.
	NotRead Remote = iota
	// NotShown: the API does not show the field.
	NotShown
	// Same: it is as declared.
	Same
	// Different: it is not as declared.
	Different
	remotes
)

// Field is one declared field: the hash of its value, and how the remote value compares.
type Field struct {
	Name, Hash string
	Remote     Remote
}

// MostRounds is how many updates one check sends: the second one corrects what the read after the first one showed.
const MostRounds = 2

// Input is what Decide looks at. Only Fields and State change between the rounds of a check.
type Input struct {
	Policy v1alpha1.SyncPolicy
	// ReadOnly: the operator writes nothing remote.
	ReadOnly bool
	Fields   []Field
	// Listed: a snapshot that is later than the last update shows the agent as declared.
	Listed bool
	// Round counts the updates that this check sent.
	Round int
	State State
}

// State is what is known of the fields besides the remote agent itself.
type State struct {
	// Applied are the fields, with hashes, as they were confirmed last. They are persisted, as Ignored is.
	Applied map[string]string
	// Ignored are fields that the API accepted and did not persist.
	Ignored []string
	Pending
}

// Pending is what only this process knows. Lost with it: fields are sent again, which changes nothing.
type Pending struct {
	// Sent are the fields, with hashes, that the API accepted and that nothing has confirmed yet.
	Sent map[string]string
	// Confirm are fields, with hashes, that were sent and read back otherwise, perhaps because another writer
	// changed them meanwhile: they are sent once more.
	Confirm map[string]string
	// Delayed are fields that were found different and wait for the rate limit. They are sent without another
	// read, because a read would use the permit that the update waits for.
	Delayed []string
}

// Step is what to do next.
type Step int

const (
	// Done: the declared fields need nothing more in this check.
	Done Step = iota
	// Send the fields, then read the agent back.
	Send
	// Blocked: something is to be sent, and the operator is read-only.
	Blocked
	// Unconfirmed: something was sent, and nothing has confirmed it yet.
	Unconfirmed
)

// Changes is the decision.
type Changes struct {
	Step Step
	// Fields to send, sorted.
	Fields []string
	// Reverts: they revert what somebody else changed.
	Reverts bool
	// Repeats: one of them was sent with the same value before, and its event was recorded then.
	Repeats bool
}

// Decide says what to send now.
func Decide(in Input) Changes {
	send := in.toSend()
	switch {
	case len(send) > 0 && in.ReadOnly:
		return Changes{Step: Blocked, Fields: names(send)}
	case len(send) > 0 && in.Round < MostRounds:
		return Changes{
			Step: Send, Fields: names(send),
			Reverts: len(in.State.Unapplied(send)) == 0,
			Repeats: slices.ContainsFunc(send, in.State.confirms),
		}
	case len(in.State.Sent) > 0 && !in.read() && !in.Listed:
		return Changes{Step: Unconfirmed}
	default:
		return Changes{Step: Done}
	}
}

func (in Input) read() bool {
	return !slices.ContainsFunc(in.Fields, func(f Field) bool { return f.Remote == NotRead })
}

func (in Input) toSend() []Field {
	if in.Policy == v1alpha1.SyncObserve {
		return nil
	}
	s := in.State
	unapplied := s.Unapplied(in.Fields)
	return filter(in.Fields, func(f Field) bool {
		changed := s.confirms(f) || slices.Contains(unapplied, f)
		switch f.Remote {
		case NotRead:
			return slices.Contains(s.Delayed, f.Name) || slices.Contains(unapplied, f)
		case Same:
			return false
		case NotShown:
			return changed
		default:
			return changed || in.Policy != v1alpha1.SyncOnChange && !slices.Contains(s.Ignored, f.Name)
		}
	})
}

// Unapplied are the fields that are declared otherwise than they were applied or, where that is not confirmed yet,
// sent last: what was accepted is not sent again for want of a read.
func (s State) Unapplied(fields []Field) []Field {
	return filter(fields, func(f Field) bool {
		last, sent := s.Sent[f.Name]
		if !sent {
			last = s.Applied[f.Name]
		}
		return last != f.Hash
	})
}

func (s State) confirms(f Field) bool { return s.Confirm[f.Name] == f.Hash }

// Accepted is the state once the API accepted changes.
func (s State) Accepted(fields []Field, c Changes) State {
	sent := map[string]string{}
	maps.Copy(sent, s.Sent)
	for _, f := range fields {
		if slices.Contains(c.Fields, f.Name) {
			sent[f.Name] = f.Hash
		}
	}
	s.Sent, s.Delayed = sent, nil
	return s
}

// ReadBack is the state once a read shows the result of an update. A field that differs from what was sent is sent once
// more, because another writer may have changed it in between. If it differs again, the API ignores it.
func (s State) ReadBack(fields []Field) State {
	applied, confirm := map[string]string{}, map[string]string{}
	maps.Copy(applied, s.Applied)
	maps.Copy(applied, s.Sent)
	var ignored []string
	for _, f := range different(fields) {
		sent := s.Sent[f.Name] == f.Hash
		switch {
		case sent && !s.confirms(f):
			confirm[f.Name] = f.Hash
			if slices.Contains(s.Ignored, f.Name) {
				ignored = append(ignored, f.Name)
			}
		case sent, slices.Contains(s.Ignored, f.Name):
			ignored = append(ignored, f.Name)
		}
	}
	slices.Sort(ignored)
	s.Applied, s.Ignored = applied, ignored
	s.Sent, s.Confirm = nil, confirm
	return s
}

// Applied is the state once a check is Done. Observe applies nothing.
func (in Input) Applied() State {
	s := in.State
	if in.Policy != v1alpha1.SyncObserve {
		s.Applied = make(map[string]string, len(in.Fields))
		for _, f := range in.Fields {
			s.Applied[f.Name] = f.Hash
		}
	}
	s.Sent, s.Confirm = nil, nil
	if in.read() {
		still := names(different(in.Fields))
		s.Ignored = slices.DeleteFunc(slices.Clone(s.Ignored), func(name string) bool { return !slices.Contains(still, name) })
	}
	return s
}

// Drifted are the fields that somebody else changed and that are not reverted. It is known only after a read.
func (in Input) Drifted() (names []string, known bool) {
	if !in.read() {
		return nil, false
	}
	for _, f := range different(in.Fields) {
		if !slices.Contains(in.State.Ignored, f.Name) {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	return names, true
}

// AsDeclared reports whether all fields that the API shows are as declared.
func AsDeclared(fields []Field) bool { return len(different(fields)) == 0 }

func different(fields []Field) []Field {
	return filter(fields, func(f Field) bool { return f.Remote == Different })
}

func filter(fields []Field, keep func(Field) bool) (kept []Field) {
	for _, f := range fields {
		if keep(f) {
			kept = append(kept, f)
		}
	}
	return kept
}

func names(fields []Field) (all []string) {
	for _, f := range fields {
		all = append(all, f.Name)
	}
	slices.Sort(all)
	return all
}
