/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
)

// find returns the IDs of the remote agents with a machine ID. Like every caller, it comes back while a list lasts longer
// than it may wait: on a busy machine, one of some megabytes can.
func (w *world) find(machine string, after time.Time) []string {
	w.Helper()
	var entries []inventory.Entry
	var ok bool
	var err error
	w.eventually("the list", func() bool {
		entries, ok, err = w.FindByMachine(w.Context(), machine, after)
		f, classed := fault.As(err)
		return !classed || !f.Quiet || f.Reason != v1alpha1.ReasonProgressing
	})
	noError(w, err)
	if !ok {
		w.Fatal("the API lists nothing")
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids
}

func (w *world) expectFound(machine string, after time.Time, want ...string) {
	w.Helper()
	if diff := cmp.Diff(want, w.find(machine, after)); diff != "" {
		w.Errorf("found for %s (-want +got):\n%s", machine, diff)
	}
}

func (w *world) lists(want int) {
	w.Helper()
	if got := w.cloud.Count(http.MethodGet, cloudtest.RouteList); got != want {
		w.Errorf("%d pages were read, want %d", got, want)
	}
}

func TestWithoutAListNothingIsFound(t *testing.T) {
	w := verified(t, cloudtest.Settings{NoList: true})
	if _, ok, err := w.FindByMachine(t.Context(), "m", w.clock.Now()); ok || err != nil {
		t.Errorf("ok %v, error %v", ok, err)
	}
	w.requests(0)
}

// Else a registration whose response was lost would be repeated while a new token is verified.
func TestUnknownListSupportIsNotNoList(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	w.cloud.AddToken(projectID, w.token.Reveal()+"-renewed")
	w.token = cloud.NewToken(w.token.Reveal() + "-renewed")
	w.configure()
	_, _, err := w.FindByMachine(t.Context(), "m", w.clock.Now())
	if f := w.failure(err, v1alpha1.ReasonProjectNotReady); !f.Quiet || f.RetryAfter <= 0 {
		t.Errorf("quiet is %v, asked to retry in %s", f.Quiet, f.RetryAfter)
	}
	noError(t, w.Verify(t.Context()))
	w.expectFound("m", w.clock.Now(), id)
}

func TestOneListServesAll(t *testing.T) {
	w := verified(t, cloudtest.Settings{PageSize: 2})
	for i := range 5 {
		w.register(fmt.Sprint(i))
	}
	w.clock.Step(time.Second)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release, Times: 1})
	after := w.clock.Now().Add(-time.Millisecond)
	var callers sync.WaitGroup
	for i := range 5 {
		callers.Go(func() {
			if found := w.find(fmt.Sprint(i), after); len(found) != 1 {
				t.Errorf("machine %d has the agents %v", i, found)
			}
		})
	}
	<-entered
	close(release)
	callers.Wait()
	w.lists(3)
	w.expectFound("none", after)
	w.lists(3)
}

// The first list starts before the first callers ask for it, once.
func TestWarmStartsTheFirstList(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	after := w.clock.Now().Add(-time.Millisecond)
	w.Warm()
	w.eventually("the list", func() bool { return w.cloud.Count(http.MethodGet, cloudtest.RouteList) == 1 })
	w.expectFound("m", after)
	w.Warm()
	w.expectFound("m", after)
	w.lists(1)

	silent := verified(t, cloudtest.Settings{NoList: true})
	silent.Warm()
	silent.requests(0)

	// An Agent that a credential check wakes finds it begun.
	for _, agents := range []int{0, 1} {
		w := newWorld(t, cloudtest.Settings{})
		warms := make(chan bool, 1)
		w.registry.OnWake(func(client.ObjectKey) { warms <- w.Warming() })
		entered, release := make(chan struct{}, 1), make(chan struct{})
		w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release, Match: func(r *http.Request) bool {
			return r.URL.Query().Get("last") != "1" // Which verifies the token.
		}})
		w.Expect(map[bool]map[string]int{true: {"default": agents}}[agents > 0])
		noError(t, w.Verify(t.Context()))
		if got := <-warms; got != (agents > 0) {
			t.Errorf("with %d Agents it warms: %v", agents, got)
		}
		close(release)
	}
}

