/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

const (
	projectID = "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11"
	otherID   = "1d3c5b7a-0f2e-4d6c-8b9a-7e5f3d1c0b2a"

	breakerTimeout = 100 * time.Millisecond
)

var somebody = ratelimit.Caller{UID: "somebody", Namespace: "default"}

// world is a Registry with one Connection, and its API, on a fake clock.
type world struct {
	*testing.T
	*connection.Connection
	options  connection.Options
	registry *connection.Registry
	clock    *clocktesting.FakeClock
	metrics  *prometheus.Registry
	cloud    *cloudtest.Server
	cp       *v1alpha1.CloudProject
	token    cloud.Token
	wakes    atomic.Int32
	checks   atomic.Int32
}

// newWorld returns a world whose Connection is configured, but not verified.
func newWorld(t *testing.T, settings cloudtest.Settings) *world {
	t.Helper()
	w := &world{T: t, clock: clocktesting.NewFakeClock(time.Now()), cloud: cloudtest.New(settings)}
	server := w.cloud.Start()
	t.Cleanup(server.Close)
	w.token = w.cloud.AddProject(projectID)
	w.metrics = prometheus.NewRegistry()
	counted, err := metrics.NewProjects(w.metrics)
	if err != nil {
		t.Fatal(err)
	}
	w.options = connection.Options{
		Metrics: counted,
		Policy:  cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true},
		Clock:   w.clock, Timeout: 5 * time.Second, BreakerTimeout: breakerTimeout, MostAgents: 120,
		ListDelays: inventory.Delays{Backoff: time.Millisecond, Empty: time.Millisecond},
	}
	w.cp = &v1alpha1.CloudProject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "main", UID: "uid"},
		Spec:       v1alpha1.CloudProjectSpec{URL: server.URL, Authentication: v1alpha1.AuthenticationAuto},
	}
	w.renew()
	return w
}

// renew replaces the Registry and the Connection.
func (w *world) renew() {
	w.Helper()
	w.registry = connection.NewRegistry(w.options)
	w.registry.OnWake(func(client.ObjectKey) { w.wakes.Add(1) })
	w.registry.OnNeedsVerification(func(client.ObjectKey) { w.checks.Add(1) })
	w.configure()
}

// most is the largest number of agents in a snapshot.
func (w *world) most(agents int) {
	w.Helper()
	w.options.MostAgents = agents
	w.renew()
	noError(w, w.Verify(w.Context()))
}

// verified returns a world whose Connection is verified, without recorded requests.
func verified(t *testing.T, settings cloudtest.Settings) *world {
	t.Helper()
	w := newWorld(t, settings)
	noError(t, w.Verify(t.Context()))
	w.forget()
	return w
}

func (w *world) forget() {
	w.cloud.ResetRequests()
	w.wakes.Store(0)
	w.checks.Store(0)
}

func (w *world) configure() {
	w.Helper()
	var err error
	w.Connection, err = w.registry.Configure(w.cp, connection.Credentials{Token: w.token})
	noError(w, err)
}

func (w *world) limit(perSecond, burst int32) {
	w.Helper()
	w.cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: ptr.To(perSecond), Burst: ptr.To(burst)}
	w.configure()
}

func (w *world) register(machine string) string {
	w.Helper()
	permit, err := w.Acquire(ratelimit.Caller{UID: types.UID(machine)})
	noError(w, err)
	made, err := permit.Register(w.Context(), registration(machine))
	noError(w, err)
	return made.ID
}

// registerAside registers an agent without the Connection, with any scheme that the API accepts.
func (w *world) registerAside(machine string) {
	w.Helper()
	base, err := cloud.ParseURL(w.cp.Spec.URL, cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true})
	noError(w, err)
	for _, scheme := range []cloud.Scheme{cloud.SchemeBearer, cloud.SchemeProjectToken} {
		c, err := cloud.New(cloud.Config{BaseURL: base, Credential: cloud.Credential{Scheme: scheme, Token: w.token}})
		noError(w, err)
		if _, err = c.Register(w.Context(), registration(machine)); err == nil {
			break
		}
	}
	w.forget()
}

func registration(machine string) cloud.Registration {
	return cloud.Registration{
		Name: "web", MachineID: machine, Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "[INPUT]",
	}
}

// refused checks that an error is a failure of this reason.
func (w *world) refused(err error, reason string) {
	w.Helper()
	_ = w.failure(err, reason)
}

// failure returns an error that has to be a failure of this reason.
func (w *world) failure(err error, reason string) *fault.Error {
	w.Helper()
	f, ok := fault.As(err)
	if !ok || f.Reason != reason {
		w.Fatalf("error %v, want one of reason %s", err, reason)
	}
	return f
}

func (w *world) requests(want int) {
	w.Helper()
	if got := len(w.cloud.Requests()); got != want {
		w.Errorf("%d requests, want %d", got, want)
	}
}

func (w *world) eventually(what string, done func() bool) {
	w.Helper()
	const most = 30 * time.Second
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			w.Fatalf("waited %s for %s", most, what)
		}
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
