/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// verifying is a Connection and what decides when it is verified, on a fake clock.
type verifying struct {
	connector
	clock   *clocktesting.FakeClock
	cloud   *cloudtest.Server
	cp      *v1alpha1.CloudProject
	memo    *memo
	project *connection.Connection

	interval time.Duration
}

func newVerifying(t *testing.T) *verifying {
	t.Helper()
	x := &verifying{clock: clocktesting.NewFakeClock(time.Now()), cloud: cloudtest.New(cloudtest.Settings{}), memo: &memo{}, interval: 10 * time.Minute}
	server := x.cloud.Start()
	t.Cleanup(server.Close)
	policy := cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true}
	x.connector = connector{
		projects: connection.NewRegistry(connection.Options{Policy: policy, Clock: x.clock}), clock: x.clock, delays: Delays{}.withDefaults(),
	}
	x.cp = &v1alpha1.CloudProject{
		ObjectMeta: metav1.ObjectMeta{Name: "main", Namespace: "default", UID: types.UID("uid"), Generation: 1},
		Spec:       v1alpha1.CloudProjectSpec{URL: server.URL, Authentication: v1alpha1.AuthenticationAuto},
	}
	token := x.cloud.AddProject(projectID)
	registerAside(t, x.cloud, server.URL, token)
	x.configure(t, token)
	return x
}

func (x *verifying) configure(t *testing.T, token cloud.Token) {
	t.Helper()
	var err error
	x.project, err = x.projects.Configure(x.cp, connection.Credentials{Token: token})
	noError(t, err)
}

// verify returns the reason of the verdict, empty if it is good, and how many requests it took.
func (x *verifying) verify(t *testing.T) (reason string, requests int) {
	t.Helper()
	before := len(x.cloud.Requests())
	x.memo.interval = x.interval
	if verdict := x.connector.verify(t.Context(), x.project, x.cp, x.memo); verdict != nil {
		reason = verdict.Reason
	}
	return reason, len(x.cloud.Requests()) - before
}

func (x *verifying) expect(t *testing.T, why, reason string, requests int) {
	t.Helper()
	if gotReason, gotRequests := x.verify(t); gotReason != reason || gotRequests != requests {
		t.Errorf("%s: reason %q with %d requests, want %q with %d", why, gotReason, gotRequests, reason, requests)
	}
}

func TestACheckIsRepeatedOnlyWhenItIsDue(t *testing.T) {
	x := newVerifying(t)
	x.expect(t, "the first", "", 1)
	x.expect(t, "a reconciliation for another reason", "", 0)
	x.clock.Step(9 * time.Minute)
	x.expect(t, "before the interval is over", "", 0)
	x.clock.Step(3 * time.Minute)
	x.expect(t, "after it", "", 1)
	x.cp.Generation++
	x.expect(t, "a new generation", "", 1)
	x.cp.Annotations = map[string]string{v1alpha1.AnnotationReconcileAt: "now"}
	x.expect(t, "on demand", "", 1)
	x.memo.needsCheck.Store(true)
	x.expect(t, "a check is requested", "", 1)
	x.expect(t, "the check was made", "", 0)

	x.configure(t, cloud.NewToken("wrong-token"))
	x.expect(t, "a wrong token", v1alpha1.ReasonUnauthorized, 2)
	x.expect(t, "a refused token is not tried again at once", v1alpha1.ReasonUnauthorized, 0)
	x.clock.Step(5 * time.Minute)
	x.expect(t, "but soon", v1alpha1.ReasonUnauthorized, 2)
	x.configure(t, x.cloud.AddProject(projectID))
	x.expect(t, "another token is tried at once", "", 1)
}

