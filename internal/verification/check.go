/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package verification checks the credentials of a project without side effects, and keeps what such checks and other
// requests have shown. It knows no Kubernetes client; the caller locks. What it keeps is lost with the
// process, which costs one check.
package verification

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Result is what is known of the credentials.
type Result struct {
	// Verified is true once the API accepted the credentials.
	Verified bool
	// Authentication that the API accepted.
	Authentication v1alpha1.Authentication
	// ListSupported says whether the API lists agents; nil while it is not known, which must not be taken for no:
	// without a list registrations are repeated blindly.
	ListSupported *bool
	// ShowsAgents says whether the check's list held agents.
	ShowsAgents bool
	// ListForbidden is true if the API itself forbids to list agents with these credentials.
	ListForbidden bool
	// PageRefused says how something in between refused the list of the newest agent, and not one that shows no agent; if ListSupported is
	// nil, how the lists failed that would have shown that. Empty if it did not.
	PageRefused string
}

// patience bounds each list that a check asks for after one that something in between refused: an API that does not respond holds a worker.
const patience = 5 * time.Second

// Lists reports whether the API is known to list agents.
func (r Result) Lists() bool { return r.ListSupported != nil && *r.ListSupported }

var schemes = map[v1alpha1.Authentication][]v1alpha1.Authentication{
	v1alpha1.AuthenticationAuto:         {v1alpha1.AuthenticationBearer, v1alpha1.AuthenticationProjectToken},
	v1alpha1.AuthenticationBearer:       {v1alpha1.AuthenticationBearer},
	v1alpha1.AuthenticationProjectToken: {v1alpha1.AuthenticationProjectToken},
}

// Schemes are those that a spec wants tried, with the one first that was accepted last: one that a check accepts, and
// requests do not, would else be tried first again and again.
func Schemes(wanted, first v1alpha1.Authentication) []v1alpha1.Authentication {
	ordered := slices.Clone(schemes[wanted])
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

// Check shows the credentials to the API. What verifies them is a list of agents, or the API's own words that an
// agent is not there. Other servers, behind a wrong URL, respond to any path with an empty list, with a bare 404, or with
// whatever: an empty list counts only if the credentials were verified before, or together with those words; one that is
// too large, or that something in between refuses, only together with them, because its content is one agent's, and must
// not decide about all. The result is not verified with a nil error where the API speaks, but says nothing of the
// credentials: then the first request for an Agent decides. known is what an earlier check with these credentials has shown.
func Check(ctx context.Context, c *cloud.Client, url, projectID string, known Result) (Result, error) {
	shown := Result{ListSupported: new(bool)}
	if projectID != "" {
		page, lists, err := list(ctx, c, projectID)
		switch {
		case err != nil:
			return Result{}, unverified(url+"/v1/projects/"+projectID+"/agents", err)
		case page != nil && (known.Verified || showsAgents(page)):
			return Result{Verified: true, ListSupported: lists.ListSupported, ShowsAgents: showsAgents(page)}, nil
		}
		shown = lists
	}
	_, err := c.Get(ctx, uuid.Nil.String())
	e, failed := cloud.AsError(err)
	switch {
	case cloud.IsGone(err):
		shown.Verified = true
		return shown, nil
	case failed && e.API && (e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity):
		return shown, nil
	case !failed:
		err = errAnyAgent
	}
	return Result{}, unverified(url+"/v1/agents/"+uuid.Nil.String(), err)
}

// list asks for the newest agent, and returns what that shows of lists. page is nil if it shows nothing of the credentials. If something
// in between responds, a list that shows no agent decides whether the API lists: no content of an agent can have that refused. Without
// a list lost registrations are repeated blindly, and one tenant must not bring that about.
func list(ctx context.Context, c *cloud.Client, projectID string) (page *cloud.Page, shown Result, err error) {
	newest := cloud.ListOptions{Last: 1}
	page, err = c.List(ctx, projectID, newest)
	refused, unknown := false, false
	if isForeign(err) {
		_, failed := patiently(ctx, c, projectID, cloud.ListOptions{Last: 1, Name: uuid.NewString()})
		switch {
		case failed == nil: // One odd response may be a moment's trouble.
			page, err = patiently(ctx, c, projectID, newest)
			refused = isForeign(err) || lacksList(err)
			unknown = err != nil && !refused && !isLong(err)
		case !lacksList(failed):
			err, unknown = failed, !IsRefusal(failed)
		}
	}
	if unknown { // It shows nothing of lists, and another request decides about the credentials.
		return nil, Result{PageRefused: cloud.Words(err)}, nil
	}
	lists := refused || err == nil || isLong(err)
	e, _ := cloud.AsError(err)
	switch {
	case refused:
		shown.PageRefused = cloud.Words(err)
	case lists:
	case lacksList(err):
		shown.ListForbidden = e.API && e.Status == http.StatusForbidden
	default:
		return nil, Result{}, err
	}
	shown.ListSupported = &lists
	return page, shown, nil
}

// patiently asks for a list, and asks again if the API limits lists, as long as its patience lasts.
func patiently(ctx context.Context, c *cloud.Client, projectID string, o cloud.ListOptions) (*cloud.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		page, err := c.List(ctx, projectID, o)
		e, failed := cloud.AsError(err)
		if !failed || e.Status != http.StatusTooManyRequests {
			return page, err
		}
		wait := max(e.RetryAfter, time.Second)
		if end, bounded := ctx.Deadline(); bounded && time.Until(end) < wait {
			return page, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return page, err
		}
	}
}

// isForeign reports whether something in between may have replaced or dropped the response because of what the agent holds that it shows.
// A 429 counts requests, and may be the API's in any form.
func isForeign(err error) bool {
	e, failed := cloud.AsError(err)
	return failed && !e.API && !e.NotSent && e.Status != http.StatusTooManyRequests && !isLong(err)
}

// IsRefusal reports whether the API itself refuses the token, not something in between.
func IsRefusal(err error) bool {
	e, ok := cloud.AsError(err)
	return ok && (e.Reason == cloud.ReasonUnauthorized ||
		e.Status == http.StatusForbidden && e.Reason != cloud.ReasonInvalidResponse)
}

// showsAgents reports whether a list holds what every agent has. Lists of other things have IDs, too.
func showsAgents(page *cloud.Page) bool {
	return len(page.Agents) > 0 && !slices.ContainsFunc(page.Agents, func(a cloud.Agent) bool {
		return a.MachineID == "" || a.Type == ""
	})
}

// errAnyAgent is the response of a server that has whatever it is asked for.
var errAnyAgent = &cloud.Error{
	Op: "get agent", Class: cloud.ClassRetryable, Reason: cloud.ReasonInvalidResponse, Status: http.StatusOK,
	Err: errors.New("it has an agent that cannot exist"),
}

// unverified adds to a failure which URL was tried, and what to do where another server may have responded.
func unverified(url string, err error) error {
	e, ok := cloud.AsError(err)
	if !ok || IsRefusal(err) {
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

// isLong reports whether a list came, and was too large or too slow to be read.
func isLong(err error) bool {
	e, ok := cloud.AsError(err)
	return ok && e.Status == http.StatusOK && (e.Reason == cloud.ReasonTooLarge || e.Reason == cloud.ReasonTimeout)
}

// lacksList distinguishes an API without the list endpoint, or one that forbids it, from a failure.
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
