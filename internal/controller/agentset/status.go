/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

const (
	// statusInterval is the shortest time between two status writes that change only numbers.
	statusInterval = 2 * time.Second
	// firstBackoff and longestBackoff bound the time between two tries after a failure.
	firstBackoff, longestBackoff = time.Second, 5 * time.Minute
)

// finisher turns the outcome of a pass into the status, events and the time of the next pass.
type finisher struct {
	client   client.Client
	recorder events.EventRecorder
	clock    clock.PassiveClock
	base     *v1alpha1.AgentSet // as the cache has it
	set      *v1alpha1.AgentSet // a copy with the status to be written
	memory   *memory
}

func (f finisher) finish(ctx context.Context, out *outcome, err error) (ctrl.Result, error) {
	failure := classify(err)
	if len(out.renewed) > 0 {
		f.sessionsRenewed(ctx, out.renewed)
	}
	f.describe(out.counts)
	if failure == nil || !failure.Quiet {
		f.conclude(failure)
	}
	out.next.atMost(f.retryAfter(failure))
	pending, writeErr := f.writeStatus(ctx)
	switch {
	case writeErr != nil:
		out.next.atMost(f.unwritten(ctx, writeErr))
	case pending:
		out.next.atMost(statusInterval)
	default:
		f.announce(ctx, failure)
	}
	return ctrl.Result{RequeueAfter: time.Duration(out.next)}, nil
}

// deleted shows that the operator does nothing more for a set that is being deleted, if finalizers of others keep it.
func (f finisher) deleted(ctx context.Context) (ctrl.Result, error) {
	if len(f.set.Finalizers) == 0 {
		return ctrl.Result{}, nil
	}
	f.set.Status.ObservedGeneration = f.set.Generation
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionReporting} {
		apimeta.RemoveStatusCondition(&f.set.Status.Conditions, kind)
	}
	f.setCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing,
		"the operator changes nothing for an AgentSet that is being deleted: the deletion waits for the finalizer "+f.set.Finalizers[0])
	if _, err := f.writeStatus(ctx); err != nil {
		return ctrl.Result{RequeueAfter: f.unwritten(ctx, err)}, nil
	}
	return ctrl.Result{}, nil
}

// unwritten is the time until a failed write of the status is retried. Only the log can show the failure: once, as a condition would.
func (f finisher) unwritten(ctx context.Context, err error) time.Duration {
	status, failure := &f.memory.status, agentstatus.Classify(err)
	if apiserver.Outdated(err) { // The cache will soon show the conflicting write, unless somebody writes all the time.
		status.failed++
		return fault.Backoff(status.failed, staleWait, longestBackoff)
	}
	if failure.Message != status.logged {
		logf.FromContext(ctx).Info("The status cannot be written: retrying automatically", "reason", failure.Reason, "message", failure.Message)
		status.logged = failure.Message
	}
	status.failed++
	return fault.Backoff(status.failed, firstBackoff, longestBackoff)
}

// classify gives every error a class. An error without one comes from reading the API server.
func classify(err error) *fault.Error {
	if err == nil {
		return nil
	}
	if failure, ok := fault.As(err); ok {
		return agentstatus.Presentable(failure)
	}
	return fault.Retryablef(v1alpha1.ReasonAPIServer, "the API server cannot be read: %s", apierrors.ReasonForError(err)).Because(err)
}

// firstRetried returns the failure that is retried first, or the first of two that wait for a user.
func firstRetried(a, b error) error {
	if a == nil || b != nil && classify(a).Class == fault.Terminal && classify(b).Class != fault.Terminal {
		return b
	}
	return a
}

// describe sets the numbers. A pass that failed before it knew them keeps the previous ones.
func (f finisher) describe(counts *agentset.Counts) {
	s := &f.set.Status
	s.ObservedGeneration = f.set.Generation
	s.Selector = v1alpha1.LabelAgentSet + "=" + f.set.Name
	s.LastHandledReconcileAt = f.set.Annotations[v1alpha1.AnnotationReconcileAt]
	if counts == nil {
		return
	}
	c := *counts
	for to, from := range map[*int32]int{
		&s.Desired: c.Desired, &s.Current: c.Current, &s.UpToDate: c.UpToDate, &s.Ready: c.Ready, &s.Reporting: c.Reporting,
	} {
		*to = int32(min(from, math.MaxInt32))
	}
	s.Shards = 0
	for _, shard := range f.memory.shards {
		if shard.verdict == tokensecret.Ours {
			s.Shards++
		}
	}
	f.reporting(c)
}

