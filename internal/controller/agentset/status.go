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
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

const (
	// statusInterval is the shortest time between two status writes that change only numbers.
	statusInterval = 2 * time.Second
	// firstBackoff and longestBackoff bound the time between two tries after a failure.
	firstBackoff, longestBackoff = time.Second, 5 * time.Minute
	// maxNote is the longest note of an event, in characters.
	maxNote = 250
)

// finish writes the status, records events, and schedules the next pass.
func (p *pass) finish(ctx context.Context, err error) (ctrl.Result, error) {
	failure := classify(err)
	p.describeStatus()
	if failure == nil || !failure.Quiet {
		p.conclude(failure)
	}
	p.schedule(failure)
	pending, writeErr := p.writeStatus(ctx)
	switch {
	case apierrors.IsConflict(writeErr), apierrors.IsNotFound(writeErr):
		p.sooner(staleWait) // The cache will soon show the conflicting write.
	case writeErr != nil:
		return ctrl.Result{}, writeErr
	case pending:
		p.sooner(statusInterval)
	default:
		p.announce(ctx, failure)
	}
	return ctrl.Result{RequeueAfter: p.next}, nil
}

// classify gives every error a class. An error without one comes from reading the API server.
func classify(err error) *fault.Error {
	if err == nil {
		return nil
	}
	if failure, ok := fault.As(err); ok {
		return failure
	}
	return fault.Retryablef(v1alpha1.ReasonAPIServer, "the API server cannot be read: %s", apierrors.ReasonForError(err)).Because(err)
}

// describeStatus sets the numbers. A pass that failed before it knew them keeps the previous ones.
func (p *pass) describeStatus() {
	s := &p.set.Status
	s.ObservedGeneration = p.set.Generation
	s.Selector = v1alpha1.LabelAgentSet + "=" + p.set.Name
	s.LastHandledReconcileAt = p.set.Annotations[v1alpha1.AnnotationReconcileAt]
	if p.facts.Agents == nil {
		return
	}
	c := agentset.Count(p.facts, p.decision)
	for to, from := range map[*int32]int{
		&s.Desired: c.Desired, &s.Current: c.Current, &s.UpToDate: c.UpToDate, &s.Ready: c.Ready, &s.Reporting: c.Reporting,
	} {
		*to = int32(min(from, math.MaxInt32))
	}
	s.Shards = 0
	for _, shard := range p.memory.shards {
		if shard.verdict == tokensecret.Ours {
			s.Shards++
		}
	}
	p.reporting(c)
}

// reporting sets the condition that says whether all agents report.
func (p *pass) reporting(c agentset.Counts) {
	switch {
	case c.Desired == 0:
		apimeta.RemoveStatusCondition(&p.set.Status.Conditions, v1alpha1.ConditionReporting)
	case c.Reporting == c.Desired:
		p.setCondition(v1alpha1.ConditionReporting, metav1.ConditionTrue, v1alpha1.ReasonMetricsReceived,
			"Calyptia Cloud receives metrics of all agents")
	default:
		p.setCondition(v1alpha1.ConditionReporting, metav1.ConditionFalse, v1alpha1.ReasonAgentsNotReporting,
			"these nodes or replicas do not report: "+agentset.Names(c.Silent)+": check their pods")
	}
}

// conclude sets Ready, Reconciling and Stalled; the last two are never both present.
func (p *pass) conclude(failure *fault.Error) {
	conditions := &p.set.Status.Conditions
	if failure == nil {
		p.setCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonApplied,
			"all Agents are Ready, and their sessions are stored")
		apimeta.RemoveStatusCondition(conditions, v1alpha1.ConditionReconciling)
		apimeta.RemoveStatusCondition(conditions, v1alpha1.ConditionStalled)
		return
	}
	present, absent := v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled
	if failure.Class == fault.Terminal {
		present, absent = absent, present
	}
	p.setCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, failure.Reason, failure.Message)
	p.setCondition(present, metav1.ConditionTrue, failure.Reason, failure.Message)
	apimeta.RemoveStatusCondition(conditions, absent)
}

func (p *pass) setCondition(kind string, status metav1.ConditionStatus, reason, message string) {
	const maxMessage = 1024
	if runes := []rune(message); len(runes) > maxMessage {
		message = string(runes[:maxMessage])
	}
	apimeta.SetStatusCondition(&p.set.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: p.set.Generation,
		LastTransitionTime: metav1.NewTime(p.Clock.Now()),
	})
}

// schedule returns the time until a failed pass is retried. A watch ends the wait for a change.
func (p *pass) schedule(failure *fault.Error) {
	switch {
	case failure == nil:
		p.memory.failed = 0
	case failure.Quiet:
		p.sooner(staleWait)
	case failure.Class == fault.Waiting:
		p.sooner(failure.RetryAfter)
		p.memory.failed = 0
	case failure.Class == fault.Retryable:
		p.memory.failed++
		p.sooner(fault.Backoff(p.memory.failed, firstBackoff, longestBackoff))
	default:
		p.memory.failed = 0
		p.sooner(longestBackoff)
	}
}

// writeStatus writes what changed. pending is true if it is too early to write mere numbers.
func (p *pass) writeStatus(ctx context.Context) (pending bool, err error) {
	if equality.Semantic.DeepEqual(p.base.Status, p.set.Status) {
		return false, nil
	}
	now := p.Clock.Now()
	if !p.urgent() && now.Sub(p.memory.status) < statusInterval {
		return true, nil
	}
	base, target := p.base.DeepCopy(), p.base.DeepCopy()
	target.Status = p.set.Status
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	if err := p.Client.Status().Patch(ctx, target, patch); err != nil {
		return false, err
	}
	p.memory.status, p.memory.written = now, target.ResourceVersion
	return false, nil
}

// urgent reports whether more than numbers and messages changed.
func (p *pass) urgent() bool {
	was, is := &p.base.Status, &p.set.Status
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
func (p *pass) announce(ctx context.Context, failure *fault.Error) {
	if failure == nil || failure.Class != fault.Terminal {
		p.memory.stalled = ""
		return
	}
	was := apimeta.FindStatusCondition(p.base.Status.Conditions, v1alpha1.ConditionStalled)
	if failure.Message == p.memory.stalled || was != nil && was.Message == failure.Message {
		p.memory.stalled = failure.Message
		return
	}
	p.memory.stalled = failure.Message
	logf.FromContext(ctx).Info("Stalled", "reason", failure.Reason, "message", failure.Message)
	p.event(corev1.EventTypeWarning, failure.Reason, "Reconcile", failure.Message)
}

// sessionsRenewed records an event for the nodes or replicas whose pods run with an earlier session.
func (p *pass) sessionsRenewed(ctx context.Context, slots []string) {
	logf.FromContext(ctx).Info("Sessions renewed", "keys", agentset.Names(slots))
	p.event(corev1.EventTypeNormal, "SessionsRenewed", "StoreSessions",
		"restart the pods of "+agentset.Names(slots)+": their sessions were renewed")
}

func (p *pass) event(kind, reason, action, note string) {
	if runes := []rune(note); len(runes) > maxNote {
		note = string(runes[:maxNote])
	}
	if p.Recorder != nil {
		p.Recorder.Eventf(p.base, nil, kind, reason, action, "%s", note)
	}
}
