/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package verification

import (
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const (
	// refusalRest is how long a 401 to a request outweighs what a check of the credentials shows. It grows twofold with
	// each in a row, up to refusalMost: a 401 may be a moment's trouble.
	refusalRest = 5 * time.Second
	refusalMost = 5 * time.Minute
	// refusalForgotten is how long after its rest a 401 still counts as the one before the next.
	refusalForgotten = 10 * time.Minute
	// listGrace is how long a list that was there may be missing before that is believed.
	listGrace = 15 * time.Minute
	// forbiddenGrace is that time if the API itself forbids the list to a token that is new: a token may not have all rights at once.
	forbiddenGrace = 10 * time.Second
)

// State is what checks and requests have shown about the credentials in use.
type State struct {
	Result Result
	// Preferred is the authentication that was accepted last at this endpoint.
	Preferred v1alpha1.Authentication

	refusals map[refused]refusals            // of requests, with 401
	accepted map[v1alpha1.Authentication]int // how many requests about agents were
	renewed  bool                            // the token replaced another one, and has not listed agents yet
	hadList  bool                            // the API listed agents at this endpoint before
	shown    bool                            // a list held agents
	lostAt   time.Time                       // when it was first seen not to list them any more
}

// Kind of a request. An API may accept credentials for one kind alone, so that what is accepted shows nothing of another kind.
type Kind string

// The kinds of requests.
const (
	Register Kind = "register"
	Read     Kind = "read"
	Update   Kind = "update"
	Delete   Kind = "delete"
	List     Kind = "list"
	Named    Kind = "list of names"
)

// changes reports whether requests of this kind change agents, to which a valid token may have no right.
func (k Kind) changes() bool { return k == Update || k == Delete }

// refused is what a 401 was the response to.
type refused struct {
	scheme v1alpha1.Authentication
	kind   Kind
}

// refusals are the 401 to requests that a check had let through.
type refusals struct {
	count    int       // in a row; a 401 long after the one before begins again
	until    time.Time // when the scheme, or the kind alone, may be tried again
	accepted int       // how many requests with the scheme were, at the last 401
	alone    bool      // only requests of this kind are refused
}

// Restart forgets what was shown of other credentials. hadList says whether the API listed agents at this endpoint; renewed, whether
// the token replaces another.
func (s *State) Restart(preferred v1alpha1.Authentication, hadList, renewed bool) {
	*s = State{Preferred: preferred, hadList: hadList, renewed: renewed, refusals: map[refused]refusals{},
		accepted: map[v1alpha1.Authentication]int{}}
}

// Accept takes up the result of a check. One that says nothing takes nothing away from requests that were accepted, and one that
// does not know whether the API lists agents leaves it expected to.
func (s *State) Accept(r Result) {
	r.Verified = r.Verified || s.Result.Verified && s.Result.Authentication == r.Authentication
	s.Result, s.Preferred, s.shown = r, r.Authentication, s.shown || r.ShowsAgents
	if r.ListSupported != nil {
		s.hadList = r.Lists()
		s.renewed = s.renewed && !s.hadList
	}
}

// Refuse counts a 401 to a request. It reports whether only requests of this kind are known to be refused, so that others need not stop:
// that happened again, and others were accepted in between, or it is a change of an agent, which a valid token may have no right to.
func (s *State) Refuse(kind Kind, now time.Time) (alone bool) {
	key := refused{s.Result.Authentication, kind}
	r := s.refusals[key]
	if r.alone && now.Before(r.until) {
		return true // It was sent before the last 401.
	}
	if now.Sub(r.until) >= refusalForgotten {
		r = refusals{}
	}
	r.count++
	r.until = now.Add(fault.Backoff(max(r.count-1, 1), refusalRest, refusalMost))
	accepted := s.accepted[key.scheme]
	r.alone = r.count > 1 && (kind.changes() || accepted > r.accepted)
	r.accepted = accepted
	s.refusals[key] = r
	return r.alone
}

// Succeed records that a request was accepted, after a check that came after a 401 to one of its kind: that was a moment's trouble.
// (That lists are accepted is what a check shows.) A list counts only if it held agents.
func (s *State) Succeed(kind Kind) {
	delete(s.refusals, refused{s.Result.Authentication, kind})
	switch kind {
	case List:
		s.shown = true
	case Named:
	default:
		s.accepted[s.Result.Authentication]++
	}
}

// ShownAgents reports whether the API has listed agents of the project to these credentials. An empty list, or one that could not be read,
// shows nothing of whose project it is: an API may list what the token may see.
func (s *State) ShownAgents() bool { return s.shown }

// Standing is what refused requests show of a scheme.
type Standing struct {
	// Rest is for how long they outweigh a check that says neither yes nor no. Again: also one that accepts the scheme, because that
	// happened before: an API may list agents for a token that it allows nothing else.
	Rest  time.Duration
	Again bool
	// Some: only some kinds of requests are refused now. The scheme is of use, but another may be accepted for all.
	Some bool
	// Most: others than changes of agents were refused, and not long ago.
	Most bool
}

// Standing returns what refused requests show of a scheme.
func (s *State) Standing(scheme v1alpha1.Authentication, now time.Time) (of Standing) {
	for key, r := range s.refusals {
		wait := r.until.Sub(now)
		if key.scheme != scheme {
			continue
		}
		of.Most = of.Most || !key.kind.changes() && -wait < refusalForgotten
		if r.alone {
			of.Some = of.Some || wait > 0
			continue
		}
		of.Rest, of.Again = max(of.Rest, wait), of.Again || r.count > 1
	}
	return of
}

// Rest returns for how long no request of a kind is made, because requests of that kind alone are refused.
func (s *State) Rest(kind Kind, now time.Time) time.Duration {
	if r := s.refusals[refused{s.Result.Authentication, kind}]; r.alone {
		return max(r.until.Sub(now), 0)
	}
	return 0
}

// ForgetRefusals has refused schemes tried again at once.
func (s *State) ForgetRefusals() { clear(s.refusals) }

// Unlisted records a check that shows nothing of lists: the time without one begins with the next response that says so.
func (s *State) Unlisted() { s.lostAt = time.Time{} }

// MissesList reports that a list which was there is not, and not for long: without it a lost registration is
// repeated blindly, so one odd response must not end its use.
func (s *State) MissesList(r Result, now time.Time) bool {
	switch {
	case r.ListSupported == nil:
		s.Unlisted()
		return s.hadList
	case !s.hadList || r.Lists():
		s.lostAt = time.Time{}
		return false
	case s.lostAt.IsZero():
		s.lostAt = now
	}
	if s.renewed && r.ListForbidden {
		return now.Sub(s.lostAt) < forbiddenGrace
	}
	return now.Sub(s.lostAt) < listGrace
}
