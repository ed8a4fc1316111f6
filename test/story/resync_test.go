/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// fleet is a number of Agents that are synced again and again.
type fleet struct {
	*harness.World
	names []string
	round int
}

func newFleet(t *testing.T, settings cloudtest.Settings, size int) *fleet {
	t.Helper()
	f := &fleet{World: harness.New(t, settings)}
	for i := range size {
		f.names = append(f.names, f.Apply(fmt.Sprintf("web-%d", i), func(a *v1alpha1.Agent) {
			a.Spec.Flags, a.Spec.Metadata = []string{"--verbose"}, &apiextensionsv1.JSON{Raw: []byte(`{"team":"shop","n":1.0}`)}
		}))
	}
	for _, name := range f.names {
		f.Ready(name)
	}
	return f
}

// remote is the remote agent of an Agent.
func (f *fleet) remote(name string) cloud.Agent {
	f.Helper()
	remote, found := f.Cloud.Agent(f.Get(name).Status.ID)
	if !found {
		f.Fatalf("%s has no remote agent", name)
	}
	return remote
}

// touch advances the clock by an interval and triggers a sync of each Agent.
func (f *fleet) touch() {
	f.Helper()
	f.Cloud.ResetRequests()
	f.API.Reset()
	f.Clock.Step(12 * time.Minute)
	f.round++
	for _, name := range f.names {
		// Not a requested sync: that would read each agent individually.
		f.Change(name, func(a *v1alpha1.Agent) {
			metav1.SetMetaDataAnnotation(&a.ObjectMeta, "example.com/round", fmt.Sprint(f.round))
		})
	}
}

// pass does so too, and waits until exactly these requests reached Calyptia Cloud.
func (f *fleet) pass(want map[string]int) {
	f.Helper()
	f.touch()
	f.Eventually("the sync of all", func() error {
		got := map[string]int{}
		for _, r := range f.Cloud.Requests() {
			if r.Route == cloudtest.RouteList && r.Query == "last=1" {
				continue // The credential check has its own interval.
			}
			got[r.Method+" "+string(r.Route)]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%v reached Calyptia Cloud, want %v", got, want)
		}
		return nil
	})
}

const (
	pages  = http.MethodGet + " " + string(cloudtest.RouteList)
	reads  = http.MethodGet + " " + string(cloudtest.RouteAgent)
	posts  = http.MethodPost + " " + string(cloudtest.RouteAgents)
	fixing = http.MethodPatch + " " + string(cloudtest.RouteAgent)
)

// Where Calyptia Cloud lists its agents, a resync reads its pages, and only those single agents that have drifted.
func TestResyncThroughTheList(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cloudtest.Settings{PageSize: 5}, 12)
	f.pass(map[string]int{pages: 3}) // The first sync reads what the response to the registration did not have.
	f.Eventually("the first sync", func() error {
		for _, name := range f.names {
			if f.Get(name).Status.Agent.Status == "" {
				return errors.New(name)
			}
		}
		return nil
	})
	f.pass(map[string]int{pages: 3})
	writes, _ := f.API.Writes()
	for _, write := range writes {
		if !strings.Contains(write.Path, "/cloudprojects/") {
			t.Errorf("looking writes: %+v", write)
		}
	}

	f.Cloud.Mutate(f.remote("web-3").ID, func(a *cloud.Agent) { a.RawConfig = "# meddled with" })
	f.pass(map[string]int{pages: 3, reads: 2, fixing: 1})
	f.Cloud.Mutate(f.remote("web-4").ID, func(a *cloud.Agent) { a.Metadata = []byte(`{"team":"other"}`) })
	f.pass(map[string]int{pages: 3, reads: 2, fixing: 1})
	f.Cloud.Mutate(f.remote("web-5").ID, func(a *cloud.Agent) { a.Flags = nil })
	f.pass(map[string]int{pages: 3, reads: 2, fixing: 1})
	// The same value in another notation is not drift.
	f.Cloud.Mutate(f.remote("web-6").ID, func(a *cloud.Agent) { a.Metadata = []byte(`{"n": 1, "team": "shop"}`) })
	f.pass(map[string]int{pages: 3})

	// An agent counts as not found after two reads, and is registered again after a list that this process began.
	f.Cloud.Remove(f.remote("web-7").ID)
	f.pass(map[string]int{pages: 3, reads: 2, posts: 1})
	f.Ready("web-7")
}

