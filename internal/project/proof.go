/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"context"
	"errors"
	"net/http"
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
	// ListSupported says whether the service lists agents; nil while it is not known.
	ListSupported *bool
}

func (p Proof) lists() bool { return p.ListSupported != nil && *p.ListSupported }

var schemes = map[v1alpha1.Authentication][]v1alpha1.Authentication{
	v1alpha1.AuthenticationAuto:         {v1alpha1.AuthenticationBearer, v1alpha1.AuthenticationProjectToken},
	v1alpha1.AuthenticationBearer:       {v1alpha1.AuthenticationBearer},
	v1alpha1.AuthenticationProjectToken: {v1alpha1.AuthenticationProjectToken},
}

const (
	// refusalHolds is how long a 401 to a real call outweighs a proof that says neither yes nor no.
	refusalHolds = 10 * time.Minute
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
	bare, token, wanted, place, version := p.bare, p.credentials.Token, p.wanted, p.place, p.version
	p.mu.Unlock()

	last := errors.New("calls are refused with 401")
	for _, scheme := range schemes[wanted] {
		c := bare.WithCredential(cloud.Credential{Scheme: cloud.Scheme(scheme), Token: token})
		outcome, err := prove(ctx, c, place.ProjectID)
		switch {
		case isRefusal(err):
			last = err
		case err == nil && !outcome.Proved && p.refusedLately(version, scheme):
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
		"the service refuses the token (%v): put a valid project token into the Secret of spec.tokenSecretRef", last).Because(last)
}

// isRefusal tells a no of the service to the token from that of something in between.
func isRefusal(err error) bool {
	e, ok := cloud.AsError(err)
	return ok && (e.Reason == cloud.ReasonUnauthorized ||
		e.Status == http.StatusForbidden && e.Reason != cloud.ReasonInvalidAnswer)
}

func (p *Project) refusedLately(version int, scheme v1alpha1.Authentication) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, refused := p.refusedAt[scheme]
	return refused && p.version == version && p.registry.opts.Clock.Since(at) < refusalHolds
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
	wasBlocked := p.blocked != nil
	lostList := !stale && err == nil && p.missesList(outcome)
	if !stale && err == nil && !lostList {
		// A proof that says nothing takes nothing away from calls that were accepted.
		outcome.Proved = outcome.Proved || p.proof.Proved && p.proof.Authentication == outcome.Authentication
		p.client, p.proof, p.blocked = c, outcome, nil
		p.hadList = outcome.lists()
	}
	p.mu.Unlock()
	switch {
	case stale:
		return fault.Retryablef(v1alpha1.ReasonNotProved, "the credentials changed while they were proved")
	case lostList:
		return fault.Retryablef(v1alpha1.ReasonInvalidAnswer,
			"the service listed agents before and does not now: check what stands between it and the operator")
	case err != nil:
		p.learn(version, err)
		if parked := p.parked(); parked != nil {
			return parked.Because(err)
		}
		return err
	case wasBlocked:
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

// prove shows the credentials to the service. The outcome is not proved with a nil error where the service
// speaks, but says nothing of the credentials: then the first real call decides.
func prove(ctx context.Context, c *cloud.Client, projectID string) (Proof, error) {
	no, yes := false, true
	if projectID != "" {
		_, err := c.List(ctx, projectID, cloud.ListOptions{Last: 1})
		if err == nil {
			return Proof{Proved: true, ListSupported: &yes}, nil
		}
		if !lacksList(err) {
			return Proof{}, err
		}
	}
	_, err := c.Get(ctx, uuid.Nil.String())
	e, failed := cloud.AsError(err)
	switch {
	case !failed, cloud.IsGone(err):
		return Proof{Proved: true, ListSupported: &no}, nil
	case e.API && (e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity):
		return Proof{ListSupported: &no}, nil
	default:
		return Proof{}, err
	}
}

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
