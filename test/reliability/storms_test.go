/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/uuid"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// many is the number of Agents in a storm: ten times what each limit below allows. hack/bench measures a thousand.
const many = 300

// crowd is a World with many registered Agents.
type crowd struct {
	*harness.World
	lines *lines
}

func (c *crowd) each(do func(name string)) {
	for i := range many {
		do(fmt.Sprintf("web-%d", i))
	}
}

func newCrowd(t *testing.T, options ...harness.Option) *crowd {
	c := &crowd{lines: &lines{}}
	options = append([]harness.Option{func(w *harness.World, _ *v1alpha1.CloudProject) { w.Logger = c.lines.logger(0) }}, options...)
	c.World = harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, options...)
	c.each(func(name string) { c.Apply(name) })
	c.each(func(name string) { c.Ready(name) })
	return c
}

// lines are the log lines of an operator.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) logger(verbosity int) logr.Logger {
	return funcr.New(func(prefix, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, prefix+" "+args)
	}, funcr.Options{Verbosity: verbosity})
}

// since are the lines after the first n that contain the word.
func (l *lines) since(n int, word string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all[n:] {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return found
}

// events are those that were written, but for those of the registrations: of so many at once, some are written a minute later.
func (c *crowd) events() []eventsv1.Event {
	c.Helper()
	var list eventsv1.EventList
	if err := c.Client.List(c.Context(), &list, client.InNamespace(c.Namespace)); err != nil {
		c.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool { return e.Reason == "Registered" })
}

// lasts waits; outages take time.
func lasts(d time.Duration) { <-time.After(d) }

// Events that concern many Agents at once, one storm after the other.
func TestStorms(t *testing.T) {
	whole := newCrowd(t)
	for _, storm := range []struct {
		name string
		test func(*testing.T, *crowd)
	}{
		{"a long outage is quiet, and all recover", aLongOutageIsQuiet},
		{"all requests wait as a 429 asks", retryAfterIsNeverViolated},
		{"one bad token costs a few calls", oneBadTokenCostsAFewCalls},
		{"a mass deletion is not corrected before a user confirms it", aMassDeletionWaitsForAUser},
	} {
		t.Run(storm.name, func(t *testing.T) { storm.test(t, &crowd{World: whole.For(t), lines: whole.lines}) })
	}
}

// A long outage costs a few probes, whatever the number of Agents, and one log line and no event each; then all Agents
// continue.
func aLongOutageIsQuiet(t *testing.T, c *crowd) {
	recorded, logged := len(c.events()), len(c.lines.since(0, ""))
	restore := c.Cloud.Inject(cloudtest.Fault{Cut: cloudtest.CutBefore})
	c.Cloud.ResetRequests()
	began := time.Now()
	c.each(c.Poke)
	const lasting = 10 * time.Second
	lasts(lasting)
	outage, calls := time.Since(began).Seconds(), len(c.Cloud.Requests())
	// Of the Agents: the circuit breaker opens after five failures in a row, with one request of each worker in progress, and
	// then allows one probe every half second. Of the CloudProject: its credential check at once and again after
	// 50 ms, twice that, and so on up to a second; half of which is random. Each is two lists, of which the second shows no agent, and the
	// read of an agent that cannot exist.
	checks := c.Cloud.Count(http.MethodGet, cloudtest.RouteList)
	for _, r := range c.Cloud.Requests() {
		if strings.HasSuffix(r.Path, uuid.Nil.String()) {
			checks++
		}
	}
	if most := 5 + harness.Workers + int(outage*2); calls-checks > most {
		t.Errorf("%d calls in an outage of %.0f s with %d Agents, want at most %d", calls-checks, outage, many, most)
	}
	if most := 3 * (7 + int(outage*2)); checks > most {
		t.Errorf("%d calls of credential checks in an outage of %.0f s, want at most %d", checks, outage, most)
	}
	if calls < 3 {
		t.Errorf("%d calls: no probe checks whether the outage is over", calls)
	}
	if n := len(c.lines.since(logged, "Not reconciled yet")); n > 2*many {
		t.Errorf("%d log lines about the outage of %d Agents", n, many)
	}
	if n := len(c.events()) - recorded; n > 3 {
		t.Errorf("%d events about the outage", n)
	}
	restore()
	c.each(func(name string) { handled(c.World, name) })
	c.each(func(name string) { c.Ready(name) })
	if n := len(c.Remote()); n != many {
		t.Errorf("%d remote agents for %d Agents", n, many)
	}
}

// All requests wait as long as a 429 asks for, from the moment it arrives.
func retryAfterIsNeverViolated(t *testing.T, c *crowd) {
	responded := make(chan struct{}, 1)
	c.Cloud.ResetRequests()
	c.Cloud.Inject(cloudtest.Fault{
		Times: 1, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3"}}, Body: `{"error":"slow down"}`, Entered: responded,
	})
	c.each(c.Poke)
	<-responded
	c.each(func(name string) { handled(c.World, name) })
	calls := c.Cloud.Requests()
	var asked time.Time
	for _, r := range calls {
		if r.Status == http.StatusTooManyRequests {
			asked = r.Time
		}
	}
	underWay := 0
	for _, r := range calls {
		if since := r.Time.Sub(asked); since > 0 && since < 3*time.Second {
			underWay++
			if since > 250*time.Millisecond {
				t.Errorf("%s %s came %v after Calyptia Cloud asked for 3 s", r.Method, r.Path, since)
			}
		}
	}
	if underWay >= harness.Workers {
		t.Errorf("%d calls came within the 3 s, more than can have been in progress", underWay)
	}
}

// A registration whose intent was being written when the 429 arrived waits as well.
func TestRetryAfterHoldsForARegistrationWithAPermit(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("other"))
	writing, write := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.API.Before(func(r *http.Request) error {
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/agents/web") {
			once.Do(func() { close(writing); <-write })
		}
		return nil
	})
	w.Apply("web")
	<-writing
	w.Cloud.ResetRequests()
	w.Cloud.Inject(cloudtest.Fault{
		Times: 1, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}, Body: `{"error":"slow down"}`,
	})
	w.Poke("other")
	w.Eventually("Calyptia Cloud asked to wait", func() error {
		if calls := w.Cloud.Requests(); len(calls) == 0 || calls[0].Status != http.StatusTooManyRequests {
			return fmt.Errorf("calls: %d", len(calls))
		}
		return nil
	})
	lasts(100 * time.Millisecond) // For the response to arrive.
	close(write)
	w.Ready("web")
	handled(w, "other")
	calls := w.Cloud.Requests()
	if gap := calls[1].Time.Sub(calls[0].Time); gap < 2*time.Second {
		t.Errorf("%s %s came after %v, want at least 2s", calls[1].Method, calls[1].Path, gap)
	}
	if n := len(w.Remote()); n != 2 {
		t.Errorf("%d agents for 2 Agents", n)
	}
}

