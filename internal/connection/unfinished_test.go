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

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// web is the turn of an Agent that has a request to reconcile.
func (w *world) web(requested string) ratelimit.Caller {
	return ratelimit.Caller{UID: "web", Namespace: "default", Session: w.Version(), Requested: requested}
}

// What a turn read, and confirmed missing, counts in the next turn if the rate limit ended it, and nothing else happened since.
func TestTheNextTurnGoesOnFromAnUnfinishedOne(t *testing.T) {
	for _, row := range []struct {
		name    string
		happens func(w *world, id string)
		next    string // request to reconcile
		counts  bool
	}{
		{"the rate limit ends the turn", func(*world, string) {}, "1", true},
		{"the turn ends otherwise", func(w *world, _ string) { w.registry.EndTurn("web") }, "1", false},
		{"it is long ago", func(w *world, _ string) { w.clock.Step(connection.DefaultResyncInterval) }, "1", false},
		{"another check is requested", func(*world, string) {}, "2", false},
		{"the Agent is deleted", func(w *world, _ string) { w.registry.Leave("web") }, "1", false},
		{"an update", func(w *world, id string) {
			noError(w, w.Update(w.Context(), w.web("1"), id, cloud.Update{Version: new("v5.0.0")}))
		}, "1", false},
		{"an update as the agent", func(w *world, id string) {
			agent, _ := w.cloud.Agent(id)
			noError(w, w.UpdateAsAgent(w.Context(), w.web("1"), id, cloud.Update{Version: new("v5.0.0")}, agent.Token))
		}, "1", false},
		{"a deletion", func(w *world, _ string) { noError(w, w.Delete(w.Context(), w.web("1"), w.register("other"))) }, "1", false},
		{"a registration", func(w *world, _ string) {
			permit, err := w.Acquire(w.web("1"))
			noError(w, err)
			_, err = permit.Register(w.Context(), registration("other"))
			noError(w, err)
		}, "1", false},
		{"a permit that is not used", func(w *world, _ string) {
			permit, err := w.Acquire(w.web("1"))
			noError(w, err)
			permit.Release()
		}, "1", true},
		{"an update that the rate limit delays", func(w *world, id string) {
			w.limit(1, 1)
			_, _ = w.Get(w.Context(), somebody, id)
			if w.Update(w.Context(), w.web("1"), id, cloud.Update{Version: new("v5.0.0")}) == nil {
				w.Fatal("it was sent")
			}
			w.limit(0, 1)
		}, "1", true},
		{"another token", func(w *world, _ string) {
			w.token = w.cloud.AddProject(projectID)
			w.configure()
			noError(w, w.Verify(w.Context()))
		}, "1", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			id := w.register("m")
			first, err := w.Get(t.Context(), w.web("1"), id)
			noError(t, err)
			at := w.clock.Now()
			w.ConfirmedMissing(w.web("1"), otherID)
			row.happens(w, id)
			w.clock.Step(time.Second)
			if got := w.Missing(w.web(row.next), otherID); got != row.counts {
				t.Errorf("missing %v, want %v", got, row.counts)
			}
			if got := w.ReadAt(w.web(row.next), id); got.Equal(at) != row.counts {
				t.Errorf("read %s after the read", got.Sub(at))
			}
			w.forget()
			again, err := w.Get(t.Context(), w.web(row.next), id)
			noError(t, err)
			reads := w.cloud.Count(http.MethodGet, cloudtest.RouteAgent)
			if want := map[bool]int{false: 1, true: 0}[row.counts]; reads != want || (again == first) != row.counts {
				t.Errorf("%d reads, want %d", reads, want)
			}
			if other := (ratelimit.Caller{UID: "another", Namespace: "default", Session: w.Version(), Requested: "1"}); w.Missing(other, otherID) {
				t.Error("it counts for another Agent")
			}
		})
	}
}

