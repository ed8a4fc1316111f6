/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// memory is the process-local cache of all CloudProjects. Losing it costs one credential check each.
type memory struct {
	mu   sync.Mutex
	memo map[types.NamespacedName]*memo
}

// memo is the process-local cache of one CloudProject. Only its worker uses it; needsCheck alone is set by others.
type memo struct {
	uid        types.UID
	needsCheck atomic.Bool

	tried     attempt      // what was checked last; zero if nothing was
	verdict   *fault.Error // its outcome; nil is good
	nextCheck time.Time    // when to try again
	failures  int          // consecutive, retryable or rejections
	lastReset string       // the last request to reconcile that reset the safeguard
	handled   string       // the last request to reconcile that got a response of the API

	uncopied    *fault.Error   // why there is no copy of the credentials; nil when there is
	agents      map[string]int // that use the CloudProject, by namespace
	interval    time.Duration  // effective resync interval
	written     string         // the version of the CloudProject that this process wrote last
	writtenAt   time.Time      // when the status was written last
	refusals    int            // by the API server, consecutive
	lastRefusal string         // as it was logged
}

// counted returns the number of Agents that use the CloudProject.
func (m *memo) counted() (all int) {
	for _, n := range m.agents {
		all += n
	}
	return all
}

// attempt is the input of a credential check. reconcileAt is part of it so that a user can request one.
type attempt struct {
	version     int
	generation  int64
	reconcileAt string
}

// remember returns the memo of a CloudProject. That of an earlier CloudProject with the same name is dropped.
func (r *Reconciler) remember(cp *v1alpha1.CloudProject) *memo {
	key := client.ObjectKeyFromObject(cp)
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	m := r.memory.memo[key]
	if m != nil && m.uid == cp.UID {
		return m
	}
	if m != nil {
		r.Projects.Forget(m.uid)
	}
	if r.memory.memo == nil {
		r.memory.memo = map[types.NamespacedName]*memo{}
	}
	m = &memo{uid: cp.UID}
	r.memory.memo[key] = m
	return m
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.memory.mu.Lock()
	m := r.memory.memo[key]
	delete(r.memory.memo, key)
	r.memory.mu.Unlock()
	if m != nil {
		r.Projects.Forget(m.uid)
	}
}

// needsVerification records that a response concerns the credentials, and enqueues the CloudProject. It is called while
// other requests are in progress, and never blocks.
func (r *Reconciler) needsVerification(key client.ObjectKey) {
	r.memory.mu.Lock()
	if m := r.memory.memo[key]; m != nil {
		m.needsCheck.Store(true)
	}
	r.memory.mu.Unlock()
	if queue := r.queue.Load(); queue != nil {
		(*queue).Add(ctrl.Request{NamespacedName: key})
	}
}

// next returns the time until the next reconciliation, if nothing happens before.
func (r *Reconciler) next(m *memo, verdict *fault.Error, pending bool) ctrl.Result {
	m.refusals, m.lastRefusal = 0, ""
	wait := m.nextCheck.Sub(r.clock().Now())
	if m.nextCheck.IsZero() { // Nothing was checked: a watch ends the wait.
		wait = spread(m.interval)
		if verdict != nil && verdict.RetryAfter > 0 {
			wait = verdict.RetryAfter
		}
	}
	if pending {
		wait = min(wait, m.writtenAt.Add(r.countInterval()).Sub(r.clock().Now()))
	}
	return requeue(max(wait, 10*time.Millisecond))
}

// again requeues a reconciliation that failed on an API server error. A conflict is not logged.
func (r *Reconciler) again(ctx context.Context, m *memo, err error) ctrl.Result {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
		return requeue(spread(r.backoffMin() / 4))
	}
	if text := err.Error(); text != m.lastRefusal {
		logf.FromContext(ctx).Error(err, "The API server rejected a request: retrying automatically")
		m.lastRefusal = text
	}
	m.refusals++
	return requeue(r.backoff(m.refusals))
}

func requeue(after time.Duration) ctrl.Result {
	return ctrl.Result{RequeueAfter: after, Priority: ptr.To(handler.LowPriority)}
}

func (r *Reconciler) backoff(failures int) time.Duration {
	return fault.Backoff(failures, r.backoffMin(), orElse(r.BackoffMax, 5*time.Minute))
}

// refusedBackoff is longer at first: a revoked token does not recover within a second.
func (r *Reconciler) refusedBackoff(failures int) time.Duration {
	return fault.Backoff(failures, 5*r.backoffMin(), orElse(r.BackoffMax, 5*time.Minute))
}

func (r *Reconciler) backoffMin() time.Duration { return orElse(r.BackoffMin, time.Second) }

func (r *Reconciler) countInterval() time.Duration { return orElse(r.AgentCountInterval, time.Minute) }

func (r *Reconciler) clock() clock.PassiveClock {
	if r.Clock == nil {
		return clock.RealClock{}
	}
	return r.Clock
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// spread adds up to a tenth, so that checks that started together drift apart.
func spread(d time.Duration) time.Duration { return d + rand.N(d/10+1) }
