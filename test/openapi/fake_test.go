/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package openapi_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

const (
	projectID = "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a001"
	fleetID   = "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a002"
	nilID     = "00000000-0000-0000-0000-000000000000"
)

// service is a fake over HTTP and a client whose every request is checked.
type service struct {
	*cloudtest.Server
	token  cloud.Token
	client *cloud.Client
}

func newService(t *testing.T, settings cloudtest.Settings) *service {
	t.Helper()
	server := cloudtest.New(settings)
	web := server.Start()
	t.Cleanup(web.Close)
	token := server.AddProject(projectID)
	client := newClient(t, web.URL, cloud.Config{
		Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: token},
		Wrap:       checking(t),
	})
	return &service{Server: server, token: token, client: client}
}

func newClient(t *testing.T, raw string, config cloud.Config) *cloud.Client {
	t.Helper()
	base, err := cloud.ParseURL(raw, cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	config.BaseURL = base
	if config.Credential.Scheme == "" {
		config.Credential = cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken("project-token-value")}
	}
	client, err := cloud.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func registration(machineID string) cloud.Registration {
	return cloud.Registration{
		Name: "web-logs", MachineID: machineID, Type: "fluentbit", Version: "v4.0.0",
		Edition: "community", RawConfig: "[INPUT]\n    Name cpu\n",
	}
}

func (s *service) register(t *testing.T, machineID string) *cloud.Registered {
	t.Helper()
	registered, err := s.client.Register(t.Context(), registration(machineID))
	if err != nil {
		t.Fatal(err)
	}
	return registered
}

func failure(t *testing.T, err error) *cloud.Error {
	t.Helper()
	failed, ok := cloud.AsError(err)
	if !ok {
		t.Fatalf("the error is %v, want a *cloud.Error", err)
	}
	return failed
}

func TestEveryCallRoundTrips(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	s := newService(t, cloudtest.Settings{
		Now:          func() time.Time { return now },
		Environments: map[string]string{"env-1": "staging"},
	})
	full := registration("machine-1")
	full.Flags = []string{"--verbose"}
	full.Metadata = json.RawMessage(`{"team":"logs"}`)
	full.FleetID, full.EnvironmentID = fleetID, "env-1"
	registered, err := s.client.Register(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	stored, _ := s.Agent(registered.ID)
	wantRegistered := &cloud.Registered{
		ID: stored.ID, Token: stored.Token, Name: "web-logs", CreatedAt: now, EnvironmentName: "staging",
		RespondedAt: registered.RespondedAt,
	}
	if diff := cmp.Diff(wantRegistered, registered); diff != "" {
		t.Errorf("registered (-want +got):\n%s", diff)
	}
	want := cloud.Agent{
		ID: stored.ID, FleetID: new(fleetID), Token: stored.Token, Name: "web-logs", MachineID: "machine-1",
		Type: "fluentbit", Version: "v4.0.0", Edition: "community", Status: "unhealthy", OS: "unknown", Arch: "unknown",
		Flags: []string{"--verbose"}, RawConfig: full.RawConfig, Metadata: full.Metadata,
		CreatedAt: now, UpdatedAt: now, EnvironmentName: "staging",
	}
	s.wantAgent(t, want)

	now = now.Add(time.Hour)
	err = s.client.Update(t.Context(), stored.ID, cloud.Update{
		Name: new("db-logs"), Version: new("v4.1.0"), Edition: new("enterprise"), RawConfig: new("[OUTPUT]"),
		Flags: new([]string(nil)), Metadata: json.RawMessage(`{"team":"db"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	want.Name, want.Version, want.Edition, want.RawConfig = "db-logs", "v4.1.0", "enterprise", "[OUTPUT]"
	want.Flags, want.Metadata, want.UpdatedAt = []string{}, json.RawMessage(`{"team":"db"}`), now
	s.wantAgent(t, want)

	page, err := s.client.List(t.Context(), projectID, cloud.ListOptions{Last: 5})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&cloud.Page{Agents: []cloud.Agent{want}}, page); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	if err := s.client.Delete(t.Context(), stored.ID); err != nil {
		t.Fatal(err)
	}
	if left := s.Agents(projectID); len(left) != 0 {
		t.Errorf("%d agents are left", len(left))
	}
}

func (s *service) wantAgent(t *testing.T, want cloud.Agent) {
	t.Helper()
	got, err := s.client.Get(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("agent (-want +got):\n%s", diff)
	}
}

func TestCredentialSchemes(t *testing.T) {
	s := newService(t, cloudtest.Settings{OnlyAgentPatches: true})
	registered := s.register(t, "machine-1")
	s.ResetRequests()
	for _, scheme := range []cloud.Scheme{cloud.SchemeBearer, cloud.SchemeProjectToken} {
		asked := s.client.WithCredential(cloud.Credential{Scheme: scheme, Token: s.token})
		if _, err := asked.Get(t.Context(), registered.ID); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		err := asked.Update(t.Context(), registered.ID, cloud.Update{RawConfig: new("[OUTPUT]")})
		if failed := failure(t, err); failed.Reason != cloud.ReasonFieldForbidden {
			t.Errorf("%s: an update of the agent's own field ended in %v", scheme, err)
		}
	}
	agent := s.client.WithCredential(cloud.Credential{Scheme: cloud.SchemeAgentToken, Token: registered.Token})
	if err := agent.Update(t.Context(), registered.ID, cloud.Update{RawConfig: new("[OUTPUT]")}); err != nil {
		t.Errorf("the agent itself may not update: %v", err)
	}
	if _, err := agent.Get(t.Context(), registered.ID); err != nil {
		t.Errorf("the agent itself may not read: %v", err)
	}
	if err := agent.Delete(t.Context(), registered.ID); failure(t, err).Reason != cloud.ReasonForbidden {
		t.Errorf("the agent's own deletion ended in %v", err)
	}
	var seen []cloud.Scheme
	for _, r := range s.Requests() {
		seen = append(seen, r.Scheme)
	}
	want := []cloud.Scheme{
		cloud.SchemeBearer, cloud.SchemeBearer, cloud.SchemeProjectToken, cloud.SchemeProjectToken,
		cloud.SchemeAgentToken, cloud.SchemeAgentToken, cloud.SchemeAgentToken,
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("schemes (-want +got):\n%s", diff)
	}
}

func TestPagesCoverTheListOnce(t *testing.T) {
	s := newService(t, cloudtest.Settings{PageSize: 3})
	var want []string
	for i := range 7 {
		want = append([]string{s.register(t, "machine-"+string(rune('a'+i))).ID}, want...)
	}
	var got []string
	options := cloud.ListOptions{Last: 100}
	for {
		page, err := s.client.List(t.Context(), projectID, options)
		if err != nil {
			t.Fatal(err)
		}
		for _, agent := range page.Agents {
			got = append(got, agent.ID)
		}
		if options.Before = page.Before; page.Before == "" {
			break
		}
		// New agents must not shift the pages.
		if len(got) == 3 {
			s.register(t, "machine-late")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("IDs, newest first (-want +got):\n%s", diff)
	}
	if calls := s.Count(http.MethodGet, cloudtest.RouteList); calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
}

func TestGone(t *testing.T) {
	for name, row := range map[string]struct {
		settings cloudtest.Settings
		reason   cloud.Reason
		status   int
	}{
		"deleted agents are not found":                 {cloudtest.Settings{}, cloud.ReasonAgentNotFound, 404},
		"deleted agents are gone where that is spoken": {cloudtest.Settings{GoneAfterDelete: true}, cloud.ReasonGone, 410},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, row.settings)
			id := s.register(t, "machine-1").ID
			s.Remove(id)
			_, readErr := s.client.Get(t.Context(), id)
			for _, err := range []error{
				readErr,
				s.client.Update(t.Context(), id, cloud.Update{Name: new("other")}),
				s.client.Delete(t.Context(), id),
			} {
				failed := failure(t, err)
				if failed.Reason != row.reason || failed.Status != row.status || !cloud.IsGone(err) {
					t.Errorf("%v: reason %s, gone %t", err, failed.Reason, cloud.IsGone(err))
				}
				if failed.Class != cloud.ClassRetryable {
					t.Errorf("%v: class %s, want the caller to decide", err, failed.Class)
				}
			}
		})
	}
}

func TestLostResponseOfARegistration(t *testing.T) {
	for name, row := range map[string]struct {
		fault cloudtest.Fault
		made  int
	}{
		"dropped before it took effect": {cloudtest.Fault{Cut: cloudtest.CutBefore}, 0},
		"dropped after it took effect":  {cloudtest.Fault{Cut: cloudtest.CutAfter}, 1},
		"cut within the response":       {cloudtest.Fault{Truncate: 10}, 1},
		"taken for failed by a gateway": {cloudtest.Fault{Status: 502, Body: "<html>", After: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			client := newClient(t, web.URL, cloud.Config{Credential: cloud.Credential{
				Scheme: cloud.SchemeProjectToken, Token: server.AddProject(projectID),
			}})
			row.fault.Times = 1
			server.Inject(row.fault)
			_, err := client.Register(t.Context(), registration("machine-1"))
			failed := failure(t, err)
			if failed.NothingMade() || failed.NotSent || failed.Class != cloud.ClassRetryable {
				t.Errorf("%v claims that nothing was made", err)
			}
			if made := len(server.Agents(projectID)); made != row.made {
				t.Errorf("%d agents, want %d", made, row.made)
			}
			if calls := server.Count(http.MethodPost, cloudtest.RouteAgents); calls != 1 {
				t.Errorf("the registration was sent %d times", calls)
			}
			_, err = client.Register(t.Context(), registration("machine-1"))
			if conflict := row.made == 1; conflict != (err != nil) {
				t.Errorf("the next registration ended in %v", err)
			}
		})
	}
}

func TestMaskedTokensAreNoErrors(t *testing.T) {
	s := newService(t, cloudtest.Settings{MaskTokens: true, MaskRegister: true, MaskAs: "********"})
	registered := s.register(t, "machine-1")
	agent, err := s.client.Get(t.Context(), registered.ID)
	if err != nil {
		t.Fatal(err)
	}
	if registered.Token.Usable() || agent.Token.Usable() {
		t.Error("a mask is taken for a token")
	}
}

func TestUnsendableCalls(t *testing.T) {
	s := newService(t, cloudtest.Settings{})
	with := func(scheme cloud.Scheme, token string) *cloud.Client {
		return s.client.WithCredential(cloud.Credential{Scheme: scheme, Token: cloud.NewToken(token)})
	}
	for name, row := range map[string]struct {
		call   func() error
		reason cloud.Reason
	}{
		"an empty ID":         {func() error { return s.client.Delete(t.Context(), "") }, cloud.ReasonInvalid},
		"a parent's ID":       {func() error { return s.client.Delete(t.Context(), "..") }, cloud.ReasonInvalid},
		"an empty project ID": {func() error { _, err := s.client.List(t.Context(), "", cloud.ListOptions{}); return err }, cloud.ReasonInvalid},
		"raw config that is no text": {func() error {
			_, err := s.client.Register(t.Context(), cloud.Registration{RawConfig: "\xff"})
			return err
		}, cloud.ReasonInvalid},
		"metadata that is no JSON": {func() error {
			return s.client.Update(t.Context(), nilID, cloud.Update{Metadata: json.RawMessage(`{`)})
		}, cloud.ReasonInvalid},
		"a token with a line break": {func() error {
			return with(cloud.SchemeBearer, "secret\nvalue").Delete(t.Context(), nilID)
		}, cloud.ReasonUnauthorized},
		"no token":          {func() error { return with(cloud.SchemeBearer, "").Delete(t.Context(), nilID) }, cloud.ReasonUnauthorized},
		"an unknown scheme": {func() error { return with("Basic", "secret-value").Delete(t.Context(), nilID) }, cloud.ReasonUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			err := row.call()
			failed := failure(t, err)
			if failed.Reason != row.reason || !failed.NotSent || !failed.NothingMade() || errors.Unwrap(err) == nil {
				t.Errorf("%v: reason %s, want %s, and not sent", err, failed.Reason, row.reason)
			}
			if contains(err.Error(), "secret", "value") {
				t.Errorf("%q shows the token", err)
			}
		})
	}
	if requests := s.Requests(); len(requests) != 0 {
		t.Errorf("%d requests were sent", len(requests))
	}
}

func contains(text string, words ...string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}
