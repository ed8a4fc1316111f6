/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
)

// lookup waits for a list in progress and returns the remote agent as it shows it.
func (w *world) lookup(id string, after time.Time) (inventory.Entry, bool) {
	w.Helper()
	seen, _, ok, err := w.Lookup(id, after)
	if err != nil {
		w.refused(err, v1alpha1.ReasonProgressing)
		w.find("any", after) // It comes back with the list.
		seen, _, ok, err = w.Lookup(id, after)
	}
	noError(w, err)
	return seen, ok
}

func TestALookupReportsAllButTheSecretAndTheLarge(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	w.cloud.Mutate(id, func(a *cloud.Agent) {
		a.Status, a.Flags, a.Metadata = "healthy", []string{"--verbose"}, []byte(`{"b":1.0,"a":2}`)
	})
	w.clock.Step(time.Second)
	start := w.clock.Now().Add(-1)
	seen, ok := w.lookup(id, start)
	if !ok {
		t.Fatal("it is not seen")
	}
	remote := seen.Remote
	if seen.MachineID != "m" || remote.Name != "web" || remote.Status != "healthy" || len(remote.Flags) != 1 {
		t.Errorf("seen: %+v, %+v", seen, remote)
	}
	if !remote.Token.IsZero() || remote.RawConfig != "" || remote.Metadata != nil {
		t.Error("the token, the configuration or the metadata is kept")
	}
	if seen.RawConfig != cloud.Hash("[INPUT]") || seen.Metadata != cloud.Hash(cloud.Canonical([]byte(`{"a":2,"b":1}`))) {
		t.Errorf("the hashes are %s and %s", seen.RawConfig, seen.Metadata)
	}
	if _, ok := w.lookup("00000000-0000-4000-8000-000000000000", start); ok {
		t.Error("an agent is seen that is not there")
	}
	w.lists(1)
}

func TestALookupIsNoOlderThanRequested(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	w.clock.Step(time.Second)
	first := w.clock.Now()
	w.lookup(id, first.Add(-1))
	w.clock.Step(time.Minute)
	w.cloud.Mutate(id, func(a *cloud.Agent) { a.Name = "renamed" })
	if seen, _ := w.lookup(id, first.Add(-1)); seen.Remote.Name != "web" {
		t.Errorf("a list that was young enough was read again: %s", seen.Remote.Name)
	}
	if seen, _ := w.lookup(id, first); seen.Remote.Name != "renamed" {
		t.Errorf("an old list was used: %s", seen.Remote.Name)
	}
	w.lists(2)
}

// What the operator just registered is in no list yet: there is nothing to compare.
func TestWhatWasJustRegisteredIsNotSeen(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.clock.Step(time.Second)
	start := w.clock.Now().Add(-1)
	w.lookup("none", start)
	if _, ok := w.lookup(w.register("m"), start); ok {
		t.Error("it is seen")
	}
}

func TestWordsWithoutEndAreNotKept(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	w.cloud.Mutate(id, func(a *cloud.Agent) { a.Tags = []string{strings.Repeat("x", 64<<10)} })
	w.clock.Step(time.Second)
	if seen, ok := w.lookup(id, w.clock.Now().Add(-1)); ok || seen.Remote != nil {
		t.Error("they are kept")
	}
	w.expectFound("m", w.clock.Now().Add(-2), id)
}

func TestAFailedListIsNotRetriedImmediately(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	stop := w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: http.StatusTeapot})
	w.clock.Step(time.Second)
	if _, _, _, err := w.Lookup(id, w.clock.Now().Add(-1)); err == nil {
		t.Fatal("it does not wait for the list")
	}
	if _, _, err := w.FindByMachine(t.Context(), "m", w.clock.Now().Add(-1)); err == nil {
		t.Fatal("the list did not fail")
	}
	w.lists(1)
	for range 3 {
		if _, _, ok, err := w.Lookup(id, w.clock.Now().Add(-1)); ok || err != nil {
			t.Fatalf("ok %v, %v; want to be sent to read", ok, err)
		}
	}
	w.lists(1)
	stop()
	w.clock.Step(2 * time.Minute)
	if _, ok := w.lookup(id, w.clock.Now().Add(-1)); !ok {
		t.Error("the list is not tried again")
	}
}

// A page of the largest configurations is longer than a response may be.
func TestPagesThatAreTooLongAreSplit(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	large := strings.Repeat("#", 128<<10)
	for i := range 110 {
		id := w.register(fmt.Sprint(i))
		w.cloud.Mutate(id, func(a *cloud.Agent) { a.RawConfig = large })
	}
	w.clock.Step(time.Second)
	for i := range 110 {
		if found := w.find(fmt.Sprint(i), w.clock.Now().Add(-1)); len(found) != 1 {
			t.Fatalf("machine %d has the agents %v", i, found)
		}
	}
	w.lists(1 + 3) // One is too large; then there are 25, 50 and the rest on a page.
	w.clock.Step(time.Second)
	w.find("0", w.clock.Now().Add(-1))
	w.lists(1 + 3 + 1 + 3) // A hundred are tried once more.
}

func TestAnEndlessListIsCanceled(t *testing.T) {
	w := verified(t, cloudtest.Settings{PageSize: 10})
	for i := range 131 {
		w.register(fmt.Sprint(i))
	}
	w.clock.Step(time.Second)
	_, _, err := w.FindByMachine(t.Context(), "0", w.clock.Now().Add(-1))
	w.refused(err, v1alpha1.ReasonListTooLarge)
}

// With an interval that follows the time that a list takes, lists do not follow each other without a pause: whoever
// waited for one finds it young enough.
func TestSlowListsLeaveTimeBetweenThem(t *testing.T) {
	const takes = 10 * time.Minute
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	interval := 10 * time.Minute
	w.clock.Step(time.Second)
	w.lookup(id, w.clock.Now().Add(-1)) // A first one, which takes no time.
	for round := range 4 {
		w.clock.Step(interval)
		entered, release := make(chan struct{}, 1), make(chan struct{})
		w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release, Times: 1})
		before, complete := w.begun(), w.listed()
		look := func() bool {
			t.Helper()
			_, _, ok, err := w.Lookup(id, w.clock.Now().Add(-interval*9/10))
			if !ok {
				w.clock.Step(w.failure(err, v1alpha1.ReasonProgressing).RetryAfter)
			}
			return ok
		}
		began := w.clock.Now()
		look()
		<-entered
		for w.clock.Since(began) < takes {
			look()
		}
		close(release)
		w.eventually("the list", func() bool { return w.listed() > complete })
		interval = max(10*time.Minute, 2*w.ListTook())
		w.eventually("a list that is young enough", look)
		if n := w.begun() - before; n != 1 {
			t.Errorf("round %d: %d lists were started for one check", round, n)
		}
	}
	if took := w.ListTook(); took < takes || took > 2*takes || interval != 2*took {
		t.Errorf("the list took %s, the interval is %s", took, interval)
	}
}

// listed counts the lists that came to their end.
func (w *world) listed() float64 {
	w.Helper()
	return w.metric("calyptia_cloudproject_list_snapshots_total", "complete")
}
