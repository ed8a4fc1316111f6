/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package gitops_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

const (
	refused = `{"error":"unsupported agent version"}`
	broken  = `{"error":"database is down"}`
)

func version(v string) func(*v1alpha1.Agent) { return func(a *v1alpha1.Agent) { a.Spec.Version = v } }

func suspend(yes bool) func(*v1alpha1.Agent) { return func(a *v1alpha1.Agent) { a.Spec.Suspend = yes } }

func TestToolsFollowTheLifeOfAnAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	o := observe(t, w)
	w.Apply("web")
	o.becomes("Agent web", "1 InProgress Progressing")
	w.Start()
	o.becomes("Agent web", "1 Current Healthy")

	w.Change("web", version("v4.0.2"))
	o.becomes("Agent web", "2 Current Healthy")

	correct := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Status: http.StatusUnprocessableEntity, Body: refused})
	w.Change("web", version("v4.0.3"))
	o.becomes("Agent web", "3 Failed Degraded")
	correct()
	w.Change("web", version("v4.0.4"))
	o.becomes("Agent web", "4 Current Healthy")

	up := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Status: http.StatusInternalServerError, Body: broken})
	w.Change("web", version("v4.0.5"))
	w.NotReady("web", v1alpha1.ReasonUnavailable)
	o.becomes("Agent web", "5 InProgress Progressing")
	up()
	o.becomes("Agent web", "5 Current Healthy")

	w.Change("web", suspend(true))
	o.becomes("Agent web", "6 Current Healthy")
	w.Change("web", version("v4.0.7"))
	o.becomes("Agent web", "7 InProgress Suspended")
	w.Change("web", suspend(false))
	o.becomes("Agent web", "8 Current Healthy")

	came, goes := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Times: 1, Entered: came, Block: goes})
	w.Delete("web")
	<-came
	o.becomes("Agent web", "9 Terminating Progressing")
	close(goes)
	w.Gone("web")

	want := []string{
		"1 InProgress Progressing", "1 Current Healthy",
		"2 InProgress Progressing", "2 Current Healthy",
		"3 InProgress Progressing", "3 Failed Degraded",
		"4 InProgress Progressing", "4 Current Healthy",
		"5 InProgress Progressing", "5 Current Healthy",
		"6 InProgress Progressing", "6 Current Healthy",
		"7 InProgress Progressing", "7 InProgress Suspended",
		"8 InProgress Progressing", "8 Current Healthy",
		"9 Terminating Progressing",
	}
	if diff := cmp.Diff(want, o.story("Agent web")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAgentsThatCannotBeRegisteredYet(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{Quota: 1})
	o := observe(t, w)
	w.Apply("first")
	o.becomes("Agent first", "1 Current Healthy")
	for _, row := range []struct {
		name, reason, want string
		change             func(*v1alpha1.Agent)
	}{
		{"quota", v1alpha1.ReasonQuotaExceeded, "1 Failed Degraded", func(*v1alpha1.Agent) {}},
		{"no-project", v1alpha1.ReasonNoProject, "1 Failed Degraded", func(a *v1alpha1.Agent) { a.Spec.ProjectRef = nil }},
		{"other-project", v1alpha1.ReasonProjectNotFound, "1 InProgress Progressing", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "other" }},
		{"no-source", v1alpha1.ReasonSourceNotFound, "1 InProgress Progressing", func(a *v1alpha1.Agent) {
			a.Spec.RawConfig = ""
			a.Spec.RawConfigFrom = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "none", Key: "a"}}
		}},
		{"no-fleet", v1alpha1.ReasonNameNotFound, "1 InProgress Progressing", func(a *v1alpha1.Agent) {
			a.Spec.Fleet = &v1alpha1.FleetReference{Name: "none"}
		}},
		{"no-such-agent", v1alpha1.ReasonRemoteNotFound, "1 Failed Degraded", func(a *v1alpha1.Agent) {
			a.Spec.AgentID = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
		}},
		{"suspended", v1alpha1.ReasonSuspended, "1 InProgress Suspended", suspend(true)},
	} {
		w.Apply(row.name, row.change)
		w.NotReady(row.name, row.reason)
		o.becomes("Agent "+row.name, row.want)
	}
}

