/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"context"
	"net/http"

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

	var last error
	for _, scheme := range schemes[wanted] {
		c := bare.WithCredential(cloud.Credential{Scheme: cloud.Scheme(scheme), Token: token})
		outcome, err := prove(ctx, c, place.ProjectID)
		if e, ok := cloud.AsError(err); ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
			last = err
			continue
		}
		outcome.Authentication = scheme
		return p.conclude(version, c, outcome, err)
	}
	p.Block(unauthorized(p.key))
	e, _ := cloud.AsError(last)
	return fault.Waitingf(v1alpha1.ReasonUnauthorized,
		"the service refuses the token (%v): put a valid project token into the Secret of spec.tokenSecretRef", e).Because(last)
}

func (p *Project) parked() error {
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
	lostList := err == nil && p.hadList && !outcome.lists()
	if !stale && err == nil && !lostList {
		p.client, p.proof, p.blocked = c, outcome, nil
		p.hadList = outcome.lists()
	}
	p.mu.Unlock()
	switch {
	case stale:
		return fault.Retryablef(v1alpha1.ReasonNotProved, "the credentials changed while they were proved")
	case lostList:
		// Without the list a lost registration is repeated blindly, so one odd answer must not end its use.
		return fault.Retryablef(v1alpha1.ReasonInvalidAnswer,
			"the service listed agents before and does not now: check what stands between it and the operator")
	case err != nil:
		p.learn(err)
		return err
	case wasBlocked:
		p.registry.woken(p.key)
	}
	return nil
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
