/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// begun counts the lists that were begun: their first pages.
func (w *world) begun() (n int) {
	for _, r := range w.cloud.Requests() {
		if r.Route == cloudtest.RouteList && r.Method == http.MethodGet && !strings.Contains(r.Query, "before=") {
			n++
		}
	}
	return n
}

// failuresOfAPage is how often in a row a page has to fail before its list does.
const failuresOfAPage = 5

// A list that fails is not started again by each caller that needs one.
func TestAListThatAlwaysFailsBacksOff(t *testing.T) {
	w := verified(t, cloudtest.Settings{PageSize: 1})
	w.register("a")
	w.register("b")
	second := func(r *http.Request) bool { return r.URL.Query().Has("before") }
	repair := w.cloud.Inject(cloudtest.Fault{Match: second, Status: http.StatusInternalServerError})
	start := w.clock.Now()
	ask := func(machine string) error {
		_, _, err := w.FindByMachine(t.Context(), machine, start)
		return err
	}
	for range 300 { // seconds
		w.clock.Step(time.Second)
		for i := range 50 {
			f := w.failure(ask(fmt.Sprint(i)), v1alpha1.ReasonUnavailable)
			if f.RetryAfter <= 0 || f.RetryAfter > 70*time.Second {
				t.Fatalf("asked to retry in %s", f.RetryAfter)
			}
			if e, ok := cloud.AsError(errors.Unwrap(f)); !ok || e.Status != http.StatusInternalServerError {
				t.Fatalf("the cause is %v", f.Err)
			}
		}
	}
	if n := w.begun(); n < 6 || n > 16 {
		t.Errorf("%d lists were started in five minutes", n)
	}

	repair()
	w.clock.Step(time.Minute)
	if found := w.find("a", start); len(found) != 1 {
		t.Errorf("after it is fixed: %v", found)
	}
	w.find("a", start.Add(-time.Hour)) // There is one that is young enough.
	w.cloud.Inject(cloudtest.Fault{Match: second, Status: http.StatusInternalServerError, Times: failuresOfAPage})
	w.clock.Step(time.Second)
	start = w.clock.Now().Add(-1)
	if f := w.failure(ask("a"), v1alpha1.ReasonUnavailable); f.RetryAfter > 2*time.Second {
		t.Errorf("after a success in between, asked to retry in %s", f.RetryAfter)
	}
	w.find("a", start.Add(-time.Minute))
}

// A slow list blocks no worker.
func TestASlowListBlocksNoWorker(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release, Times: 1})
	defer close(release)
	start := w.clock.Now()
	w.clock.Step(time.Second)
	w.Warm()
	<-entered
	w.clock.Step(20 * time.Second)
	failures := make(chan error, 32)
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() {
			_, _, err := w.FindByMachine(t.Context(), "m", start)
			failures <- err
		})
	}
	patience := time.NewTimer(4 * time.Second) // Less than a caller of a young list has.
	defer patience.Stop()
	for range 32 {
		select {
		case err := <-failures:
			if f := w.failure(err, v1alpha1.ReasonProgressing); !f.Quiet || f.RetryAfter < 20*time.Second {
				t.Errorf("quiet is %v, asked to retry in %s", f.Quiet, f.RetryAfter)
			}
		case <-patience.C:
			t.Fatal("callers are blocked")
		}
	}
	callers.Wait()
}

// Callers retry when the list should end: later it may be too old for them.
func TestCallersRetryWhenTheListShouldEnd(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	for _, row := range []struct {
		so   []time.Duration // that it takes
		want []time.Duration // to wait then
	}{
		{[]time.Duration{40 * time.Second, 100 * time.Second}, []time.Duration{40 * time.Second, 100 * time.Second}},
		{
			[]time.Duration{10 * time.Second, 60 * time.Second, 110 * time.Second},
			[]time.Duration{10 * time.Second, 40 * time.Second, 10 * time.Second},
		},
	} {
		complete := w.listed()
		entered, release := make(chan struct{}, 1), make(chan struct{})
		w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release, Times: 1})
		w.clock.Step(time.Second)
		began := w.clock.Now()
		_, _, _, err := w.Lookup("any", began.Add(-1))
		w.refused(err, v1alpha1.ReasonProgressing)
		<-entered
		for i, so := range row.so {
			w.clock.SetTime(began.Add(so))
			_, _, _, err := w.Lookup("any", began.Add(-1))
			got := w.failure(err, v1alpha1.ReasonProgressing).RetryAfter
			if want := row.want[i]; got < want || got > want*12/10 {
				t.Errorf("after %s asked to retry in %s, want %s", so, got, want)
			}
		}
		close(release)
		w.eventually("the list", func() bool { return max(w.listed(), 0) > max(complete, 0) })
	}
}