// reporting sets the condition that says whether all agents report.
func (f finisher) reporting(c agentset.Counts) {
	switch {
	case c.Desired == 0:
		apimeta.RemoveStatusCondition(&f.set.Status.Conditions, v1alpha1.ConditionReporting)
	case c.Reporting == c.Desired:
		f.setCondition(v1alpha1.ConditionReporting, metav1.ConditionTrue, v1alpha1.ReasonMetricsReceived,
			"Calyptia Cloud receives metrics of all agents")
	default:
		f.setCondition(v1alpha1.ConditionReporting, metav1.ConditionFalse, v1alpha1.ReasonAgentsNotReporting,
			"these nodes or replicas do not report: "+agentset.Names(c.Silent)+": check their pods")
	}
}

// conclude sets Ready, Reconciling and Stalled; the last two are never both present.
func (f finisher) conclude(failure *fault.Error) {
	conditions := &f.set.Status.Conditions
	if failure == nil {
		f.setCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonApplied,
			"all Agents are Ready, and their sessions are stored")
		apimeta.RemoveStatusCondition(conditions, v1alpha1.ConditionReconciling)
		apimeta.RemoveStatusCondition(conditions, v1alpha1.ConditionStalled)
		return
	}
	present, absent := v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled
	if failure.Class == fault.Terminal {
		present, absent = absent, present
	}
	f.setCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, failure.Reason, failure.Message)
	f.setCondition(present, metav1.ConditionTrue, failure.Reason, failure.Message)
	apimeta.RemoveStatusCondition(conditions, absent)
}

func (f finisher) setCondition(kind string, status metav1.ConditionStatus, reason, message string) {
	agentstatus.SetCondition(&f.set.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: f.set.Generation,
		LastTransitionTime: metav1.NewTime(f.clock.Now()),
	})
}

// retryAfter is the time until a failed pass is retried; zero after success. A watch ends the wait for a change.
func (f finisher) retryAfter(failure *fault.Error) time.Duration {
	if failure != nil && failure.Quiet {
		return staleWait
	}
	failed := failedPasses{all: f.memory.failed.all + 1}
	retried := f.memory.failed.retried + 1
	f.memory.failed = failedPasses{}
	switch {
	case failure == nil:
		return 0
	case failure.Class == fault.Waiting:
		return failure.RetryAfter
	case failure.Class == fault.Retryable:
		failed.retried = retried
		f.memory.failed = failed
		return fault.Backoff(retried, firstBackoff, longestBackoff)
	default:
		f.memory.failed = failed
		return longestBackoff
	}
}

// writeStatus writes what changed. pending is true if it is too early to write mere numbers.
func (f finisher) writeStatus(ctx context.Context) (pending bool, err error) {
	if equality.Semantic.DeepEqual(f.base.Status, f.set.Status) {
		return false, nil
	}
	now := f.clock.Now()
	if !f.urgent() && now.Sub(f.memory.status.at) < statusInterval {
		return true, nil
	}
	base, target := f.base.DeepCopy(), f.base.DeepCopy()
	target.Status = f.set.Status
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	if err := f.client.Status().Patch(ctx, target, patch); err != nil {
		return false, err
	}
	f.memory.status = statusWrites{version: target.ResourceVersion, at: now}
	return false, nil
}

// urgent reports whether more than numbers and messages changed.
func (f finisher) urgent() bool {
	was, is := &f.base.Status, &f.set.Status
	if was.ObservedGeneration != is.ObservedGeneration || was.LastHandledReconcileAt != is.LastHandledReconcileAt ||
		len(was.Conditions) != len(is.Conditions) {
		return true
	}
	for _, after := range is.Conditions {
		before := apimeta.FindStatusCondition(was.Conditions, after.Type)
		if before == nil || before.Status != after.Status || before.Reason != after.Reason {
			return true
		}
	}
	return false
}

// announce records that the set became Stalled, or ready.
func (f finisher) announce(ctx context.Context, failure *fault.Error) {
	if failure == nil || failure.Class != fault.Terminal {
		f.memory.stalled = ""
		return
	}
	was := apimeta.FindStatusCondition(f.base.Status.Conditions, v1alpha1.ConditionStalled)
	if failure.Message == f.memory.stalled || was != nil && was.Message == failure.Message {
		f.memory.stalled = failure.Message
		return
	}
	f.memory.stalled = failure.Message
	logf.FromContext(ctx).Info("Stalled", "reason", failure.Reason, "message", failure.Message)
	f.event(corev1.EventTypeWarning, failure.Reason, "Reconcile", failure.Message)
}

// sessionsRenewed records an event for the nodes or replicas whose pods run with an earlier session.
func (f finisher) sessionsRenewed(ctx context.Context, slots []string) {
	logf.FromContext(ctx).Info("Sessions renewed", "keys", agentset.Names(slots))
	f.event(corev1.EventTypeNormal, "SessionsRenewed", "StoreSessions",
		"restart the pods of "+agentset.Names(slots)+": their sessions were renewed")
}

func (f finisher) event(kind, reason, action, note string) {
	if f.recorder != nil {
		f.recorder.Eventf(f.base, nil, kind, reason, action, "%s", agentstatus.Bound(note, agentstatus.MaxNote))
	}
}