// Agents that have nothing to do make room for the first list, but not for long and for no other.
func TestAProjectWarmsWhileItsFirstListIsRead(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	warms := func(when string, want bool) {
		t.Helper()
		if got := w.Warming(); got != want {
			t.Errorf("%s it warms: %v", when, got)
		}
	}
	hold := func() (end func()) {
		entered, release := make(chan struct{}, 1), make(chan struct{})
		w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release, Times: 1})
		w.Warm()
		go func() { _, _, _ = w.FindByMachine(t.Context(), "m", w.clock.Now()) }()
		<-entered
		return func() { close(release) }
	}
	warms("before", false)
	end := hold()
	warms("meanwhile", true)
	w.clock.Step(5 * time.Second)
	warms("after five seconds", false)
	end()
	w.eventually("the list", func() bool { return w.listed() > 0 })
	w.clock.Step(time.Second)
	end = hold()
	warms("for the second list", false)
	end()
}

func TestAnOldListIsNotUsed(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.expectFound("m", w.clock.Now())
	w.lists(1)
	w.clock.Step(time.Minute)
	w.expectFound("m", w.clock.Now().Add(-time.Hour))
	w.lists(1)
	w.expectFound("m", w.clock.Now())
	w.lists(2)
}

func TestAClockThatIsAheadCostsOneList(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.expectFound("m", w.clock.Now().Add(time.Hour))
	w.lists(1)
}

func TestTheListFollowsWhatTheOperatorDoes(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	first := w.register("first")
	w.clock.Step(time.Second)
	start := w.clock.Now().Add(-1)
	w.expectFound("first", start, first)

	w.clock.Step(time.Second)
	second := w.register("second")
	w.expectFound("second", start, second)
	noError(t, w.Delete(t.Context(), somebody, first))
	w.expectFound("first", start, first) // Something else may have responded: the caller decides.
	w.Drop(first)
	w.expectFound("first", start)
	w.cloud.Remove(second)
	if _, err := w.Get(t.Context(), somebody, second); err == nil {
		t.Fatal("it is still there")
	}
	w.expectFound("second", start, second) // One response may be wrong: the caller decides.
	w.Drop(second)
	w.expectFound("second", start)
	w.lists(1)
}

func TestWhatHappensWhileAListRunsIsKept(t *testing.T) {
	w := verified(t, cloudtest.Settings{PageSize: 1})
	doomed, stays := w.register("doomed"), w.register("stays")
	entered, release := make(chan struct{}, 1), make(chan struct{})
	second := func(r *http.Request) bool { return r.URL.Query().Has("before") }
	w.cloud.Inject(cloudtest.Fault{Match: second, Entered: entered, Block: release, After: true, Times: 1})
	w.clock.Step(time.Second)
	start := w.clock.Now()
	var lister sync.WaitGroup
	lister.Go(func() { w.find("stays", start) })
	<-entered
	added := w.register("added") // Newer than the page that was read.
	noError(t, w.Delete(t.Context(), somebody, stays))
	w.Drop(stays)
	close(release)
	lister.Wait()
	w.expectFound("added", start.Add(-1), added)
	w.expectFound("stays", start.Add(-1))
	w.expectFound("doomed", start.Add(-1), doomed)
	w.lists(2)
}

