/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// faults is a handler in front of a fake cloud. While it is on, it makes some requests fail, depending on its seed.
type faults struct {
	server *cloudtest.Server
	late   time.Duration // maximum delay of a request whose client has gone

	mu     sync.Mutex
	on     bool
	rng    *rand.Rand
	calls  int
	counts map[string]int
	trap   *trap
}

// share is the percentage of requests that fail.
const share = 35

// faultHeader names the request that a fault is for.
const faultHeader = "X-Torture-Call"

// html is the error page of a proxy.
const html = "<html><head><title>Oops</title></head><body><h1>Something went wrong</h1></body></html>"

// newFaults makes faults that are on.
func newFaults(seed, stream uint64, late time.Duration) *faults {
	return &faults{on: true, rng: rand.New(rand.NewPCG(seed, stream)), late: late, counts: map[string]int{}}
}

// ServeHTTP draws a fault for a request and has the fake cloud apply it.
func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, number, sprung := f.draw(r)
	sprung.before()
	defer sprung.after()
	if fault == nil {
		f.server.ServeHTTP(w, r)
		return
	}
	r.Header.Set(faultHeader, number)
	fault.Times = 1
	fault.Match = func(other *http.Request) bool { return other.Header.Get(faultHeader) == number }
	defer f.server.Inject(*fault)()
	f.server.ServeHTTP(w, r)
}

// draw chooses what happens to a request. It draws the same number of random numbers for each.
func (f *faults) draw(r *http.Request) (fault *cloudtest.Fault, number string, sprung *trap) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	post := r.Method == http.MethodPost
	if post && f.trap != nil {
		sprung, f.trap = f.trap, nil
	}
	if !f.on {
		return nil, "", sprung
	}
	hit, which, wait := f.rng.IntN(100) < share, f.rng.IntN(100), f.rng.Float64()
	if !hit {
		return nil, "", sprung
	}
	kind, chosen := f.choose(which, wait, post)
	f.counts[kind]++
	return &chosen, strconv.Itoa(f.calls), sprung
}

// choose is the table of faults.
func (f *faults) choose(which int, wait float64, post bool) (string, cloudtest.Fault) {
	status := func(status int, body string, after bool) cloudtest.Fault {
		fault := cloudtest.Fault{Status: status, Body: body, After: after, Header: http.Header{"Content-Type": {"text/html"}}}
		if body != html {
			fault.Header.Set("Content-Type", "application/json")
		}
		return fault
	}
	again := func(fault cloudtest.Fault) cloudtest.Fault {
		fault.Header.Set("Retry-After", "1")
		return fault
	}
	const own = `{"error":"something went wrong"}`
	latency := time.Duration(wait * float64(1500*time.Millisecond))
	switch {
	case which < 22:
		return "latency", cloudtest.Fault{Latency: latency}
	case which < 30:
		return "5xx without effect", status(http.StatusInternalServerError, own, false)
	case which < 40:
		return "5xx with effect", status(http.StatusInternalServerError, own, true)
	case which < 45:
		return "HTML 502 without effect", status(http.StatusBadGateway, html, false)
	case which < 52:
		return "HTML 504 with effect", status(http.StatusGatewayTimeout, html, true)
	case which < 56:
		return "HTML 404 without effect", status(http.StatusNotFound, html, false)
	case which < 60:
		return "HTML 403 without effect", status(http.StatusForbidden, html, false)
	case which < 68:
		return "cut before effect", cloudtest.Fault{Cut: cloudtest.CutBefore, Latency: latency / 3}
	case which < 80:
		return "cut after effect", cloudtest.Fault{Cut: cloudtest.CutAfter, Latency: latency / 3}
	case which < 83:
		return "429", again(status(http.StatusTooManyRequests, `{"error":"too many requests"}`, false))
	case which < 85:
		return "HTML 429", again(status(http.StatusTooManyRequests, html, false))
	case which < 87:
		return "503 with Retry-After", again(status(http.StatusServiceUnavailable, own, false))
	case which < 92:
		return "response cut short", cloudtest.Fault{Truncate: 7}
	case post:
		return "late effect", cloudtest.Fault{DetachedDelay: max(time.Duration(wait*float64(f.late)), time.Millisecond)}
	default:
		return "latency", cloudtest.Fault{Latency: latency}
	}
}

// stop ends the faults and waits for delayed requests.
func (f *faults) stop() {
	f.mu.Lock()
	f.on = false
	f.mu.Unlock()
	f.server.Wait()
}

// summary counts the faults by kind.
func (f *faults) summary() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := maps.Clone(f.counts)
	return fmt.Sprintf("%d calls, faults %v", f.calls, counts)
}

// moment is the moment of a registration at which the operator is killed.
type moment int

const (
	anytime   moment = iota
	arrived          // the request has arrived and has not taken effect
	responded        // it has taken effect and its response is delayed
	sent             // its response is being sent
	moments          // the number of moments
)

func (m moment) String() string {
	return [...]string{"at any time", "before a registration took effect", "before its response came", "while its response came"}[m]
}

// trap waits for the next registration, and has its client killed at a moment of it.
type trap struct {
	moment  moment
	sprung  chan struct{} // closed at the moment
	killed  chan struct{} // closed when the client is dead
	springs sync.Once
}

func (f *faults) set(m moment) *trap {
	t := &trap{moment: m, sprung: make(chan struct{}), killed: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trap = t
	return t
}

// clear removes the trap, if it has not sprung, and releases the request that it may block.
func (f *faults) clear(t *trap) {
	f.mu.Lock()
	if f.trap == t {
		f.trap = nil
	}
	f.mu.Unlock()
	close(t.killed)
}

func (t *trap) before() {
	if t != nil && t.moment == arrived {
		t.spring()
		<-t.killed
	}
}

func (t *trap) after() {
	switch {
	case t == nil:
	case t.moment == responded:
		t.spring()
		<-t.killed
	case t.moment == sent:
		t.spring()
	}
}

func (t *trap) spring() { t.springs.Do(func() { close(t.sprung) }) }
