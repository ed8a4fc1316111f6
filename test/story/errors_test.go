/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func failure(status int, message string) cloudtest.Fault {
	body, err := json.Marshal(map[string]string{"error": message})
	if err != nil {
		panic(err)
	}
	return cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: status,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: string(body),
	}
}

// Terminal: Stalled, with the field and the remedy; nothing registered, one event, no automatic retry.
func TestTerminalErrors(t *testing.T) {
	rows := []struct {
		name     string
		settings cloudtest.Settings
		fault    *cloudtest.Fault
		change   func(*v1alpha1.Agent)
		reason   string
		words    []string
	}{
		{name: "400", fault: new(failure(400, "invalid agent name")), reason: v1alpha1.ReasonInvalid, words: []string{"400", "invalid agent name", "spec.name"}},
		{name: "422", fault: new(failure(422, "unsupported agent version")), reason: v1alpha1.ReasonInvalid, words: []string{"422", "spec.version"}},
		{name: "422 of the configuration", fault: new(failure(422, "invalid agent raw config")), reason: v1alpha1.ReasonInvalid, words: []string{"spec.rawConfig"}},
		{name: "422 of the machine ID", fault: new(failure(422, "invalid machine ID")), reason: v1alpha1.ReasonInvalid, words: []string{"spec.machineID"}},
		{name: "fleet not found", settings: cloudtest.Settings{Fleets: map[string]string{"11111111-1111-4111-8111-111111111111": "f"}},
			change: func(a *v1alpha1.Agent) {
				a.Spec.Fleet = &v1alpha1.FleetReference{ID: "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"}
			},
			reason: v1alpha1.ReasonInvalid, words: []string{"fleet not found", "spec.fleet"}},
		{name: "environment not found", settings: cloudtest.Settings{Environments: map[string]string{"prod": "production"}},
			change: func(a *v1alpha1.Agent) { a.Spec.Environment = &v1alpha1.EnvironmentReference{ID: "dev"} },
			reason: v1alpha1.ReasonInvalid, words: []string{"environment not found", "spec.environment"}},
		{name: "permission denied", fault: new(failure(403, "permission denied")), reason: v1alpha1.ReasonForbidden, words: []string{"project token"}},
		{name: "quota exceeded", settings: cloudtest.Settings{Quota: 1}, reason: v1alpha1.ReasonQuotaExceeded, words: []string{"limit 1", "quota"}},
		{name: "machine ID taken", reason: v1alpha1.ReasonMachineIDConflict,
			change: func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-0" }, words: []string{"machine-0", "spec.agentID"}},
		{name: "machine ID taken, and nothing is listed", settings: cloudtest.Settings{NoList: true}, reason: v1alpha1.ReasonMachineIDConflict,
			change: func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-0" }, words: []string{"machine-0", "spec.agentID"}},
		{name: "foreign Secret", reason: v1alpha1.ReasonSecretConflict,
			change: func(a *v1alpha1.Agent) {
				a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "calyptia-token"}
			},
			words: []string{"calyptia-token", "spec.tokenSecretRef"}},
		{name: "no project", change: func(a *v1alpha1.Agent) { a.Spec.ProjectRef = nil }, reason: v1alpha1.ReasonNoProject, words: []string{"spec.projectRef"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings)
			w.Register("other", "machine-0")
			if row.fault != nil {
				w.Cloud.Inject(*row.fault)
			}
			w.Cloud.ResetRequests()
			w.Apply("web", func(a *v1alpha1.Agent) {
				metav1.SetMetaDataAnnotation(&a.ObjectMeta, corev1.LastAppliedConfigAnnotation, "{}")
				if row.change != nil {
					row.change(a)
				}
			})
			a := w.Stalled("web", row.reason, row.words...)
			if a.Status.ID != "" || len(w.Remote()) != 1 {
				t.Errorf("something was registered: %q, %d agents", a.Status.ID, len(w.Remote()))
			}
			if a.Annotations[v1alpha1.AnnotationRegistrationIntent] != a.Status.RegistrationIntent {
				t.Error("a registration that made nothing is still open")
			}
			if a.Annotations[corev1.LastAppliedConfigAnnotation] != "{}" {
				t.Errorf("annotations of others are gone: %v", a.Annotations)
			}
			if got := w.Events("web", 1); !slices.Equal(got, []string{row.reason}) {
				t.Errorf("events: %v", got)
			}
			// Meanwhile another Agent is created and deleted: enough time for a second attempt, which must not happen.
			posts := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents)
			w.Apply("passer-by", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "missing" })
			w.NotReady("passer-by", v1alpha1.ReasonProjectNotFound)
			if posts > 1 || w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents) != posts {
				t.Errorf("%d POSTs, want at most one", w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents))
			}
			w.Delete("web")
			w.Gone("web")
		})
	}
}