func TestDuplicatesAreAllFound(t *testing.T) {
	w := verified(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	w.register("m")
	w.register("m")
	if got := w.find("m", w.clock.Now()); len(got) != 2 {
		t.Errorf("found %v", got)
	}
}

func TestAnEntrySaysWhetherItReported(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	agent, _ := w.cloud.Agent(id)
	entries, _, err := w.FindByMachine(t.Context(), "m", w.clock.Now())
	noError(t, err)
	if len(entries) != 1 || entries[0].Reported || !entries[0].CreatedAt.Equal(agent.CreatedAt) {
		t.Errorf("entries %+v of %+v", entries, agent)
	}
}

func TestCursorsInALoopEndTheList(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	const page = `[{"id":"` + otherID + `","machineID":"m","type":"t"}]`
	for at, next := range map[string]string{"": "a", "a": "b", "b": "a"} {
		w.cloud.Inject(cloudtest.Fault{
			Route: cloudtest.RouteList, Match: func(r *http.Request) bool { return r.URL.Query().Get("before") == at },
			Status: http.StatusOK, Body: page, Header: http.Header{"Link": {`</next?before=` + next + `>; rel="next"`}},
		})
	}
	_, ok, err := w.FindByMachine(t.Context(), "m", w.clock.Now())
	if w.refused(err, v1alpha1.ReasonInvalidResponse); !ok {
		t.Error("the failure reads like an API without a list")
	}
	w.lists(3)
}

func TestAFailedListIsNotUsed(t *testing.T) {
	w := verified(t, cloudtest.Settings{PageSize: 1})
	w.register("a")
	w.register("b")
	second := func(r *http.Request) bool { return r.URL.Query().Has("before") }
	w.cloud.Inject(cloudtest.Fault{Match: second, Status: http.StatusInternalServerError, Times: failuresOfAPage})
	if _, ok, err := w.FindByMachine(t.Context(), "a", w.clock.Now()); !ok || err == nil {
		t.Fatalf("ok %v, error %v", ok, err)
	}
	w.clock.Step(time.Second)
	if got := w.find("a", w.clock.Now()); len(got) != 1 {
		t.Errorf("the next list finds %v", got)
	}
}

func TestACallerMayGiveUpAndTheListGoesOn(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release, Times: 1})
	w.clock.Step(time.Second)
	start := w.clock.Now()
	impatient, cancel := context.WithCancel(t.Context())
	var caller sync.WaitGroup
	caller.Go(func() {
		_, _, err := w.FindByMachine(impatient, "m", start)
		if f := w.failure(err, v1alpha1.ReasonUnavailable); f.Class != fault.Retryable || !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that gave up got %v", err)
		}
	})
	<-entered
	cancel()
	caller.Wait()
	close(release)
	w.expectFound("m", start.Add(-1))
	w.lists(1)
}

func TestAnotherEndpointIsAnotherList(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.register("m")
	start := w.clock.Now()
	w.find("m", start)
	w.token = w.cloud.AddProject(otherID)
	w.configure()
	noError(t, w.Verify(t.Context()))
	w.expectFound("m", start.Add(-1))
}

func TestAThrottledProjectListsNothing(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.cloud.Inject(cloudtest.Fault{Status: http.StatusTooManyRequests, Times: 1})
	_, _ = w.Get(t.Context(), somebody, otherID)
	_, _, err := w.FindByMachine(t.Context(), "m", w.clock.Now())
	w.refused(err, v1alpha1.ReasonRateLimited)
	w.lists(0)
}

// A read that says "not found" and names nothing needs this second source: what it asks for is one agent, whatever
// machine ID it has.
func TestLacks_SnapshotBegunAfterTheTime_ReportsByID(t *testing.T) {
	w := verified(t, cloudtest.Settings{UpperIDs: true})
	kept, removed := w.register("kept"), w.register("removed")
	w.clock.Step(time.Second)
	lacks := func(id string, after time.Time, want bool) {
		t.Helper()
		got, listed, err := w.Lacks(t.Context(), id, after)
		noError(t, err)
		if !listed || got != want {
			t.Errorf("lacks %v, listed %v, want %v", got, listed, want)
		}
	}
	start := w.clock.Now()
	lacks(kept, start, false)
	lacks(strings.ToUpper(kept), start.Add(-1), false)
	lacks(otherID, start.Add(-1), true)
	w.lists(1)
	w.cloud.Remove(removed)
	lacks(removed, start.Add(-1), false) // The snapshot is old enough to be believed.
	w.lists(1)
	w.clock.Step(time.Second)
	lacks(removed, w.clock.Now(), true)
	w.lists(2)

	made := w.register("made")
	lacks(made, start, false) // It is newer than the snapshot.
	w.lists(2)
}

func TestLacks_NoSnapshot_SaysNothing(t *testing.T) {
	w := verified(t, cloudtest.Settings{NoList: true})
	if lacks, listed, err := w.Lacks(t.Context(), otherID, w.clock.Now()); lacks || listed || err != nil {
		t.Errorf("without a list: lacks %v, listed %v, error %v", lacks, listed, err)
	}
	unverified := newWorld(t, cloudtest.Settings{})
	lacks, _, err := unverified.Lacks(t.Context(), otherID, unverified.clock.Now())
	if unverified.refused(err, v1alpha1.ReasonProjectNotReady); lacks {
		t.Error("it lacks the agent before it is known whether there is a list")
	}
	fails := verified(t, cloudtest.Settings{})
	fails.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: http.StatusInternalServerError})
	lacks, _, err = fails.Lacks(t.Context(), otherID, fails.clock.Now())
	if fails.refused(err, v1alpha1.ReasonUnavailable); lacks {
		t.Error("a list that failed lacks the agent")
	}
}