func TestToolsFollowTheLifeOfACloudProject(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	o := observe(t, w)
	o.becomes("CloudProject calyptia", "1 InProgress Progressing")
	w.Start()
	o.becomes("CloudProject calyptia", "1 Current Healthy")
	w.Ready(w.Apply("web"))

	// The token is revoked, which the next change of an Agent detects.
	w.Cloud.RevokeToken(w.Token)
	w.Change("web", version("v4.0.2"))
	o.becomes("CloudProject calyptia", "1 Failed Degraded")
	o.becomes("Agent web", "2 InProgress Progressing")
	w.SetSecret("calyptia-token", map[string]string{v1alpha1.TokenKey: w.Cloud.AddProject(w.ProjectID).Reveal()})
	o.becomes("CloudProject calyptia", "1 Current Healthy")
	o.becomes("Agent web", "2 Current Healthy")

	// Without a response after a change of the spec, the credentials stay unverified.
	up := w.Cloud.Inject(cloudtest.Fault{Status: http.StatusInternalServerError, Body: broken})
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.Authentication = v1alpha1.AuthenticationBearer })
	o.becomes("CloudProject calyptia", "2 InProgress Progressing")
	up()
	o.becomes("CloudProject calyptia", "2 Current Healthy")

	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = "https://elsewhere.example" })
	o.becomes("CloudProject calyptia", "3 Failed Degraded")
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = w.HTTP.URL })
	o.becomes("CloudProject calyptia", "4 Current Healthy")

	// It waits for its Agents.
	if err := w.Client.Delete(context.Background(), w.NewCloudProject("calyptia")); err != nil {
		t.Fatal(err)
	}
	o.becomes("CloudProject calyptia", "5 Terminating Progressing")
	w.Delete("web")
	w.Gone("web")

	want := []string{
		"1 InProgress Progressing", "1 Current Healthy", "1 Failed Degraded", "1 Current Healthy",
		"2 InProgress Progressing", "2 Current Healthy",
		"3 InProgress Progressing", "3 Failed Degraded",
		"4 InProgress Progressing", "4 Current Healthy",
		"5 Terminating Progressing",
	}
	if diff := cmp.Diff(want, o.story("CloudProject calyptia")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// kubectl runs the real kubectl in the World's namespace.
func kubectl(t *testing.T, w *harness.World, args ...string) (string, error) {
	t.Helper()
	out, err := harness.Plane().Kubectl(t.Context(), append([]string{"-n", w.Namespace}, args...)...).CombinedOutput()
	return string(out), err
}

func TestKubectlWait(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	w.Apply("web")
	const ready, patience = "--for=condition=Ready", "--timeout=45s"
	// No operator runs: neither kind may count as ready.
	for _, name := range []string{"agent/web", "cloudproject/calyptia"} {
		if out, err := kubectl(t, w, "wait", name, ready, "--timeout=1s"); err == nil || !strings.Contains(out, "timed out") {
			t.Errorf("%s without an operator: %v %s", name, err, out)
		}
	}
	w.Start()
	if out, err := kubectl(t, w, "wait", "agent/web", "cloudproject/calyptia", ready, patience); err != nil {
		t.Fatal(err, out)
	}
	w.One("web")

	// Ready of an older generation does not count.
	w.Stop()
	w.Change("web", version("v4.0.2"))
	if out, err := kubectl(t, w, "wait", "agent/web", ready, "--timeout=1s"); err == nil || !strings.Contains(out, "timed out") {
		t.Errorf("a change that nobody has seen: %v %s", err, out)
	}
	w.Start()
	if out, err := kubectl(t, w, "wait", "agent/web", ready, patience); err != nil {
		t.Fatal(err, out)
	}
	if remote := w.One("web"); remote.Version != "v4.0.2" {
		t.Errorf("Calyptia Cloud has version %s", remote.Version)
	}
	if out, err := kubectl(t, w, "delete", "agent/web", "--wait=false"); err != nil {
		t.Fatal(err, out)
	}
	if out, err := kubectl(t, w, "wait", "agent/web", "--for=delete", patience); err != nil {
		t.Fatal(err, out)
	}
	if left := w.Remote(); len(left) != 0 {
		t.Errorf("Calyptia Cloud still has %d agents", len(left))
	}
}