func TestTerminalErrorEndsWithTheCorrection(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	remove := w.Cloud.Inject(failure(422, "unsupported agent version"))
	w.Apply("web")
	w.Stalled("web", v1alpha1.ReasonInvalid)
	remove()
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.0.1" })
	a := w.Ready("web")
	if c := harness.Condition(a, v1alpha1.ConditionStalled); c.Status == "True" {
		t.Errorf("still stalled: %s", c.Message)
	}
	w.One("web")
}

// Retryable: retried automatically, with a reason in the meantime; exactly one agent in the end.
func TestRetryableErrors(t *testing.T) {
	post := cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 2}
	with := func(change func(*cloudtest.Fault)) cloudtest.Fault {
		f := post
		change(&f)
		return f
	}
	rows := []struct {
		name  string
		fault cloudtest.Fault
	}{
		{"500", with(func(f *cloudtest.Fault) { f.Status, f.Body = 500, `{"error":"internal"}` })},
		{"500 after it took effect", with(func(f *cloudtest.Fault) { f.Status, f.Body, f.After, f.Times = 500, `{"error":"internal"}`, true, 1 })},
		{"502 with HTML", with(func(f *cloudtest.Fault) { f.Status, f.Body = 502, "<html>Bad Gateway</html>" })},
		{"200 with HTML", with(func(f *cloudtest.Fault) { f.Status, f.Body = 200, "<html>Welcome</html>" })},
		{"connection cut before", with(func(f *cloudtest.Fault) { f.Cut = cloudtest.CutBefore })},
		{"connection cut after it took effect", with(func(f *cloudtest.Fault) { f.Cut, f.Times = cloudtest.CutAfter, 1 })},
		{"response cut short", with(func(f *cloudtest.Fault) { f.Truncate, f.Times = 10, 1 })},
		{"timeout", with(func(f *cloudtest.Fault) { f.Latency, f.Times = time.Minute, 1 })},
		{"408", with(func(f *cloudtest.Fault) { f.Status, f.Body = 408, `{"error":"timeout"}` })},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			w.CloudTimeout = time.Second
			w.Cloud.Inject(row.fault)
			w.Apply("web")
			w.Ready("web")
			w.One("web")
		})
	}
}

func TestRetryAfterIsObserved(t *testing.T) {
	for _, status := range []int{429, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			w.Ready(w.Apply("first"))
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Times: 1, Status: status, Body: `{"error":"slow down"}`, Header: http.Header{"Retry-After": {"2"}},
			})
			w.Cloud.ResetRequests()
			w.Apply("web")
			w.Ready("web")
			w.Apply("next")
			w.Ready("next")
			calls := w.Cloud.Requests()
			refused := slices.IndexFunc(calls, func(c cloudtest.Request) bool { return c.Method == http.MethodPost })
			if gap := calls[refused+1].Time.Sub(calls[refused].Time); gap < 2*time.Second {
				t.Errorf("the next call came after %v, want at least 2s", gap)
			}
		})
	}
}

func TestOutageSetsNothingOnAnAppliedAgentUntilItLasts(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.Settings.OutageGrace = 3 * time.Second
	})
	before := w.Ready(w.Apply("web"))
	w.Cloud.Inject(cloudtest.Fault{Status: 502, Body: "<html>"})
	w.Poke("web")
	began := time.Now()
	after := w.NotReady("web", v1alpha1.ReasonUnavailable, "502")
	if early := time.Since(began); early < 2*time.Second {
		t.Errorf("reported after only %v", early)
	}
	if after.Status.ID != before.Status.ID {
		t.Error("the outage cost the ID")
	}
	if c := harness.Condition(after, v1alpha1.ConditionReconciling); c.Status == "True" {
		t.Error("an applied Agent is Reconciling")
	}
}

