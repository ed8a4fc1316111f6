/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/version"
)

const (
	// Configurations can be large, and a page is read as a whole.
	pageSize    = 50
	maxPage     = 64 << 20
	callTimeout = time.Minute
	// tries of one page, and the longest wait between two of them.
	tries     = 5
	longestOf = time.Minute
)

// limits protect against an API that misbehaves.
type limits struct {
	patience time.Duration // before the second try of a page; doubled for each further one
	agents   int           // in a list; a longer one counts as endless
	content  int           // bytes of all that is going to be declared
}

// reader reads the list of one project.
type reader struct {
	*options
	clients []*cloud.Client // one for each authentication scheme, until one is accepted
	lists   map[cloud.NamedKind][]cloud.Named
}

// readAll reads all agents of the project. Of agents that are not chosen it keeps only what identifies them.
func (o *options) readAll(ctx context.Context) ([]cloud.Agent, error) {
	c, err := cloud.New(cloud.Config{
		BaseURL: o.base, CABundle: o.caBundle, Timeout: callTimeout, MaxBody: maxPage,
		UserAgent: "calyptia-agent-operator/" + version.Version,
	})
	if err != nil {
		return nil, err
	}
	defer c.CloseIdleConnections()
	r := &reader{options: o, lists: map[cloud.NamedKind][]cloud.Named{}}
	for _, scheme := range []cloud.Scheme{cloud.SchemeBearer, cloud.SchemeProjectToken} {
		if o.authentication == string(v1alpha1.AuthenticationAuto) || o.authentication == string(scheme) {
			r.clients = append(r.clients, c.WithCredential(cloud.Credential{Scheme: scheme, Token: o.token}))
		}
	}
	if err := r.resolve(ctx); err != nil {
		return nil, err
	}
	agents, err := r.pages(ctx)
	if err != nil {
		return nil, err
	}
	return agents, r.nameTargets(ctx, agents)
}

func (r *reader) pages(ctx context.Context) ([]cloud.Agent, error) {
	var agents []cloud.Agent
	content, ids, cursors, before := 0, sets.New[string](), sets.New[string](), ""
	for {
		page, err := retried(ctx, r, func() (*cloud.Page, error) { return r.try(ctx, before) })
		if err != nil {
			return nil, fmt.Errorf("the agents cannot be listed: %w%s", err, remedy(err))
		}
		for _, a := range page.Agents {
			if ids.Has(a.ID) {
				continue // What was made or deleted meanwhile can shift the pages.
			}
			ids.Insert(a.ID)
			if !r.chosen(&a) {
				a = cloud.Agent{ID: a.ID, Name: a.Name, Token: a.Token, CreatedAt: a.CreatedAt}
			}
			content += len(a.RawConfig) + len(a.Metadata)
			agents = append(agents, a)
		}
		switch before = page.Before; {
		case len(agents) > r.limits.agents:
			return nil, fmt.Errorf("the API's list has more than %d agents and does not end", r.limits.agents)
		case content > r.limits.content:
			return nil, fmt.Errorf("the agents hold more than %d MiB: choose fewer with --name, --fleet or --environment",
				r.limits.content>>20)
		case before == "":
			return agents, nil
		case cursors.Has(before) || len(page.Agents) == 0:
			return nil, errors.New("the pages of the API's list of agents repeat")
		}
		cursors.Insert(before)
	}
}

// retried reads one page, and retries temporary failures.
func retried[T any](ctx context.Context, r *reader, ask func() (T, error)) (none T, err error) {
	wait := r.limits.patience
	for try := 1; ; try++ {
		page, err := ask()
		e, failed := cloud.AsError(err)
		if !failed {
			return page, err
		}
		after := max(wait, e.RetryAfter)
		if ctx.Err() != nil || !passes(e) || try == tries || after > longestOf {
			return none, err
		}
		r.say("%v: trying again in %s", err, after)
		timer := time.NewTimer(after)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return none, ctx.Err()
		}
		wait *= 2
	}
}

// try requests a page of agents once.
func (r *reader) try(ctx context.Context, before string) (*cloud.Page, error) {
	return asked(r, func(c *cloud.Client) (*cloud.Page, error) {
		return c.List(ctx, r.projectID, cloud.ListOptions{Last: pageSize, Before: before})
	})
}

// asked makes one request with each authentication scheme that may be right, and keeps the one that is accepted.
func asked[T any](r *reader, ask func(*cloud.Client) (T, error)) (response T, err error) {
	for _, c := range r.clients {
		response, err = ask(c)
		e, failed := cloud.AsError(err)
		if failed && (e.Reason == cloud.ReasonUnauthorized || e.Reason == cloud.ReasonForbidden) {
			continue
		}
		if !failed {
			r.clients = []*cloud.Client{c}
		}
		return response, err
	}
	return response, err
}

func passes(e *cloud.Error) bool {
	switch e.Reason {
	case cloud.ReasonNetwork, cloud.ReasonTimeout, cloud.ReasonUnavailable, cloud.ReasonRateLimited:
		return true
	default:
		return false
	}
}

// remedy says what to do about a failure.
func remedy(err error) string {
	e, failed := cloud.AsError(err)
	switch {
	case !failed:
		return ""
	case e.Reason == cloud.ReasonUnauthorized:
		return ": give a valid project token"
	case e.Reason == cloud.ReasonForbidden:
		return ": give a token of the project, or correct --project-id"
	case e.Status == http.StatusNotFound, e.Status == http.StatusMethodNotAllowed, e.Status == http.StatusNotImplemented:
		return ": correct --url or --project-id; a service that lists no agents cannot be imported from"
	default:
		return ""
	}
}