// A 401 may be temporary. The interval of checks of good credentials does not affect when rejected
// ones are retried.
func TestARejectionIsRetriedWithBackoff(t *testing.T) {
	for _, row := range []struct {
		name    string
		refusal cloudtest.Fault
	}{
		{"401", cloudtest.Fault{Status: http.StatusUnauthorized, Body: `{"error":"invalid token"}`}},
		{"403 of the API", cloudtest.Fault{Status: http.StatusForbidden, Body: `{"error":"permission denied"}`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			x := newVerifying(t)
			x.interval = 24 * time.Hour
			x.cp.Spec.ResyncInterval = &metav1.Duration{Duration: x.interval}
			x.expect(t, "the first", "", 1)
			repair := x.cloud.Inject(row.refusal)
			x.memo.needsCheck.Store(true)
			for tries, top := range []time.Duration{5, 10, 20, 40, 80, 160, 300, 300} {
				if reason, _ := x.verify(t); reason != v1alpha1.ReasonUnauthorized {
					t.Fatalf("try %d: reason %q", tries, reason)
				}
				wait := x.memo.check.next.Sub(x.clock.Now())
				if top *= time.Second; wait < top/2 || wait > top {
					t.Fatalf("after %d rejections the next try is in %s, want %s at most, and half of it at least", tries+1, wait, top)
				}
				x.clock.Step(wait)
			}
			repair()
			x.expect(t, "it is over", "", 1)
			if wait := x.memo.check.next.Sub(x.clock.Now()); wait < time.Hour {
				t.Errorf("good credentials are checked again in %s", wait)
			}
			x.cloud.Inject(row.refusal)
			x.memo.needsCheck.Store(true)
			_, _ = x.verify(t)
			if wait := x.memo.check.next.Sub(x.clock.Now()); wait > 5*time.Second {
				t.Errorf("the next rejection starts with %s", wait)
			}
		})
	}
}

// Agents that are new wait for the first list: if there are any, the check starts it.
func TestACheckStartsTheListIfThereAreAgents(t *testing.T) {
	for _, agents := range []int{0, 3} {
		x := newVerifying(t)
		entered, release := make(chan struct{}, 1), make(chan struct{})
		x.cloud.Inject(cloudtest.Fault{Entered: entered, Block: release, Match: func(r *http.Request) bool {
			return r.URL.Query().Get("last") == "100"
		}})
		x.memo.agents = map[string]int{"default": agents}
		if reason, _ := x.verify(t); reason != "" { // The list may have begun already.
			t.Errorf("the check fails: %s", reason)
		}
		if got := x.project.Warming(); got != (agents > 0) {
			t.Errorf("with %d Agents a list is started: %v", agents, got)
		}
		close(release)
	}
}

func TestASlowListStretchesTheInterval(t *testing.T) {
	x := newVerifying(t)
	x.expect(t, "the first", "", 1)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	x.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release, Times: 1})
	keys := make(chan client.ObjectKey, 1)
	x.projects.OnNeedsVerification(func(key client.ObjectKey) { keys <- key })
	x.project.Warm()
	<-entered
	x.clock.Step(8*time.Minute + time.Second)
	close(release)
	<-keys
	x.memo.needsCheck.Store(true) // As the Registry does.
	x.expect(t, "the list has ended", "", 1)
	if x.memo.interval != 17*time.Minute {
		t.Errorf("the interval is %s", x.memo.interval)
	}
}

func TestAnOutageIsRetriedWithBackoff(t *testing.T) {
	x := newVerifying(t)
	repair := x.cloud.Inject(cloudtest.Fault{Status: 502, Body: "<html>"})
	x.expect(t, "before the first check", v1alpha1.ReasonCredentialsUnverified, 3) // Two lists, and a read.
	x.expect(t, "at once", v1alpha1.ReasonCredentialsUnverified, 0)
	for range 5 {
		x.clock.Step(5 * time.Minute)
		x.expect(t, "later", v1alpha1.ReasonCredentialsUnverified, 3)
	}
	if wait := x.memo.check.next.Sub(x.clock.Now()); wait < 16*time.Second || wait > 32*time.Second {
		t.Errorf("after six failures the next try comes in %s", wait)
	}
	repair()
	x.clock.Step(5 * time.Minute)
	x.expect(t, "it is over", "", 1)
	x.cloud.Inject(cloudtest.Fault{Cut: cloudtest.CutBefore})
	x.memo.needsCheck.Store(true)
	x.expect(t, "it was good before", v1alpha1.ReasonUnavailable, 4) // The transport tries a read twice on a connection that was used.
	if wait := x.memo.check.next.Sub(x.clock.Now()); wait > time.Second {
		t.Errorf("after one failure the next try comes in %s", wait)
	}
}