func TestRefusedTokenStopsEverythingUntilAValidOne(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Cloud.RevokeToken(w.Token)
	w.Cloud.ResetRequests()
	began := time.Now()
	var names []string
	for i := range 20 {
		names = append(names, w.Apply(fmt.Sprintf("web-%d", i)))
	}
	for _, name := range names {
		w.NotReady(name, v1alpha1.ReasonProjectNotReady)
	}
	// One for each worker at most, besides a credential check each second.
	lists := w.Cloud.Count(http.MethodGet, cloudtest.RouteList)
	if n := len(w.Cloud.Requests()) - lists; n > harness.Workers {
		t.Errorf("one bad token cost %d calls for 20 Agents", n)
	}
	if most := 7 + int(2*time.Since(began).Seconds()); lists > most {
		t.Errorf("the credentials were checked %d times, want at most %d", lists, most)
	}
	w.Cloud.AddToken(w.ProjectID, "renewed-project-token")
	w.SetSecret("calyptia-token", map[string]string{"token": "renewed-project-token"})
	for _, name := range names {
		w.Ready(name)
	}
	if n := len(w.Remote()); n != len(names) {
		t.Errorf("%d remote agents for %d Agents", n, len(names))
	}
}

func TestPatchAsTheAgentWhereRequired(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{OnlyAgentPatches: true})
	w.Ready(w.Apply("web"))
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
	w.Ready("web")
	if remote := w.One("web"); remote.Version != "v4.1.0" {
		t.Errorf("remote version %s", remote.Version)
	}
	w.Cloud.ResetRequests()
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.2.0" })
	w.Ready("web")
	if n := w.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent); n != 1 {
		t.Errorf("%d PATCHes, want one: the refusal is remembered", n)
	}
}

// Updates that only the agent may make need its token. If that is missing, only this Agent is affected.
func TestAnAgentWithoutATokenDoesNotAffectItsCloudProject(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]string{"none": "", "one with a line break": "an-agent\ntoken"} {
		t.Run(name, func(t *testing.T) {
			w := harness.New(t, cloudtest.Settings{OnlyAgentPatches: true, MaskTokens: true, MaskAs: "redacted"})
			w.Ready(w.Apply("other"))
			made := w.Register("web", "machine-1")
			w.Cloud.ResetRequests()
			w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.AgentID = made.ID })
			w.Stalled("web", v1alpha1.ReasonTokenUnavailable, "web-token")
			if token != "" {
				w.SetSecret("web-token", map[string]string{"id": made.ID, "token": token})
			}
			for _, name := range []string{"web", "other"} {
				w.Check(name)
			}
			w.Ready("other")
			w.Stalled("web", v1alpha1.ReasonTokenUnavailable, "web-token")
			if n := len(w.Cloud.Requests()); n > 20 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

func TestIgnoredFieldsAreSentTwiceAndReported(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	// The API accepts a version but does not persist it. The second update rules out that another writer changed it.
	keep := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Status: 204})
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
	w.Becomes("web", v1alpha1.ConditionFieldsIgnored, "True", v1alpha1.ReasonNotPersisted, "version")
	patches := w.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent)
	last := w.Get("web").Status.LastHandledReconcileAt
	w.Poke("web")
	w.Eventually("the poke is handled", func() error {
		if w.Get("web").Status.LastHandledReconcileAt == last {
			return errors.New("not yet")
		}
		return nil
	})
	if n := w.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent); n != patches || patches != 2 {
		t.Errorf("%d PATCHes, then %d, want two", patches, n)
	}
	keep()
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.2.0" })
	a := w.Ready("web")
	if remote, _ := w.Cloud.Agent(id); remote.Version != "v4.2.0" || len(a.Status.IgnoredFields) != 0 {
		t.Errorf("version %s, ignored fields %v", remote.Version, a.Status.IgnoredFields)
	}
}

func TestRemoteMessagesInConditionsAreBoundedAndHaveNoToken(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Cloud.Inject(failure(422, "invalid agent name\x1b[31m "+w.Token.Reveal()+strings.Repeat(" long", 1000)))
	w.Apply("web")
	a := w.Stalled("web", v1alpha1.ReasonInvalid, cloud.Redacted)
	for _, c := range a.Status.Conditions {
		if len(c.Message) > 1024 || strings.ContainsAny(c.Message, "\x1b") || strings.Contains(c.Message, w.Token.Reveal()) {
			t.Errorf("the message is %q", c.Message)
		}
	}
}