// A new process knows from the status that the Secrets are unchanged, so it reads no single agent.
func TestAStartReadsNoSingleAgent(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cloudtest.Settings{}, 6)
	f.pass(map[string]int{pages: 1})
	f.Stop()
	f.Cloud.ResetRequests()
	f.Start()
	lists := 0
	f.Eventually("three syncs of all", func() error {
		for _, r := range f.Cloud.Requests() {
			switch {
			case r.Route == cloudtest.RouteAgent:
				f.Fatalf("%s of a single agent", r.Method)
			case r.Query != "last=1":
				lists++
			}
		}
		if f.touch(); lists < 3 {
			return fmt.Errorf("%d so far", lists)
		}
		return nil
	})
}

// The health of an agent reaches the status through the list, too.
func TestHealthIsReadFromTheList(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cloudtest.Settings{}, 2)
	f.pass(map[string]int{pages: 1})
	now := time.Now()
	f.Cloud.Mutate(f.remote("web-0").ID, func(a *cloud.Agent) {
		a.Status, a.OS, a.FirstMetricsAddedAt, a.LastMetricsAddedAt, a.MetricsCount = "healthy", "linux", &now, &now, 7
	})
	f.pass(map[string]int{pages: 1})
	f.Eventually("the status", func() error {
		a := f.Get("web-0")
		remote := a.Status.Agent
		if harness.Condition(a, v1alpha1.ConditionReporting).Status != "True" ||
			remote.Status != "healthy" || remote.OS != "linux" || remote.MetricsCount != 7 {
			return errors.New(harness.Describe(a) + fmt.Sprintf("%+v", remote))
		}
		return nil
	})
}

// If Calyptia Cloud lists nothing, or the list fails, each agent is read.
func TestResyncWithoutAList(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cloudtest.Settings{NoList: true}, 3)
	f.pass(map[string]int{reads: 3})

	f = newFleet(t, cloudtest.Settings{}, 3)
	f.pass(map[string]int{pages: 1})
	defer f.Cloud.Inject(cloudtest.Fault{
		Route: cloudtest.RouteList, Match: func(r *http.Request) bool { return r.URL.Query().Get("last") == "100" },
		Status: http.StatusInternalServerError, Body: `{"error":"no list today"}`,
		Header: http.Header{"Content-Type": {"application/json"}},
	})()
	f.touch()
	f.Eventually("each is read", func() error {
		if got := f.Cloud.Count(http.MethodGet, cloudtest.RouteAgent); got < 3 {
			return fmt.Errorf("%d reads", got)
		}
		return nil
	})
	for _, name := range f.names {
		f.Ready(name)
	}
}

// Lists have no tokens: an Agent whose token is lost stays Stalled.
func TestAMissingTokenStaysStalledAfterAList(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cloudtest.Settings{MaskTokens: true}, 1)
	if err := f.Client.Delete(t.Context(), f.Secret("web-0-token")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.Stalled("web-0", v1alpha1.ReasonTokenUnavailable, "web-0-token")
		f.Check("web-0")
		f.touch()
		f.Eventually("the sync", func() error {
			if f.Cloud.Count(http.MethodGet, cloudtest.RouteList) == 0 {
				return errors.New("not yet")
			}
			return nil
		})
		// The pass that waited for the list resumes after a second; its end cannot be observed.
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); <-time.After(100 * time.Millisecond) {
			if a := f.Get("web-0"); harness.Condition(a, v1alpha1.ConditionStalled).Status != metav1.ConditionTrue {
				t.Fatalf("after a read of the list: %s", harness.Describe(a))
			}
		}
	}
}