// Two lists fail at the start, and the read shows nothing of the token: the next check comes soon, because registrations wait for a list.
func TestListsThatFailAtTheStartAreSoonTriedAgain(t *testing.T) {
	x := newVerifying(t)
	x.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: 502, Body: "<html>", Times: 2})
	x.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Status: 400, Body: `{"error":"invalid ID"}`})
	x.expect(t, "two lists fail", v1alpha1.ReasonUnavailable, 3)
	if wait := x.memo.check.next.Sub(x.clock.Now()); wait > time.Second {
		t.Errorf("the next try comes in %s", wait)
	}
	x.clock.Step(time.Second)
	x.expect(t, "lists work", "", 1)
}

func TestARequestIsHandledOnceTheAPIResponded(t *testing.T) {
	x := newVerifying(t)
	x.expect(t, "the first", "", 1)
	x.cp.Annotations = map[string]string{v1alpha1.AnnotationReconcileAt: "now"}
	handled := func(why, want string) {
		t.Helper()
		if describe(x.cp, x.memo, x.project); x.cp.Status.LastHandledReconcileAt != want {
			t.Errorf("%s: handled is %q, want %q", why, x.cp.Status.LastHandledReconcileAt, want)
		}
	}
	repair := x.cloud.Inject(cloudtest.Fault{Status: 502, Body: "<html>"})
	x.expect(t, "an outage", v1alpha1.ReasonUnavailable, 3)
	handled("an outage", "")
	repair()
	x.cloud.Inject(cloudtest.Fault{Status: 429, Times: 1})
	x.clock.Step(time.Minute)
	x.expect(t, "a throttle", v1alpha1.ReasonRateLimited, 1)
	handled("a throttle", "")
	x.clock.Step(time.Minute)
	x.expect(t, "a response", "", 1)
	handled("a response", "now")
	x.cp.Status.LastHandledReconcileAt = "" // As after a conflict.
	x.expect(t, "the next reconciliation", "", 0)
	handled("the next reconciliation", "now")
	x.cp.Annotations = nil
	x.expect(t, "nothing is asked for any more", "", 1)
	handled("nothing is asked for any more", "now")
}

func TestAThrottleIsWaitedOut(t *testing.T) {
	x := newVerifying(t)
	x.cloud.Inject(cloudtest.Fault{Status: 429, Times: 1})
	x.expect(t, "throttled", v1alpha1.ReasonRateLimited, 1)
	x.memo.needsCheck.Store(true)
	x.expect(t, "the check that the 429 itself requests", v1alpha1.ReasonRateLimited, 0)
	x.clock.Step(12 * time.Second)
	x.expect(t, "it is over", "", 1)
}

func TestTheFirstRequestVerifiesWhatAReadCannot(t *testing.T) {
	x := newVerifying(t)
	x.cloud.Configure(func(s *cloudtest.Settings) { s.NoList = true })
	x.cloud.Inject(cloudtest.Fault{Method: "GET", Route: cloudtest.RouteAgent, Status: 422, Body: `{"error":"invalid ID"}`})
	x.expect(t, "neither yes nor no", v1alpha1.ReasonCredentialsUnverified, 3)
	permit, err := x.project.Acquire(ratelimit.Caller{UID: "somebody"})
	noError(t, err)
	_, err = permit.Register(t.Context(), bodyOf("m"))
	noError(t, err)
	x.memo.needsCheck.Store(true) // As the Registry does.
	x.expect(t, "the request verified it", "", 0)
}