// Large agents of many unfinished turns take no more memory than they may: what finds no room is read again.
func TestUnfinishedTurnsAreBounded(t *testing.T) {
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = strings.Repeat("x", 1<<10)
	}
	for _, row := range []struct {
		name   string
		holds  func(*cloud.Agent)
		agents int // take more than there is, by less than twice
	}{
		{"configuration", func(a *cloud.Agent) { a.RawConfig = strings.Repeat("x", 1<<20) }, 20},
		{"metadata", func(a *cloud.Agent) { a.Metadata = []byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`) }, 20},
		{"flags", func(a *cloud.Agent) { a.Flags = texts }, 20},
		{"tags", func(a *cloud.Agent) { a.Tags = texts }, 20},
		{"a token", func(a *cloud.Agent) { a.Token = cloud.NewToken(strings.Repeat("t", 128<<10)) }, 160},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			id := w.register("m")
			w.cloud.Mutate(id, row.holds)
			for range 2 {
				for i := range row.agents {
					who := w.web("1")
					who.UID = uid("a", i)
					_, err := w.Get(t.Context(), who, id)
					noError(t, err)
				}
			}
			if n := len(w.cloud.Requests()); n < row.agents*9/8 || n >= 2*row.agents {
				t.Errorf("%d requests for %d Agents in two turns", n, row.agents)
			}
			for i := range row.agents {
				w.registry.EndTurn(uid("a", i))
			}
			w.forget()
			for range 2 {
				_, err := w.Get(t.Context(), w.web("1"), id)
				noError(t, err)
			}
			w.requests(1)
		})
	}
}

// An Agent whose interval is shorter believes nothing that is older than that.
func TestAnUnfinishedTurn_CountsForNoLongerThanTheInterval(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	who := w.web("1")
	who.Interval = time.Minute
	w.ConfirmedMissing(who, otherID)
	for _, step := range []struct {
		after    time.Duration
		requests int
	}{{0, 1}, {59 * time.Second, 0}, {time.Second, 1}} {
		w.clock.Step(step.after)
		w.forget()
		_, err := w.Get(t.Context(), who, id)
		noError(t, err)
		w.requests(step.requests)
	}
	if !w.Missing(who, otherID) { // Else a line that is longer than the interval would never come to an end.
		t.Error("an agent that two checks missed is read again")
	}
}

// A turn that goes on for hours reads again and again, and takes memory once.
func TestAnUnfinishedTurn_ReadsAgain_TakesMemoryOnce(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	w.cloud.Mutate(id, func(a *cloud.Agent) { a.RawConfig = strings.Repeat("x", 1<<20) })
	for range 20 {
		_, err := w.Get(t.Context(), w.web("1"), id)
		noError(t, err)
		w.clock.Step(connection.DefaultResyncInterval)
	}
	w.forget()
	other := w.web("1")
	other.UID = "other"
	for range 2 {
		_, err := w.Get(t.Context(), other, id)
		noError(t, err)
	}
	w.requests(1)
}

// Where memory is short, what a turn saw later is not kept, and what it saw before does not count any more.
func TestAnUnfinishedTurn_WithoutMemoryForWhatItSees_DropsWhatItSawBefore(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	w.cloud.Mutate(id, func(a *cloud.Agent) { a.RawConfig = strings.Repeat("x", 1<<20) })
	who := w.web("1")
	w.ConfirmedMissing(who, id)
	for i := range 20 {
		other := w.web("1")
		other.UID = uid("a", i)
		_, err := w.Get(t.Context(), other, id)
		noError(t, err)
	}
	_, err := w.Get(t.Context(), who, id)
	noError(t, err)
	if w.Missing(who, id) {
		t.Error("the agent that was just read counts as missing")
	}
}

// Unfinished turns of many other namespaces leave an Agent room for its own: else a burst of 1 permits nothing but its first read, for ever.
func TestUnfinishedTurns_OfManyNamespaces_LeaveRoom(t *testing.T) {
	for _, size := range []int{100, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			large, own := w.register("large"), w.register("own")
			w.cloud.Mutate(large, func(a *cloud.Agent) { a.RawConfig = strings.Repeat("x", 1<<20) })
			w.cloud.Mutate(own, func(a *cloud.Agent) { a.RawConfig = strings.Repeat("x", size) })
			read := func(namespace, agent, id string) {
				who := ratelimit.Caller{UID: types.UID(namespace + agent), Namespace: namespace, Session: w.Version()}
				_, err := w.Get(t.Context(), who, id)
				noError(t, err)
			}
			for n := range 20 {
				for agent := range 4 {
					read(fmt.Sprint("other-", n), fmt.Sprint(agent), large)
				}
			}
			read("quiet", "web", own)
			w.forget()
			read("quiet", "web", own)
			w.requests(0)
			w.clock.Step(connection.DefaultResyncInterval) // What the others saw counts no more.
			for agent := range 15 {
				read("busy", fmt.Sprint(agent), large)
			}
			w.forget()
			for agent := range 15 {
				read("busy", fmt.Sprint(agent), large)
			}
			w.requests(0)
		})
	}
}
