/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

const (
	// leaseTime is the duration of a lease, and leaseRetry the interval of attempts to acquire it.
	leaseTime, renewTime, leaseRetry = 15 * time.Second, 10 * time.Second, 2 * time.Second
	// strain is the extra time that a busy machine may need.
	strain = 10 * time.Second
	// leaseName is the name of the operator's lease.
	leaseName = "calyptia-agent-operator.cloud.calyptia.com"
)

// replicas are two operators, of which the first is the leader.
type replicas struct {
	*world
	*place
	first, second *child
	leader        string // the identity of the first one in the lease
}

// newReplicas starts two operators on one lease. more returns extra flags of the first one.
func newReplicas(t *testing.T, name string, settings cloudtest.Settings, more func(*world) []string) *replicas {
	t.Helper()
	w, p := alone(t, name, settings)
	args := []string{
		"--leader-elect", "--leader-election-namespace=" + p.namespace,
		"--leader-election-lease-duration=" + leaseTime.String(), "--leader-election-renew-deadline=" + renewTime.String(),
		"--leader-election-retry-period=" + leaseRetry.String(),
	}
	r := &replicas{world: w, place: p}
	firstArgs := args
	if more != nil {
		firstArgs = append(args[:len(args):len(args)], more(w)...)
	}
	r.first = w.start("first", firstArgs...)
	await.Within(r.t, strain+leaseTime, "the first operator leads", func() error {
		r.leader = r.holder()
		if r.leader == "" {
			return fmt.Errorf("nobody holds the lease")
		}
		return nil
	})
	r.second = w.start("second", args...)
	r.apply("warm-up")
	r.agree(time.Minute)
	return r
}

// holder is the holder of the lease; empty if there is none.
func (r *replicas) holder() string {
	var lease coordinationv1.Lease
	err := r.kube.Get(context.Background(), client.ObjectKey{Namespace: r.namespace, Name: leaseName}, &lease)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// failover waits until the second operator holds the lease, and returns how long that took.
func (r *replicas) failover(patience time.Duration) time.Duration {
	r.t.Helper()
	began := time.Now()
	await.Within(r.t, patience, "the second operator takes the lease", func() error {
		if holder := r.holder(); holder == "" || holder == r.leader {
			return fmt.Errorf("the lease is held by %q, and by %q before", holder, r.leader)
		}
		return nil
	})
	return time.Since(began)
}

// apply declares Agents in the namespace of the place.
func (r *replicas) apply(names ...string) {
	r.t.Helper()
	for i, name := range names {
		s := subject{number: 4 * i, place: r.place, key: r.key(name)}
		if _, err := r.declare(context.Background(), s.key, s.spec(uint64(i))); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *replicas) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: r.namespace, Name: name}
}

// posts are the registrations of an Agent that arrived.
func (r *replicas) posts(name string) (n int) {
	for _, request := range r.cloud.Requests() {
		if request.Method == http.MethodPost && request.Route == cloudtest.RouteAgents && r.isOf(request.Body, name) {
			n++
		}
	}
	return n
}

func (r *replicas) isOf(body []byte, name string) bool {
	return bytes.Contains(body, []byte(r.machineID(r.key(name), "")))
}

// remotes are the remote agents of an Agent.
func (r *replicas) remotes(name string) (ids []string) {
	for _, remote := range r.cloud.Agents(r.projectID) {
		if remote.MachineID == r.machineID(r.key(name), "") {
			ids = append(ids, remote.ID)
		}
	}
	return ids
}

// held is a fault that delays the next registration of an Agent. entered gets a value once it has arrived.
func (r *replicas) held(name string) (entered <-chan struct{}, release chan<- struct{}) {
	arrived, block := make(chan struct{}, 1), make(chan struct{})
	r.cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Entered: arrived, Block: block,
		Match: func(request *http.Request) bool {
			var body bytes.Buffer
			_, err := body.ReadFrom(request.Body)
			return err == nil && r.isOf(body.Bytes(), name)
		},
	})
	return arrived, block
}

func (r *replicas) within(what string, c <-chan struct{}) {
	r.t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		r.t.Fatalf("%s: not within a minute", what)
	}
}

// finish kills the remaining processes and looks for panics.
func (r *replicas) finish() {
	r.t.Helper()
	r.first.Kill()
	r.second.Kill()
	if err := panics(r.logs); err != nil {
		r.t.Error(err)
	}
}

func TestASecondReplicaContinuesAfterTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, "killed-leader", cloudtest.Settings{}, nil)
	stop := r.cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Latency: 300 * time.Millisecond})
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("agent-%02d", i))
	}
	r.apply(names...)
	await.Within(r.t, time.Minute, "the leader is in the middle of its work", func() error {
		if n := len(r.cloud.Agents(r.projectID)); n < 10 {
			return fmt.Errorf("%d are registered", n)
		}
		return nil
	})
	r.first.Kill()
	done := len(r.cloud.Agents(r.projectID))
	if done >= len(names) {
		t.Fatalf("the leader was killed too late: %d are registered", done)
	}
	took := r.failover(leaseTime + 2*leaseRetry + strain)
	stop()
	agreed := r.agree(slack() + time.Minute)
	t.Logf("killed with %d of %d registered; failover after %s, all agreed %s later", done, len(names)+1, took, agreed)
	r.finish()
}

func TestAStaleLeaderLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	var api *proxy
	r := newReplicas(t, "stale-leader", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, func(w *world) []string {
		api = w.newProxy()
		return []string{"--kubeconfig=" + api.kubeconfig}
	})
	// One registration has arrived and is not complete; of the other there is only the intent.
	entered, release := r.held("during")
	written, free := api.hold("before")
	r.apply("during", "before", "calm")
	r.within("the POST of one Agent arrives", entered)
	r.within("the intent of the other is written", written)
	r.first.signal(t, syscall.SIGSTOP)
	took := r.failover(leaseTime + 2*leaseRetry + strain)
	// Only the second one reconciles now, without knowing the requests that the first one has in progress.
	agreed := r.agree(slack() + time.Minute)
	close(release)
	await.Within(r.t, time.Minute, "the registration of the stale leader is done", func() error {
		if n := len(r.remotes("during")); n != 2 {
			return fmt.Errorf("there are %d remote agents", n)
		}
		return nil
	})
	doubled := time.Now()
	close(free)
	r.first.signal(t, syscall.SIGCONT)
	if code := r.first.ends(t, leaseTime+strain); code == 0 {
		t.Error("the stale leader exited without an error")
	}
	ended := time.Since(doubled)
	if n := r.posts("before"); n != 1 {
		t.Errorf("%d registrations of an Agent arrived, of which the stale leader had written the intent alone; want the second one's", n)
	}
	// A lost response makes the operator read the list again; otherwise the resync would, an interval later.
	r.cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
	r.apply("later")
	poked := false
	deleted := r.agree(slack()+2*time.Minute, func() error {
		if poked || time.Since(doubled) < slack()+time.Second {
			return nil
		}
		poked = true
		return r.poke(context.Background(), r.key("during"), "now")
	})
	if n := r.posts("during"); n != 2 {
		t.Errorf("%d registrations arrived, want the stale leader's and the second one's", n)
	}
	t.Logf("failover after %s, agreed %s later; the stale leader exited after %s; its duplicate was deleted after %s",
		took, agreed, ended, deleted)
	r.finish()
}

func TestALeaderThatShutsDownReleasesTheLeaseAtOnce(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, "clean-handover", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, nil)
	entered, release := r.held("under-way")
	r.apply("under-way")
	r.within("the POST arrives", entered)
	r.first.signal(t, syscall.SIGTERM)
	began := time.Now()
	if err := testenv.Pause(t.Context(), 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if r.first.Ended() {
		t.Error("the leader did not wait for its registration in progress")
	}
	close(release)
	if code := r.first.ends(t, strain); code != 0 {
		t.Errorf("the leader ended with %d", code)
	}
	ended := time.Since(began)
	var agent v1alpha1.Agent
	if err := r.kube.Get(context.Background(), r.key("under-way"), &agent); err != nil {
		t.Fatal(err)
	}
	if ids := r.remotes("under-way"); len(ids) != 1 || agent.Status.ID != ids[0] {
		t.Errorf("the leader ended with %v registered and %q recorded", ids, agent.Status.ID)
	}
	r.apply("next")
	// A lease that was not released expires later than this.
	took := r.failover(leaseTime - 3*leaseRetry)
	agreed := r.agree(strain + leaseTime)
	if n := r.posts("under-way"); n != 1 {
		t.Errorf("%d registrations of the one in progress arrived, want 1", n)
	}
	t.Logf("the leader ended after %s, the second one took the lease %s after that and was done %s later", ended, took, agreed)
	r.finish()
}
