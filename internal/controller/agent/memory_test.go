/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"fmt"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

func TestMemoriesBelongToAnAgentNotToItsName(t *testing.T) {
	var m memories
	web, other := types.NamespacedName{Namespace: "shop", Name: "web"}, types.NamespacedName{Namespace: "stop", Name: "web"}
	first := m.of(web, "1")
	first.confirmed = "id"
	if m.of(web, "1") != first {
		t.Error("it forgot within one life")
	}
	if m.of(other, "2") == first {
		t.Error("two Agents share a memory")
	}
	if again := m.of(web, "3"); again == first || again.confirmed != "" {
		t.Error("a new Agent of the name remembers the former one")
	}
	if len(m.all) != 2 || len(m.key) != 2 {
		t.Errorf("%d memories under %d names: the former one is kept", len(m.all), len(m.key))
	}
	if uid, known := m.forget(web); uid != "3" || !known {
		t.Errorf("it forgot %q (%v)", uid, known)
	}
	if uid, known := m.forget(web); uid != "" || known {
		t.Errorf("it forgot %q (%v) twice", uid, known)
	}
	if len(m.all) != 1 || len(m.key) != 1 {
		t.Errorf("%d memories under %d names are left, want the other Agent's", len(m.all), len(m.key))
	}
}

func TestAnAgentThatIsForgottenClaimsNothing(t *testing.T) {
	var m memories
	web, other := types.NamespacedName{Namespace: "shop", Name: "web"}, types.NamespacedName{Namespace: "shop", Name: "other"}
	machine, agent := claim{machineID: "1"}, claim{agent: "1"}
	m.of(web, "1")
	for _, what := range []claim{machine, agent, machine} {
		if _, mine := m.claim(what, web); !mine {
			t.Fatalf("%+v is not its own", what)
		}
	}
	if holder, mine := m.claim(machine, other); mine || holder != web {
		t.Errorf("two hold it: %v", holder)
	}
	m.forget(web)
	if len(m.claims)+len(m.claimed) != 0 {
		t.Errorf("left: %v, %v", m.claims, m.claimed)
	}
	if _, mine := m.claim(machine, other); !mine {
		t.Error("nobody can hold it any more")
	}
	m.of(other, "2")
	m.forget(web) // It must not take what is another's now.
	if _, mine := m.claim(machine, web); mine {
		t.Error("the claim of the other one is gone")
	}
}

func TestMemoriesMayBeAskedByAllWorkers(t *testing.T) {
	var m memories
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			for i := range 200 {
				key := types.NamespacedName{Namespace: fmt.Sprint(worker), Name: fmt.Sprint(i % 10)}
				m.of(key, types.UID(fmt.Sprint(worker, "-", i))).failures++
				if i%3 == 0 {
					m.forget(key)
				}
			}
		})
	}
	workers.Wait()
	if len(m.all) != len(m.key) {
		t.Errorf("%d memories under %d names", len(m.all), len(m.key))
	}
}

// What a failure costs, and for how long an applied Agent shows nothing of it.
func TestAFailureIsRemembered(t *testing.T) {
	const interval = 20 * time.Minute
	long, short := -15*time.Minute, -15*time.Minute+time.Second
	again := fault.Retryablef(v1alpha1.ReasonUnavailable, "x")
	stays := fault.Terminalf(v1alpha1.ReasonInvalid, "x")
	waits := fault.Waitingf(v1alpha1.ReasonSourceNotFound, "x")
	for _, row := range []struct {
		name        string
		failures    int           // before
		failing     time.Duration // since when it fails, from now; 0: it does not
		fault       *fault.Error
		least, most time.Duration // of the time until the next try
		after       int           // failures after
		grace       bool
		anyChange   bool // whatever changes ends the wait, not only what concerns the failure
	}{
		{"the first try that failed", 0, 0, again, time.Second / 2, time.Second, 1, true, false},
		{"the fifth one", 4, short, again, 8 * time.Second, 16 * time.Second, 5, true, false},
		{"one after the grace", 40, long, again, 150 * time.Second, 5 * time.Minute, 41, false, false},
		{"one that says when, later than we would", 0, 0, again.After(time.Minute), time.Minute, time.Minute, 1, true, false},
		{"one that says when, sooner than we would", 40, long, again.After(time.Second), 150 * time.Second, 5 * time.Minute, 41, false, false},
		{"one that passes by itself does not count", 3, short, again.Quietly(), quietWait / 2, quietWait, 3, true, false},
		{"a person has to act: no grace, a slow look now and then", 3, short, stays, interval, interval, 0, false, false},
		{"a person has to act, and it says when", 0, 0, stays.After(time.Minute), time.Minute, time.Minute, 0, false, false},
		{"a watch ends it", 2, short, waits, interval, interval, 2, false, true},
		{"it ends at a known time", 0, 0, waits.After(time.Minute), time.Minute, time.Minute, 0, false, false},
		{"a CloudProject that is not Ready is an outage", 0, 0, fault.Waitingf(v1alpha1.ReasonProjectNotReady, "x"), interval, interval, 0, true, true},
		{"so is a rate limit", 0, short, fault.Waitingf(v1alpha1.ReasonRateLimited, "x").After(time.Minute), time.Minute, time.Minute, 0, true, false},
		{"so is an open breaker", 0, short, fault.Waitingf(v1alpha1.ReasonUnavailable, "x").After(time.Minute), time.Minute, time.Minute, 0, true, false},
		{"an outage that lasts is shown", 0, long, fault.Waitingf(v1alpha1.ReasonProjectNotReady, "x"), interval, interval, 0, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := passOf()
			p.cloudProject.Spec.ResyncInterval = &metav1.Duration{Duration: interval}
			p.found, p.memory.failures = "fingerprint", row.failures
			if row.failing != 0 {
				p.memory.failing = noon.Add(row.failing)
			}
			since := p.memory.failing
			if since.IsZero() {
				since = noon
			}
			if grace := p.remember(t.Context(), classed{row.fault}, noon); grace != row.grace {
				t.Errorf("grace: %v", grace)
			}
			m := p.memory
			if wait := m.hold.Sub(noon); wait < row.least || wait > row.most {
				t.Errorf("the next try is after %s, want between %s and %s", wait, row.least, row.most)
			}
			if m.failures != row.after || !m.failing.Equal(since) {
				t.Errorf("%d failures since %s", m.failures, m.failing)
			}
			if want := map[bool]string{false: "fingerprint"}[row.anyChange]; m.holdFor != want {
				t.Errorf("held while it finds %q", m.holdFor)
			}
			if p.remember(t.Context(), classed{}, noon) || m.failures != 0 || !m.failing.IsZero() || !m.hold.IsZero() {
				t.Errorf("a success does not clear it: %+v", m)
			}
		})
	}
}

// No watch wakes an Agent that vanished: what it left behind is not to wait for a whole interval.
func TestAnAgentThatVanishedIsTriedAgainSoon(t *testing.T) {
	p := passOf()
	p.vanished = true
	wait := fault.Waitingf(v1alpha1.ReasonProjectNotReady, "x")
	for try := range 3 {
		p.remember(t.Context(), classed{wait}, noon)
		if got, most := p.memory.hold.Sub(noon), p.Settings.BackoffMin<<try; got > most || got < most/2 {
			t.Errorf("try %d is after %s, want %s at most", try, got, most)
		}
	}
	p.remember(t.Context(), classed{wait.After(time.Minute)}, noon)
	if got := p.memory.hold.Sub(noon); got != time.Minute {
		t.Errorf("it is after %s, though the service said a minute", got)
	}
}
