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

// memory is what is remembered of each CloudProject between two reconciliations. Losing it costs one proof.
type memory struct {
	mu   sync.Mutex
	memo map[types.NamespacedName]*memo
}

// memo belongs to the one worker that has the CloudProject at hand; doubted alone is set from elsewhere.
type memo struct {
	uid     types.UID
	doubted atomic.Bool

	tried    attempt      // what was shown to the service last; zero if nothing was
	verdict  *fault.Error // what came of it; nil is good
	due      time.Time    // when to try again
	failures int          // in a row, of the retryable class or refusals
	heard    string       // the request to reconcile that was taken for a person's word last
	handled  string       // the one that an answer of the service came to last

	uncopied    *fault.Error   // why there is no copy of the credentials; nil when there is
	agents      map[string]int // that use the CloudProject, by namespace
	interval    time.Duration  // of the resync, in force
	written     string         // the version of the CloudProject that this process wrote last
	writtenAt   time.Time      // when the status was written last
	refusals    int            // of the API server, in a row
	lastRefusal string         // as it was logged
}

// counted is how many Agents use the CloudProject.
func (m *memo) counted() (all int) {
	for _, n := range m.agents {
		all += n
	}
	return all
}

// attempt is what a proof depends on. reconcileAt is there so that a person can ask for one.
type attempt struct {
	version     int
	generation  int64
	reconcileAt string
}

// remember returns the memo of a CloudProject. An earlier one of the same name is forgotten.
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

// doubt notes that a call casts doubt on the credentials, or clears it, and has the CloudProject looked at.
// It is called in the middle of other people's calls, and never waits.
func (r *Reconciler) doubt(key client.ObjectKey) {
	r.memory.mu.Lock()
	if m := r.memory.memo[key]; m != nil {
		m.doubted.Store(true)
	}
	r.memory.mu.Unlock()
	if queue := r.queue.Load(); queue != nil {
		(*queue).Add(ctrl.Request{NamespacedName: key})
	}
}

// next says when to look at the CloudProject again, if nothing happens before.
func (r *Reconciler) next(m *memo, verdict *fault.Error, pending bool) ctrl.Result {
	m.refusals, m.lastRefusal = 0, ""
	wait := m.due.Sub(r.clock().Now())
	if m.due.IsZero() { // Nothing was shown to the service, so a watch tells when to go on.
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

// again has a reconciliation repeated that the API server did not let finish. A conflict is no news.
func (r *Reconciler) again(ctx context.Context, m *memo, err error) ctrl.Result {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
		return requeue(spread(r.backoffMin() / 4))
	}
	if text := err.Error(); text != m.lastRefusal {
		logf.FromContext(ctx).Error(err, "The API server refused a request; trying again")
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

// refusedBackoff is longer at first: a token that was revoked is no better a second later.
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

// spread adds up to a tenth, so that what was started together does not stay together.
func spread(d time.Duration) time.Duration { return d + rand.N(d/10+1) }
