/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A gateway serves the API under a path. The operator can use that, but Fluent Bit cannot: it would send everything to the
// root of the host and never report.
func TestASessionThatCouldNeverReport(t *testing.T) {
	t.Parallel()
	gateway := func(w *harness.World, cp *v1alpha1.CloudProject) {
		front := httptest.NewServer(http.StripPrefix("/calyptia", w.Cloud))
		w.Cleanup(front.Close)
		cp.Spec.URL = front.URL + "/calyptia"
	}
	w := harness.New(t, cloudtest.Settings{}, gateway)
	w.Ready(w.Apply("plain"))
	w.Apply("web", withSession(""))
	w.Stalled("web", v1alpha1.ReasonInvalid, "spec.sessionSecretRef", `"/calyptia"`, "remove sessionSecretRef")
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 1 {
		t.Errorf("%d registrations, want only that of the other Agent", n)
	}
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = nil })
	w.Ready("web")
	// Also for an agent that is already registered.
	w.Change("plain", withSession(""))
	w.Stalled("plain", v1alpha1.ReasonInvalid, "spec.sessionSecretRef")
	if w.Secret("plain-session") != nil {
		t.Error("there is a session that cannot report")
	}
	w.Delete("plain")
	w.Gone("plain")
}

// A CA cannot be part of the session: until metrics arrive, the condition says what Fluent Bit needs.
func TestASessionWithAPrivateCASaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
		server := httptest.NewTLSServer(w.Cloud)
		w.Cleanup(server.Close)
		w.ConfigMap("ca", "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
		cp.Spec.URL = server.URL
		cp.Spec.CABundle = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"}}
	})
	for name, change := range map[string]func(*v1alpha1.Agent){"web": withSession(""), "plain": func(*v1alpha1.Agent) {}} {
		w.Ready(w.Apply(name, change))
		w.Poke(name)
		w.Eventually("Reporting is known", func() error {
			reporting := harness.Condition(w.Get(name), v1alpha1.ConditionReporting)
			if reporting.Reason != v1alpha1.ReasonNeverReported || strings.Contains(reporting.Message, "caBundle") != (name == "web") {
				return fmt.Errorf("%s: %+v", name, reporting)
			}
			return nil
		})
	}
}

// The server behind spec.url chooses machine IDs and tokens. The condition of an Agent names any problem with them.
func TestAMachineIDOrATokenThatCannotBeStored(t *testing.T) {
	long := strings.Repeat("a", 3<<19)
	for _, row := range []struct {
		name, reason string
		change       func(*cloud.Agent)
	}{
		{"a machine ID that begins a section", v1alpha1.ReasonRemoteMismatch,
			func(a *cloud.Agent) { a.MachineID = "m\n[INPUT]\n    Name exec\n    Command id" }},
		{"a machine ID that a configuration cannot hold", v1alpha1.ReasonRemoteMismatch, func(a *cloud.Agent) { a.MachineID = "${SECRET}" }},
		{"a machine ID of 1.5 MiB", v1alpha1.ReasonRemoteMismatch, func(a *cloud.Agent) { a.MachineID = long }},
		{"a token of 1.5 MiB", v1alpha1.ReasonInvalidResponse, func(a *cloud.Agent) { a.Token = cloud.NewToken(long) }},
		{"a token of 200 KiB", v1alpha1.ReasonInvalidResponse, func(a *cloud.Agent) { a.Token = cloud.NewToken(long[:200<<10]) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			id := w.Register("legacy", "machine-1").ID
			w.Cloud.Mutate(id, row.change)
			w.Apply("web", func(a *v1alpha1.Agent) { adopting(id)(a); withSession("")(a) })
			a := w.Stalled("web", row.reason)
			if message := harness.Condition(a, v1alpha1.ConditionReady).Message; len(message) > 1000 || strings.ContainsAny(message, "\n") {
				t.Errorf("the message is %.300q", message)
			}
			if w.Secret("web-session") != nil {
				t.Error("there is a session")
			}
		})
	}
}

// Another leader may have registered the agent in the Secret, without completing the Secret.
func TestAnAgentThatYieldsCompletesTheSecretAtOnce(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(map[string]string)
	}{
		{"without the token", func(data map[string]string) { delete(data, v1alpha1.TokenKey) }},
		{"with another token", func(data map[string]string) { data[v1alpha1.TokenKey] = "another-token" }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			a := w.Ready(w.Apply("web", withSession("")))
			other := w.Register("web", a.Status.MachineID)
			s := w.Secret("web-token")
			data := map[string]string{v1alpha1.IDKey: other.ID, v1alpha1.TokenKey: string(s.Data[v1alpha1.TokenKey])}
			row.change(data)
			w.SetSecret("web-token", data)
			w.Eventually("the Agent yields", func() error {
				if a := w.Get("web"); a.Status.ID != other.ID {
					return fmt.Errorf("it has %s", a.Status.ID)
				}
				return nil
			})
			w.Ready("web")
			w.Eventually("the duplicate is deleted", func() error {
				if n := len(w.Remote()); n != 1 {
					return fmt.Errorf("%d remote agents", n)
				}
				return nil
			})
			w.One("web")
			if err := runs(w, "web-session"); err != nil {
				t.Error(err)
			}
			if reasons := w.Events("web", 1); strings.Contains(fmt.Sprint(reasons), v1alpha1.ReasonTokenUnavailable) {
				t.Errorf("events: %v", reasons)
			}
		})
	}
}
