/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Proof is what is known of the credentials of a Project.
type Proof struct {
	// Proved is true once the service accepted the credentials.
	Proved bool
	// Authentication that the service accepted.
	Authentication v1alpha1.Authentication
	// ListSupported says whether the service lists agents; nil while it is not known, which must not be taken for no:
	// without a list registrations are repeated blindly.
	ListSupported *bool
}

func (p Proof) lists() bool { return p.ListSupported != nil && *p.ListSupported }

var schemes = map[v1alpha1.Authentication][]v1alpha1.Authentication{
	v1alpha1.AuthenticationAuto:         {v1alpha1.AuthenticationBearer, v1alpha1.AuthenticationProjectToken},
	v1alpha1.AuthenticationBearer:       {v1alpha1.AuthenticationBearer},
	v1alpha1.AuthenticationProjectToken: {v1alpha1.AuthenticationProjectToken},
}

const (
	// refusalRest is how long a 401 to a real call outweighs what a check of the credentials shows. It doubles with
	// each in a row, up to refusalMost: a 401 may be a moment's trouble.
	refusalRest = 5 * time.Second
	refusalMost = 5 * time.Minute
	// refusalForgotten is how long after its rest a 401 still counts as the one before the next.
	refusalForgotten = 10 * time.Minute
	// listGrace is how long a list that was there may be missing before that is believed.
	listGrace = 15 * time.Minute
)

// Prove finds out, without side effects on the remote, whether the service accepts the credentials. On
// success the Agents that wait are woken. Failures: waiting (Unauthorized) when the service refuses them;
// retryable when nothing is proved either way.
func (p *Project) Prove(ctx context.Context) error {
	if err := p.parked(); err != nil {
		return err
	}
	p.mu.Lock()
	bare, token, place, version, before := p.bare, p.credentials.Token, p.place, p.version, p.proof
	tried := inOrder(schemes[p.wanted], p.held)
	p.mu.Unlock()

	last, pause := errors.New("calls are refused with 401"), time.Duration(0)
	for _, scheme := range tried {
		rest, again := p.refused(version, scheme)
		if again && rest > 0 {
			pause = sooner(pause, rest)
			continue
		}
		c := bare.WithCredential(cloud.Credential{Scheme: cloud.Scheme(scheme), Token: token})
		outcome, err := prove(ctx, c, place, before.Proved && before.Authentication == scheme)
		switch {
		case isRefusal(err):
			last = err
		case err == nil && !outcome.Proved && rest > 0:
			pause = sooner(pause, rest)
		default:
			outcome.Authentication = scheme
			return p.conclude(version, c, outcome, err)
		}
	}
	p.mu.Lock()
	if p.version == version {
		p.blocked, p.proof.Proved = unauthorized(p.key), false
	}
	p.mu.Unlock()
	return fault.Waitingf(v1alpha1.ReasonUnauthorized,
		"the service refuses the token (%v): put a valid project token into the Secret of spec.tokenSecretRef", last).
		After(pause).Because(last)
}

// inOrder puts the scheme first that was accepted last: one that a proof accepts, and calls do not, would else be
// fallen for again and again.
func inOrder(all []v1alpha1.Authentication, first v1alpha1.Authentication) []v1alpha1.Authentication {
	ordered := slices.Clone(all)
	slices.SortStableFunc(ordered, func(a, b v1alpha1.Authentication) int {
		switch first {
		case a:
			return -1
		case b:
			return 1
		default:
			return 0
		}
	})
	return ordered
}

// refusals are what calls met that a proof had let through.
type refusals struct {
	count int       // in a row; a 401 long after the one before begins anew
	until time.Time // when the scheme may be tried again
}

// refuse counts a 401. It leaves out the calls that were under way together with the one that was counted.
// p.mu is held.
func (p *Project) refuse(proofs int) {
	if proofs != p.proofs || p.blocked != nil {
		return
	}
	now, scheme := p.registry.opts.Clock.Now(), p.proof.Authentication
	r := p.refusals[scheme]
	if now.Sub(r.until) >= refusalForgotten {
		r = refusals{}
	}
	r.count++
	r.until = now.Add(fault.Backoff(max(r.count-1, 1), refusalRest, refusalMost))
	p.refusals[scheme] = r
}

// refused returns for how long calls that were refused outweigh a check that says neither yes nor no. If that happened
// again after a check had accepted the scheme, they outweigh that, too: a service may list agents for whom it lets do
// nothing else.
func (p *Project) refused(version int, scheme v1alpha1.Authentication) (rest time.Duration, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version != version {
		return 0, false
	}
	r := p.refusals[scheme]
	return max(r.until.Sub(p.registry.opts.Clock.Now()), 0), r.count > 1
}

// sooner is the shorter of two times, of which the first may not be known yet.
func sooner(pause, rest time.Duration) time.Duration {
	if pause == 0 {
		return rest
	}
	return min(pause, rest)
}

// isRefusal tells a no of the service to the token from that of something in between.
func isRefusal(err error) bool {
	e, ok := cloud.AsError(err)
	return ok && (e.Reason == cloud.ReasonUnauthorized ||
		e.Status == http.StatusForbidden && e.Reason != cloud.ReasonInvalidResponse)
}

