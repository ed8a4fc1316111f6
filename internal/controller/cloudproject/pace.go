/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Delays are the times that tests shorten. Zero values are replaced by the defaults.
type Delays struct {
	// AgentCountInterval is the shortest time between two writes of the number of Agents alone; default 1m.
	AgentCountInterval time.Duration
	// InUseDelay is the delay before a release is tried again after an Agent was deleted; default 500ms.
	InUseDelay time.Duration
	// BackoffMin and BackoffMax bound the time to the next try after a failure; default 1s and 5m. After a rejection of the
	// token it starts with five times BackoffMin.
	BackoffMin, BackoffMax time.Duration
}

func (d Delays) withDefaults() Delays {
	return Delays{
		AgentCountInterval: cmp.Or(d.AgentCountInterval, time.Minute), InUseDelay: cmp.Or(d.InUseDelay, 500*time.Millisecond),
		BackoffMin: cmp.Or(d.BackoffMin, time.Second), BackoffMax: cmp.Or(d.BackoffMax, 5*time.Minute),
	}
}

func (d Delays) backoff(failures int) time.Duration {
	return fault.Backoff(failures, d.BackoffMin, d.BackoffMax)
}

// refusedBackoff is longer at first: a revoked token does not recover within a second.
func (d Delays) refusedBackoff(failures int) time.Duration {
	return fault.Backoff(failures, 5*d.BackoffMin, d.BackoffMax)
}

// pacer says when a CloudProject is reconciled again.
type pacer struct {
	clock  clock.PassiveClock
	delays Delays
}

// next returns the time until the next reconciliation, if nothing happens before.
func (p pacer) next(m *memo, verdict *fault.Error, pending bool) ctrl.Result {
	m.rejected = rejected{}
	wait := m.check.next.Sub(p.clock.Now())
	if m.check.next.IsZero() { // Nothing was checked: a watch ends the wait.
		wait = spread(m.interval)
		if verdict != nil && verdict.RetryAfter > 0 {
			wait = verdict.RetryAfter
		}
	}
	if m.unfenced.failure != nil { // No event shows that it is corrected.
		wait = min(wait, p.delays.backoff(m.unfenced.times))
	}
	if pending {
		wait = min(wait, m.wrote.at.Add(p.delays.AgentCountInterval).Sub(p.clock.Now()))
	}
	return requeue(max(wait, 10*time.Millisecond))
}

// again requeues a reconciliation that failed on an API server error. A conflict is not logged. The log shows what a condition would.
func (p pacer) again(ctx context.Context, m *memo, err error) ctrl.Result {
	if apiserver.Outdated(err) {
		m.rejected.times++
		return requeue(fault.Backoff(m.rejected.times, p.delays.BackoffMin/4, p.delays.BackoffMax))
	}
	failure := agentstatus.Classify(err)
	if text := failure.Message; text != m.rejected.logged {
		logf.FromContext(ctx).Error(failure, "The API server rejected a request: retrying automatically")
		m.rejected.logged = text
	}
	m.rejected.times++
	return requeue(p.delays.backoff(m.rejected.times))
}

func requeue(after time.Duration) ctrl.Result {
	return ctrl.Result{RequeueAfter: after, Priority: ptr.To(handler.LowPriority)}
}

// spread adds up to a tenth, so that checks that started together drift apart.
func spread(d time.Duration) time.Duration { return d + rand.N(d/10+1) }
