/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// served gives a fake over HTTP and its project's token.
func served(t *testing.T) (*cloudtest.Server, string, cloud.Token) {
	t.Helper()
	s := cloudtest.New(cloudtest.Settings{})
	web := s.Start()
	t.Cleanup(web.Close)
	return s, web.URL, s.AddProject(projectA)
}

// post registers over HTTP, and gives the response's status and body.
func post(ctx context.Context, url string, token cloud.Token, machineID string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/agents", strings.NewReader(body(machineID)))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	return response.StatusCode, string(got), err
}

func TestFaults(t *testing.T) {
	for name, row := range map[string]struct {
		fault  cloudtest.Fault
		broken bool // no complete response arrives
		status int  // of the record
		body   string
		made   int
	}{
		"cut before":              {cloudtest.Fault{Cut: cloudtest.CutBefore}, true, 0, "", 0},
		"cut after":               {cloudtest.Fault{Cut: cloudtest.CutAfter}, true, 0, "", 1},
		"another response":        {cloudtest.Fault{Status: 503, Body: "later"}, false, 503, "later", 0},
		"another response after":  {cloudtest.Fault{Status: 504, Body: "late", After: true}, false, 504, "late", 1},
		"a part of the response":  {cloudtest.Fault{Truncate: 5}, true, 201, `{"id"`, 1},
		"a part of another":       {cloudtest.Fault{Status: 200, Body: "abcdef", Truncate: 3}, true, 200, "abc", 0},
		"a dripping response":     {cloudtest.Fault{Status: 200, Body: "abc", Drip: time.Microsecond}, false, 200, "abc", 0},
		"a slow response":         {cloudtest.Fault{Status: 200, Body: "abc", Latency: time.Millisecond}, false, 200, "abc", 0},
		"another method's fault":  {cloudtest.Fault{Method: "GET", Cut: cloudtest.CutBefore}, false, 201, "", 1},
		"another route's fault":   {cloudtest.Fault{Route: cloudtest.RouteAgent, Cut: cloudtest.CutBefore}, false, 201, "", 1},
		"a fault that is choosy":  {cloudtest.Fault{Match: bodyHas("machine-2"), Cut: cloudtest.CutBefore}, false, 201, "", 1},
		"a fault that is matched": {cloudtest.Fault{Match: bodyHas("machine-1"), Cut: cloudtest.CutBefore}, true, 0, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, url, token := served(t)
			s.Inject(row.fault)
			_, got, err := post(t.Context(), url, token, "machine-1")
			if row.broken != (err != nil) || (row.body != "" && got != row.body) {
				t.Errorf("got %q, %v", got, err)
			}
			if made := len(s.Agents(projectA)); made != row.made {
				t.Errorf("%d agents, want %d", made, row.made)
			}
			if requests := s.Requests(); len(requests) != 1 || requests[0].Status != row.status {
				t.Errorf("recorded %v", requests)
			}
		})
	}
}

func bodyHas(text string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		got, err := io.ReadAll(r.Body)
		return err == nil && strings.Contains(string(got), text)
	}
}

func TestFaultsAreUsedInOrder(t *testing.T) {
	s := cloudtest.New(cloudtest.Settings{})
	token := s.AddProject(projectA)
	s.Inject(cloudtest.Fault{Status: 500, Times: 2})
	remove := s.Inject(cloudtest.Fault{Status: 502})
	var got []int
	for i := range 6 {
		if i == 4 {
			remove()
			remove()
		}
		got = append(got, ask(t, s, "GET", "/v1/agents/"+unknown, "X-Project-Token", token.Reveal(), "").Code)
	}
	if diff := cmp.Diff([]int{500, 500, 502, 502, 404, 404}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if s.Count("GET", cloudtest.RouteAgent) != 6 || s.Count("", "") != 6 || s.Count("POST", "") != 0 {
		t.Error("the calls are miscounted")
	}
	s.ResetRequests()
	if s.Count("", "") != 0 {
		t.Error("the calls are not forgotten")
	}
}

func TestHeadersAreAddedToTheRealResponse(t *testing.T) {
	s := cloudtest.New(cloudtest.Settings{})
	token := s.AddProject(projectA)
	s.Inject(cloudtest.Fault{Header: http.Header{"link": {"<x>"}}})
	w := ask(t, s, "GET", "/v1/projects/"+projectA+"/agents", "X-Project-Token", token.Reveal(), "")
	if w.Code != 200 || w.Body.String() != "[]" || w.Header().Get("Link") != "<x>" {
		t.Errorf("got %d %s %v", w.Code, w.Body, w.Header())
	}
}

func TestABlockedCall(t *testing.T) {
	for name, giveUp := range map[string]bool{
		"happens once it is released":          false,
		"doesn't happen if the client gave up": true,
	} {
		t.Run(name, func(t *testing.T) {
			s, url, token := served(t)
			block, entered := make(chan struct{}), make(chan struct{})
			s.Inject(cloudtest.Fault{Block: block, Entered: entered})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, _, err := post(ctx, url, token, "machine-1")
				done <- err
			}()
			<-entered
			if made := len(s.Agents(projectA)); made != 0 {
				t.Errorf("%d agents while blocked", made)
			}
			if giveUp {
				cancel()
			} else {
				close(block)
			}
			err := <-done
			if giveUp != errors.Is(err, context.Canceled) || giveUp == (len(s.Agents(projectA)) == 1) {
				t.Errorf("%v, agents %v", err, s.Agents(projectA))
			}
		})
	}
}

func TestACallThatIsCommittedLate(t *testing.T) {
	s, url, token := served(t)
	block, entered := make(chan struct{}), make(chan struct{})
	s.Inject(cloudtest.Fault{Block: block, Entered: entered, DetachedDelay: time.Millisecond, Times: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, _, err := post(ctx, url, token, "machine-1")
		done <- err
	}()
	<-entered
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the client saw %v", err)
	}
	if made := len(s.Agents(projectA)); made != 0 {
		t.Errorf("%d agents too early", made)
	}
	close(block)
	s.Wait()
	if made := len(s.Agents(projectA)); made != 1 {
		t.Errorf("%d agents after the commit", made)
	}
	if status, _, err := post(t.Context(), url, token, "machine-1"); status != http.StatusConflict || err != nil {
		t.Errorf("the next registration: %d, %v", status, err)
	}
}