func (p *Project) parked() *fault.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wait := p.parkedUntil.Sub(p.registry.opts.Clock.Now()); wait > 0 {
		return fault.Waitingf(v1alpha1.ReasonRateLimited, "the service asked to wait").After(spread(wait))
	}
	return nil
}

// conclude records the outcome of a proof that was not a plain refusal.
func (p *Project) conclude(version int, c *cloud.Client, outcome Proof, err error) error {
	p.mu.Lock()
	stale := p.version != version
	wasBlocked, expected := p.blocked != nil, total(p.agents) > 0
	lostList := !stale && err == nil && p.missesList(outcome)
	if !stale && err == nil && !lostList {
		// A proof that says nothing takes nothing away from calls that were accepted.
		outcome.Proved = outcome.Proved || p.proof.Proved && p.proof.Authentication == outcome.Authentication
		p.client, p.proof, p.blocked = c, outcome, nil
		p.hadList, p.held = outcome.lists(), outcome.Authentication
		p.proofs++
	}
	p.mu.Unlock()
	switch {
	case stale:
		return fault.Retryablef(v1alpha1.ReasonCredentialsUnverified, "the credentials changed while they were proved")
	case lostList:
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
			"the service listed agents before and does not now: check what stands between it and the operator")
	case err != nil:
		p.learn(moment{version: version}, err)
		if parked := p.parked(); parked != nil {
			return parked.Because(err)
		}
		return err
	}
	if expected {
		p.Warm() // Before those wake who wait for it.
	}
	if wasBlocked {
		p.wake()
	}
	return nil
}

// missesList reports that a list which was there is not, and not for long: without it a lost registration is
// repeated blindly, so one odd answer must not end its use. p.mu is held.
func (p *Project) missesList(outcome Proof) bool {
	now := p.registry.opts.Clock.Now()
	switch {
	case !p.hadList || outcome.lists():
		p.listLostAt = time.Time{}
		return false
	case p.listLostAt.IsZero():
		p.listLostAt = now
	}
	return now.Sub(p.listLostAt) < listGrace
}

// prove shows the credentials to the service. What verifies them is a list of agents, or the API's own words that an
// agent is not there. Other servers, behind a wrong URL, answer any path with an empty list, with a bare 404, or with
// whatever: an empty list counts only if the credentials were verified before, or together with those words. The
// outcome is not proved with a nil error where the API speaks, but says nothing of the credentials: then the first real
// call decides.
func prove(ctx context.Context, c *cloud.Client, place Place, verified bool) (Proof, error) {
	lists := false
	if place.ProjectID != "" {
		page, err := c.List(ctx, place.ProjectID, cloud.ListOptions{Last: 1})
		lists = err == nil
		switch {
		case lists && (verified || showsAgents(page)):
			return Proof{Proved: true, ListSupported: &lists}, nil
		case !lists && !lacksList(err):
			return Proof{}, unverified(place.URL+"/v1/projects/"+place.ProjectID+"/agents", err)
		}
	}
	_, err := c.Get(ctx, uuid.Nil.String())
	e, failed := cloud.AsError(err)
	switch {
	case cloud.IsGone(err):
		return Proof{Proved: true, ListSupported: &lists}, nil
	case failed && e.API && (e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity):
		return Proof{ListSupported: &lists}, nil
	case !failed:
		err = errAnyAgent
	}
	return Proof{}, unverified(place.URL+"/v1/agents/"+uuid.Nil.String(), err)
}

// showsAgents reports whether a list holds what every agent has. Lists of other things have IDs, too.
func showsAgents(page *cloud.Page) bool {
	return len(page.Agents) > 0 && !slices.ContainsFunc(page.Agents, func(a cloud.Agent) bool {
		return a.MachineID == "" || a.Type == ""
	})
}

// errAnyAgent is the answer of a server that has whatever it is asked for.
var errAnyAgent = &cloud.Error{
	Op: "get agent", Class: cloud.ClassRetryable, Reason: cloud.ReasonInvalidResponse, Status: http.StatusOK,
	Err: errors.New("it has an agent that cannot exist"),
}

// unverified adds to a failure which URL was tried, and what to do where another server may have answered.
func unverified(url string, err error) error {
	e, ok := cloud.AsError(err)
	if !ok || isRefusal(err) {
		return err
	}
	text := "GET " + url + ": " + err.Error()
	if e.Status != 0 && e.Status < http.StatusInternalServerError && e.Status != http.StatusTooManyRequests {
		text += ": make sure that spec.url leads to the API of Calyptia Cloud"
	}
	return &tried{text, err}
}

// tried is a failure that names the URL that it came from.
type tried struct {
	text string
	err  error
}

func (t *tried) Error() string { return t.text }
func (t *tried) Unwrap() error { return t.err }

// lacksList tells a service without the list endpoint, or one that forbids it, from a failure.
func lacksList(err error) bool {
	e, ok := cloud.AsError(err)
	if !ok {
		return false
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusForbidden:
		return true
	default:
		return false
	}
}
