/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

const (
	projectA = "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a001"
	projectB = "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a002"
	fleetID  = "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a003"
	unknown  = "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a004"
)

// ask calls the fake without a client, as any program might.
func ask(t *testing.T, s http.Handler, method, path, header, token, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if header != "" {
		r.Header.Set(header, token)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func body(machineID string) string {
	return `{"name":"web","machineID":"` + machineID + `","type":"fluentbit",` +
		`"version":"v4.0.0","edition":"community","flags":null,"rawConfig":"[INPUT]"}`
}

func register(t *testing.T, s *cloudtest.Server, token cloud.Token, machineID string) cloud.Agent {
	t.Helper()
	w := ask(t, s, "POST", "/v1/agents", "X-Project-Token", token.Reveal(), body(machineID))
	var made struct{ ID string }
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("registration: %d %s", w.Code, w.Body)
	}
	agent, ok := s.Agent(made.ID)
	if !ok {
		t.Fatal("the agent is not stored")
	}
	return agent
}

func TestRefusals(t *testing.T) {
	s := cloudtest.New(cloudtest.Settings{})
	a, b := s.AddProject(projectA), s.AddProject(projectB)
	mine, other := register(t, s, a, "machine-1"), register(t, s, a, "machine-2")
	const (
		bearer  = "Authorization"
		project = "X-Project-Token"
		agent   = "X-Agent-Token"
	)
	for _, row := range []struct {
		name, method, path, header, token, body string
		status                                  int
		message                                 string
	}{
		{"no credential", "GET", "/v1/agents/" + mine.ID, "", "", "", 401, "unauthenticated"},
		{"a token that was never made", "GET", "/v1/agents/" + mine.ID, project, "other", "", 401, "invalid token"},
		{"an agent's token as a project's", "GET", "/v1/agents/" + mine.ID, bearer, "Bearer " + mine.Token.Reveal(), "", 401, "invalid token"},
		{"a project's token as an agent's", "GET", "/v1/agents/" + mine.ID, agent, a.Reveal(), "", 401, "invalid token"},
		{"another way of authorization", "GET", "/v1/agents/" + mine.ID, bearer, "Basic " + a.Reveal(), "", 401, "unauthenticated"},
		{"an agent of another project", "GET", "/v1/agents/" + mine.ID, project, b.Reveal(), "", 404, "agent not found"},
		{"an unknown agent", "DELETE", "/v1/agents/" + unknown, project, a.Reveal(), "", 404, "agent not found"},
		{"another agent's token", "GET", "/v1/agents/" + mine.ID, agent, other.Token.Reveal(), "", 403, "permission denied"},
		{"an agent that deletes itself", "DELETE", "/v1/agents/" + mine.ID, agent, mine.Token.Reveal(), "", 403, "permission denied"},
		{"an agent that registers", "POST", "/v1/agents", agent, mine.Token.Reveal(), body("machine-3"), 403, "permission denied"},
		{"an agent that lists", "GET", "/v1/projects/" + projectA + "/agents", agent, mine.Token.Reveal(), "", 403, "permission denied"},
		{"another project's list", "GET", "/v1/projects/" + projectA + "/agents", project, b.Reveal(), "", 403, "permission denied"},
		{
			"another project's environments", "GET", "/v1/projects/" + projectA + "/environments", project, b.Reveal(), "",
			403, "permission denied",
		},
		{"metrics from a project", "POST", "/v1/agents/" + mine.ID + "/metrics", project, a.Reveal(), "", 403, "permission denied"},
		{"a page of no size", "GET", "/v1/projects/" + projectA + "/agents?last=0", project, a.Reveal(), "", 422, "invalid last"},
		{"a cursor made up", "GET", "/v1/projects/" + projectA + "/agents?before=abc", project, a.Reveal(), "", 422, "invalid before"},
		{"no JSON", "POST", "/v1/agents", project, a.Reveal(), `{`, 400, "invalid JSON"},
		{"no object", "PATCH", "/v1/agents/" + mine.ID, project, a.Reveal(), `null`, 400, "invalid JSON"},
		{"a name of another type", "PATCH", "/v1/agents/" + mine.ID, project, a.Reveal(), `{"name":7}`, 422, "invalid agent name"},
		{"flags of another type", "PATCH", "/v1/agents/" + mine.ID, project, a.Reveal(), `{"flags":"-v"}`, 422, "invalid agent flags"},
		{"a flag that is null", "PATCH", "/v1/agents/" + mine.ID, project, a.Reveal(), `{"flags":[null]}`, 422, "invalid agent flags"},
		{"an empty environment", "PATCH", "/v1/agents/" + mine.ID, project, a.Reveal(), `{"environmentID":""}`, 422, "invalid environment ID"},
		{
			"a name that is too long", "PATCH", "/v1/agents/" + mine.ID, project, a.Reveal(),
			`{"name":"` + strings.Repeat("a.", 127) + `"}`, 422, "invalid agent name",
		},
		{"nothing", "POST", "/v1/agents", project, a.Reveal(), `{}`, 422, "invalid agent name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := ask(t, s, row.method, row.path, row.header, row.token, row.body)
			var got struct{ Error string }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != row.status || got.Error != row.message {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	after, _ := s.Agent(mine.ID)
	if diff := cmp.Diff(mine, after); diff != "" {
		t.Errorf("a refused call changed the agent (-before +after):\n%s", diff)
	}
}

func TestUnknownRoutesRespondAsTheMux(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/agents", func(http.ResponseWriter, *http.Request) {})
	s := cloudtest.New(cloudtest.Settings{})
	for _, call := range [][2]string{{"GET", "/v2/agents"}, {"GET", "/"}, {"PUT", "/v1/agents"}, {"GET", "/v1/agents/a/b/c"}} {
		want, got := ask(t, mux, call[0], call[1], "", "", ""), ask(t, s, call[0], call[1], "", "", "")
		if got.Code != want.Code || got.Body.String() != want.Body.String() ||
			got.Header().Get("Content-Type") != want.Header().Get("Content-Type") {
			t.Errorf("%v: got %d %q, want %d %q", call, got.Code, got.Body, want.Code, want.Body)
		}
	}
}

func TestMachineIDPolicies(t *testing.T) {
	for name, row := range map[string]struct {
		policy   cloudtest.MachineIDPolicy
		status   int
		agents   int
		sameID   bool
		wantName string
	}{
		"conflict": {cloudtest.MachineIDConflict, 409, 1, false, "web"},
		"upsert":   {cloudtest.MachineIDUpsert, 201, 1, true, "db"},
		"double":   {cloudtest.MachineIDDouble, 201, 2, false, "web"},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
			s := cloudtest.New(cloudtest.Settings{UniqueMachineIDs: row.policy, Now: func() time.Time { return now }})
			token, other := s.AddProject(projectA), s.AddProject(projectB)
			first := register(t, s, token, "machine-1")
			now = now.Add(time.Hour)
			again := strings.Replace(body("machine-1"), "web", "db", 1)
			w := ask(t, s, "POST", "/v1/agents", "X-Project-Token", token.Reveal(), again)
			if w.Code != row.status {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			agents := s.Agents(projectA)
			if len(agents) != row.agents || agents[0].Name != row.wantName {
				t.Errorf("agents are %v", agents)
			}
			var made cloud.Registered
			if err := json.Unmarshal(w.Body.Bytes(), &made); err == nil && row.sameID {
				want := cloud.Registered{ID: first.ID, Token: first.Token, Name: "db", CreatedAt: first.CreatedAt, EnvironmentName: "default"}
				if diff := cmp.Diff(want, made); diff != "" {
					t.Errorf("response (-want +got):\n%s", diff)
				}
			}
			register(t, s, other, "machine-1") // unique within a project only
			s.Remove(first.ID)
			if row.policy == cloudtest.MachineIDConflict {
				register(t, s, token, "machine-1")
			}
		})
	}
}

func TestARealFluentBit(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	s := cloudtest.New(cloudtest.Settings{OnlyAgentPatches: true, Now: func() time.Time { return now }})
	token := s.AddProject(projectA)
	// It sends no flags, but its platform.
	first := strings.Replace(body("machine-1"), `"flags":null`, `"os":"linux","arch":"x86_64"`, 1)
	w := ask(t, s, "POST", "/v1/agents", "X-Project-Token", token.Reveal(), first)
	var made cloud.Registered
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != 201 {
		t.Fatalf("registration: %d %s", w.Code, w.Body)
	}
	secret := made.Token.Reveal()
	// With its session it sends the whole registration again as an update.
	again := strings.NewReplacer("web", "pod-1", "machine-1", "machine-9", "fluentbit", "fluentd").Replace(first)
	if w := ask(t, s, "PATCH", "/v1/agents/"+made.ID, "X-Agent-Token", secret, again); w.Code != 204 {
		t.Fatalf("update: %d %s", w.Code, w.Body)
	}
	firstAt := now
	for range 2 {
		w := ask(t, s, "POST", "/v1/agents/"+made.ID+"/metrics", "X-Agent-Token", secret, "\x80")
		if w.Code != 201 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("metrics: %d %s", w.Code, w.Body)
		}
		now = now.Add(time.Minute)
	}
	lastAt := firstAt.Add(time.Minute)
	want := cloud.Agent{
		ID: made.ID, Token: made.Token, Name: "pod-1", MachineID: "machine-1", Type: "fluentbit", Version: "v4.0.0",
		Edition: "community", RawConfig: "[INPUT]", Status: "healthy", OS: "linux", Arch: "x86_64", EnvironmentName: "default",
		MetricsCount: 2, FirstMetricsAddedAt: &firstAt, LastMetricsAddedAt: &lastAt, CreatedAt: firstAt, UpdatedAt: firstAt,
	}
	got, _ := s.Agent(made.ID)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("agent (-want +got):\n%s", diff)
	}
	s.Remove(made.ID)
	if w := ask(t, s, "POST", "/v1/agents/"+made.ID+"/metrics", "X-Agent-Token", secret, "\x80"); w.Code != 401 {
		t.Errorf("after its deletion: %d %s", w.Code, w.Body)
	}
}

func TestEnvironmentsAndSchemes(t *testing.T) {
	s := cloudtest.New(cloudtest.Settings{
		Environments: map[string]string{"env-2": "staging", "env-1": "production"},
		Schemes:      []cloud.Scheme{cloud.SchemeProjectToken},
	})
	s.AddToken(projectA, "plain-token")
	path := "/v1/projects/" + projectA + "/environments"
	if w := ask(t, s, "GET", path, "Authorization", "Bearer plain-token", ""); w.Code != 401 {
		t.Errorf("a scheme that is not accepted: %d", w.Code)
	}
	var names []string
	var found []struct{ ID, Name string }
	w := ask(t, s, "GET", path, "X-Project-Token", "plain-token", "")
	if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	for _, environment := range found {
		names = append(names, environment.ID+" "+environment.Name)
	}
	if diff := cmp.Diff([]string{"env-1 production", "env-2 staging"}, names); diff != "" {
		t.Errorf("environments (-want +got):\n%s", diff)
	}
	w = ask(t, s, "GET", path+"?name=staging", "X-Project-Token", "plain-token", "")
	if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil || len(found) != 1 || found[0].ID != "env-2" {
		t.Errorf("by name: %s", w.Body)
	}
}

func TestSomebodyElse(t *testing.T) {
	s := cloudtest.New(cloudtest.Settings{})
	token := s.AddProject(projectA)
	agent := register(t, s, token, "machine-1")
	copied := s.Agents(projectA)[0]
	s.Mutate(agent.ID, func(a *cloud.Agent) {
		a.ID, a.MachineID, a.Token, a.FleetID = "other", "machine-2", cloud.NewToken("other-token"), new(fleetID)
	})
	got, ok := s.Agent(agent.ID)
	if !ok || got.MachineID != "machine-2" || copied.MachineID != "machine-1" {
		t.Errorf("the agent is %v", got)
	}
	if w := ask(t, s, "GET", "/v1/agents/"+agent.ID, "X-Agent-Token", "other-token", ""); w.Code != 200 {
		t.Errorf("the new token: %d", w.Code)
	}
	register(t, s, token, "machine-1")
	if w := ask(t, s, "POST", "/v1/agents", "X-Project-Token", token.Reveal(), body("machine-2")); w.Code != 409 {
		t.Errorf("the new machine ID: %d", w.Code)
	}
	s.Mutate(unknown, func(*cloud.Agent) { t.Error("an unknown agent is changed") })
	s.Remove(unknown)
}

func TestListsOfThousands(t *testing.T) {
	s := cloudtest.New(cloudtest.Settings{})
	token := s.AddProject(projectA)
	const count = 3000
	for i := range count {
		register(t, s, token, "machine-"+time.Duration(i).String())
	}
	path, pages, seen := "/v1/projects/"+projectA+"/agents", 0, map[string]bool{}
	for path != "" {
		w := ask(t, s, "GET", path, "X-Project-Token", token.Reveal(), "")
		var agents []cloud.Agent
		raw, _ := io.ReadAll(w.Body)
		if err := json.Unmarshal(raw, &agents); err != nil {
			t.Fatal(err)
		}
		for _, agent := range agents {
			seen[agent.ID] = true
		}
		pages++
		path, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
	}
	if len(seen) != count || pages != 30 {
		t.Errorf("%d agents on %d pages", len(seen), pages)
	}
}