func oneBadTokenCostsAFewCalls(t *testing.T, c *crowd) {
	c.Cloud.RevokeToken(c.Token)
	c.Cloud.ResetRequests()
	c.each(c.Poke)
	c.World.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonUnauthorized, "token")
	lasts(time.Second)
	// One for each worker at most, besides the periodic credential checks.
	n := 0
	for _, r := range c.Cloud.Requests() {
		if r.Route != cloudtest.RouteList {
			n++
		}
	}
	if n > harness.Workers {
		t.Errorf("one bad token cost %d calls with %d Agents", n, many)
	}
	c.Cloud.AddToken(c.ProjectID, c.Token.Reveal())
	c.World.PokeProject()
	c.each(func(name string) { handled(c.World, name) })
}

// Agents that Calyptia Cloud lost are not registered again until a user confirms it.
func aMassDeletionWaitsForAUser(t *testing.T, c *crowd) {
	lost := map[string]bool{}
	for _, a := range c.Remote()[:many-5] {
		lost[a.ID] = true
		c.Cloud.Remove(a.ID)
	}
	c.Cloud.ResetRequests()
	c.each(c.Poke)
	c.World.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonMassDeletionDetected, "spec.url", v1alpha1.AnnotationReconcileAt)
	c.Eventually("all that lost their agent report it", func() error {
		waiting := 0
		c.each(func(name string) {
			if harness.Condition(c.Get(name), v1alpha1.ConditionReady).Status != metav1.ConditionTrue {
				waiting++
			}
		})
		if waiting < many-30 {
			return fmt.Errorf("%d wait", waiting)
		}
		return nil
	})
	if n := c.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n > 10+harness.Workers {
		t.Errorf("%d agents were registered again before a user confirmed it", n)
	}
	c.World.PokeProject()
	c.each(func(name string) { c.Ready(name) })
	if n := len(c.Remote()); n != many {
		t.Errorf("%d remote agents for %d Agents", n, many)
	}
	c.World.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
}

// The rate limit holds for all calls together. That reservations are exact is tested with a fake
// clock in the rate limiter; here requests leave some time after their reservation.
func TestTheRateLimitIsKept(t *testing.T) {
	const perSecond, burst, many = 20, 5, 100 // For five seconds; without a limit they would come in one.
	var agents []cloud.Agent
	w := harness.New(t, cloudtest.Settings{}, harness.Idle, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: ptr.To[int32](perSecond), Burst: ptr.To[int32](burst)}
	})
	for i := range many {
		w.Apply(fmt.Sprintf("web-%d", i))
	}
	w.Start()
	w.Eventually("all are registered", func() error {
		if agents = w.Remote(); len(agents) < many {
			return errors.New(fmt.Sprint(len(agents), " of ", many))
		}
		return nil
	})
	var times []time.Time
	for _, r := range w.Cloud.Requests() {
		if r.Route != cloudtest.RouteList {
			times = append(times, r.Time)
		}
	}
	for i, from := range times {
		n := 0
		for _, at := range times[i:] {
			if at.Sub(from) < time.Second {
				n++
			}
		}
		// Looser than the limit by a second's share: a registration gets its permit before its intent is written,
		// and an API server that stalls in between causes bursts.
		if most := 2*perSecond + burst; n > most {
			t.Fatalf("%d calls in the second from %v, want at most %d", n, from.Sub(times[0]), most)
		}
	}
}