// A duplicate from a lost response is found by the resync.
func TestADuplicateIsFoundThroughTheList(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, 1)
	f.pass(map[string]int{pages: 1})
	own := f.remote("web-0")
	duplicate := f.Register("web-0", own.MachineID)
	f.touch()
	f.Eventually("the duplicate is deleted", func() error {
		if remotes := f.World.Remote(); len(remotes) != 1 || remotes[0].ID != own.ID {
			return fmt.Errorf("%d remote agents, the duplicate is %s", len(remotes), duplicate.ID)
		}
		return nil
	})
}

// A failed correction is retried before the next periodic sync, and an older list does not hide the drift.
func TestAFailedCorrectionIsRetried(t *testing.T) {
	for name, row := range map[string]struct {
		settings cloudtest.Settings
		first    string
		trigger  func(*fleet)
	}{
		"read individually":   {cloudtest.Settings{NoList: true}, reads, (*fleet).touch},
		"read for its Secret": {cloudtest.Settings{}, pages, (*fleet).spoil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, row.settings, 1)
			f.pass(map[string]int{row.first: 1})
			f.Cloud.Mutate(f.remote("web-0").ID, func(a *cloud.Agent) { a.Flags = nil })
			f.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Route: cloudtest.RouteAgent, Status: http.StatusBadGateway, Times: 1})
			row.trigger(f)
			f.Eventually("the flags are corrected", func() error {
				if len(f.remote("web-0").Flags) != 1 {
					return errors.New("they are not")
				}
				return nil
			})
		})
	}
}

// spoil edits the token Secret.
func (f *fleet) spoil() {
	f.Helper()
	secret := f.Secret("web-0-token")
	secret.Data[v1alpha1.TokenKey] = []byte("spoilt-spoilt-spoilt-spoilt")
	if err := f.Client.Update(context.Background(), secret); err != nil {
		f.Fatal(err)
	}
}

// A few of many agents were deleted at once: that does not trip the mass-deletion safeguard.
func TestSomeThatAreMissingFromTheListAreRegisteredAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cloudtest.Settings{}, 30)
	f.pass(map[string]int{pages: 1})
	before := map[string]string{}
	for _, name := range f.names[:12] {
		before[name] = f.remote(name).ID
		f.Cloud.Remove(before[name])
	}
	f.touch()
	f.Eventually("they are registered again", func() error {
		for name, id := range before {
			if a := f.Get(name); a.Status.ID == id || a.Status.ID == "" {
				return errors.New(harness.Describe(a))
			}
		}
		return nil
	})
	if n := len(f.World.Remote()); n != 30 {
		t.Errorf("%d remote agents", n)
	}
}

// Changes of a Secret while no operator runs are found by the first sync.
func TestASecretEditedDuringADowntimeIsRepaired(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cloudtest.Settings{}, 1)
	f.pass(map[string]int{pages: 1})
	f.Stop()
	f.spoil()
	f.Start()
	f.touch()
	f.Eventually("the token is the remote agent's", func() error {
		f.touch()
		if !f.remote("web-0").Token.Equal(cloud.NewToken(string(f.Secret("web-0-token").Data[v1alpha1.TokenKey]))) {
			return errors.New("it is not")
		}
		return nil
	})
}

// Suspending and resuming does not bring back a lost token.
func TestAMissingTokenStaysStalledAfterASuspension(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cloudtest.Settings{MaskTokens: true}, 1)
	if err := f.Client.Delete(t.Context(), f.Secret("web-0-token")); err != nil {
		t.Fatal(err)
	}
	f.Stalled("web-0", v1alpha1.ReasonTokenUnavailable)
	f.Change("web-0", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	f.Becomes("web-0", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	f.Change("web-0", func(a *v1alpha1.Agent) { a.Spec.Suspend = false })
	f.Stalled("web-0", v1alpha1.ReasonTokenUnavailable, "web-0-token")
}
