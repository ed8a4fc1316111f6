/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	status "github.com/calyptia-agent-operator/operator/internal/testenv/kstatus"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// state is what a tool that waits for an Agent sees.
type state struct {
	Generation int64
	Status     status.Status
}

// onlooker sees every state of the Agents of a World, as Flux or Argo CD would, and reports a Current whose declared
// version did not reach the cloud.
type onlooker struct {
	*harness.World
	*record
}

type record struct {
	mu     sync.Mutex
	states map[string][]state // by name, without repetitions
	lossy  map[string]bool    // Agents whose requests may take effect without a response
	faults []string
}

// observe watches from now on, until the test ends.
func observe(t *testing.T, w *harness.World) *onlooker {
	t.Helper()
	c, err := client.NewWithWatch(harness.Plane().Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AgentList"))
	watching, err := c.Watch(ctx, list, client.InNamespace(w.Namespace))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	o := &onlooker{World: w, record: &record{states: map[string][]state{}, lossy: map[string]bool{}}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range watching.ResultChan() {
			o.see(event)
		}
	}()
	t.Cleanup(func() {
		cancel()
		watching.Stop()
		<-done
		for _, problem := range o.faults {
			t.Error(problem)
		}
	})
	return o
}

func (o *onlooker) see(event watch.Event) {
	object, ok := event.Object.(*unstructured.Unstructured)
	if !ok {
		return // The watch ends.
	}
	result, err := status.Compute(object)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.faults = append(o.faults, err.Error())
		return
	}
	name, now := object.GetName(), state{object.GetGeneration(), result.Status}
	if before := o.states[name]; len(before) == 0 || before[len(before)-1] != now {
		o.states[name] = append(before, now)
	}
	version, _, _ := unstructured.NestedString(object.Object, "spec", "version")
	if now.Status == status.CurrentStatus && !o.reached(version, o.lossy[name]) {
		o.faults = append(o.faults, fmt.Sprintf("%s is Current at generation %d, and the cloud never got version %s", name, now.Generation, version))
	}
}

// reached reports whether the fake cloud accepted a POST or PATCH with this version. A request in progress has no
// response, nor has one whose response is lost: the latter counts only for a lossy Agent.
func (o *onlooker) reached(version string, lossy bool) bool {
	return slices.ContainsFunc(o.Cloud.Requests(), func(r cloudtest.Request) bool {
		var body struct {
			Version string `json:"version"`
		}
		wrote := r.Method == http.MethodPost || r.Method == http.MethodPatch
		return wrote && (r.Status/100 == 2 || lossy && r.Status == 0) && json.Unmarshal(r.Body, &body) == nil && body.Version == version
	})
}

func (o *onlooker) seen(name string) []state {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.states[name])
}

// sees waits until the Agent's last state is this one.
func (o *onlooker) sees(name string, generation int64, want status.Status) {
	o.Helper()
	o.Eventually(fmt.Sprintf("%s is %s at generation %d", name, want, generation), func() error {
		all := o.seen(name)
		if len(all) == 0 || all[len(all)-1] != (state{generation, want}) {
			return fmt.Errorf("it went through %v; conditions: %s", all, harness.Describe(o.Get(name)))
		}
		return nil
	})
}

// patient disables timeouts, so that a test can delay requests as long as it needs.
func patient(w *harness.World, _ *v1alpha1.CloudProject) {
	w.CloudTimeout, w.Settings.PostWindow = harness.Patience, harness.Patience
}

// hold delays all requests of a method until the returned function is called; entered gets a value when one arrives.
func (o *onlooker) hold(method string) (entered <-chan struct{}, release func()) {
	came, goes := make(chan struct{}, 1), make(chan struct{})
	remove := o.Cloud.Inject(cloudtest.Fault{Method: method, Times: 1, Entered: came, Block: goes})
	return came, sync.OnceFunc(func() { remove(); close(goes) })
}

// met waits for a delayed request.
func (o *onlooker) met(entered <-chan struct{}) {
	o.Helper()
	select {
	case <-entered:
	case <-time.After(harness.Patience):
		o.Fatal("no call came")
	}
}

func version(v string) func(*v1alpha1.Agent) { return func(a *v1alpha1.Agent) { a.Spec.Version = v } }

func TestKstatusFollowsTheLifeOfAnAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle, patient)
	o := observe(t, w)

	// No operator has seen it yet.
	w.Apply("web")
	o.sees("web", 1, status.InProgressStatus)

	// Calyptia Cloud is slow to register it.
	entered, release := o.hold(http.MethodPost)
	defer release()
	w.Start()
	o.met(entered)
	o.sees("web", 1, status.InProgressStatus)
	release()
	o.sees("web", 1, status.CurrentStatus)

	// Calyptia Cloud is slow to apply a change, and another one follows.
	entered, release = o.hold(http.MethodPatch)
	defer release()
	w.Change("web", version("v4.0.2"))
	o.met(entered)
	o.sees("web", 2, status.InProgressStatus)
	w.Change("web", version("v4.0.3"))
	o.sees("web", 3, status.InProgressStatus)
	release()
	o.sees("web", 3, status.CurrentStatus)

	// Calyptia Cloud refuses a change, and the user corrects it.
	refuse := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Status: http.StatusUnprocessableEntity, Body: `{"error":"unsupported agent version"}`})
	w.Change("web", version("v4.0.4"))
	o.sees("web", 4, status.FailedStatus)
	refuse()
	w.Change("web", version("v4.0.5"))
	o.sees("web", 5, status.CurrentStatus)

	// Suspended without a pending change it is Current; with a pending change it is not.
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	o.sees("web", 6, status.CurrentStatus)
	w.Change("web", version("v4.0.7"))
	w.NotReady("web", v1alpha1.ReasonSuspended, "spec.suspend")
	o.sees("web", 7, status.InProgressStatus)
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Suspend = false })
	o.sees("web", 8, status.CurrentStatus)

	entered, release = o.hold(http.MethodDelete)
	defer release()
	w.Delete("web")
	o.met(entered)
	o.sees("web", 9, status.TerminatingStatus)
	release()
	w.Gone("web")

	want := []state{
		{1, status.InProgressStatus}, {1, status.CurrentStatus},
		{2, status.InProgressStatus},
		{3, status.InProgressStatus}, {3, status.CurrentStatus},
		{4, status.InProgressStatus}, {4, status.FailedStatus},
		{5, status.InProgressStatus}, {5, status.CurrentStatus},
		{6, status.InProgressStatus}, {6, status.CurrentStatus},
		{7, status.InProgressStatus},
		{8, status.InProgressStatus}, {8, status.CurrentStatus},
		{9, status.TerminatingStatus},
	}
	if diff := cmp.Diff(want, o.seen("web")); diff != "" {
		t.Errorf("the states of its life, -want +got:\n%s", diff)
	}
}

func TestKstatusIsNotCurrentDuringAnOutage(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	o := observe(t, w)
	w.Apply("web")
	o.sees("web", 1, status.CurrentStatus)
	up := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Status: http.StatusInternalServerError, Body: `{"error":"database is down"}`})
	w.Change("web", version("v4.0.2"))
	w.NotReady("web", v1alpha1.ReasonUnavailable, "database is down")
	o.sees("web", 2, status.InProgressStatus)
	up()
	o.sees("web", 2, status.CurrentStatus)
	// An applied Agent stays Current in an outage: a GitOps wave must not fall back because of it.
	down := w.Cloud.Inject(cloudtest.Fault{Status: http.StatusInternalServerError, Body: `{"error":"database is down"}`})
	w.Poke("web")
	w.Eventually("the outage is met", func() error {
		for _, r := range w.Cloud.Requests() {
			if r.Status == http.StatusInternalServerError && r.Method == http.MethodGet {
				return nil
			}
		}
		return fmt.Errorf("no call")
	})
	down()
	o.sees("web", 2, status.CurrentStatus)
	if all := o.seen("web"); slices.ContainsFunc(all, func(s state) bool { return s.Status == status.FailedStatus }) {
		t.Errorf("an outage must not stall an Agent: %v", all)
	}
}

// Edits and writes of the operator meet in every order here; the onlooker checks all states.
func TestKstatusKeepsUpWithManyChanges(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	o := observe(t, w)
	rows := []struct {
		name  string
		fault cloudtest.Fault
	}{
		{"all-is-well", cloudtest.Fault{Times: 1}},
		{"the-api-is-slow", cloudtest.Fault{Latency: 20 * time.Millisecond, Times: 20}},
		{"the-response-to-the-registration-is-lost", cloudtest.Fault{Method: http.MethodPost, Cut: cloudtest.CutAfter, Times: 1}},
		{"responses-to-updates-are-lost", cloudtest.Fault{Method: http.MethodPatch, Cut: cloudtest.CutAfter, Times: 2}},
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			o, w := &onlooker{World: w.For(t), record: o.record}, w.For(t)
			o.mu.Lock()
			o.lossy[row.name] = row.fault.Cut != cloudtest.CutNone
			o.mu.Unlock()
			remove := w.Cloud.Inject(row.fault)
			defer remove()
			w.Apply(row.name, version(fmt.Sprintf("v5.%d.0", i)))
			const changes = 12
			for n := range changes {
				w.Change(row.name, version(fmt.Sprintf("v5.%d.%d", i, n+1)))
			}
			o.sees(row.name, changes+1, status.CurrentStatus)
			if a := w.Ready(row.name); a.Status.Agent.Version != a.Spec.Version {
				t.Errorf("the status has version %s, want %s", a.Status.Agent.Version, a.Spec.Version)
			}
		})
	}
}
