/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"math"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// The actions of events.
const (
	actionVerify  = "Verify"
	actionRelease = "Release"
)

const (
	// maxNote is the longest note of an event that the API server accepts.
	maxNote = 1024
)

// reporter writes the status of CloudProjects.
type reporter struct {
	client        client.Client
	recorder      events.EventRecorder
	clock         clock.PassiveClock
	countInterval time.Duration
}

// describe sets all of the status but the conditions. The fields about the API show the last verified state. p is nil if the
// credentials were never loaded.
func describe(cp *v1alpha1.CloudProject, m *memo, p *connection.Connection) {
	s := &cp.Status
	s.ObservedGeneration = cp.Generation
	s.Agents = int32(min(m.counted(), math.MaxInt32))
	s.ResyncInterval = &metav1.Duration{Duration: m.interval}
	if m.check.handled != "" {
		s.LastHandledReconcileAt = m.check.handled
	}
	if p == nil {
		return
	}
	s.DuplicateAgents = m.duplicates
	if result := p.Result(); result.Verified {
		s.Authentication = result.Authentication
		if result.ListSupported != nil { // A list that is missing for a while is expected after a restart, too.
			s.ListSupported = result.ListSupported
		}
		if connection.Recorded(s.URL, s.ProjectID) != p.Endpoint() {
			s.ListSupported = result.ListSupported // That of the former endpoint is none of this one.
		}
		s.URL, s.ProjectID = p.Endpoint().URL, p.Endpoint().ProjectID
	}
}

// both merges two failures into one: the first determines the reason.
func both(first, second *fault.Error) *fault.Error {
	switch {
	case first == nil || first.Quiet && second != nil:
		return second
	case second == nil || second.Quiet:
		return first
	}
	f := *first
	f.Message += "; also, " + second.Message
	if stalls(second) {
		f.Class = fault.Terminal
	}
	return &f
}

// stalls reports whether user action is required. A rejected token does not become valid without it.
func stalls(f *fault.Error) bool {
	return f.Class == fault.Terminal || f.Code == fault.TokenRejected
}

// setConditions sets all conditions.
func (r reporter) setConditions(cp *v1alpha1.CloudProject, f *fault.Error) {
	conditions := &cp.Status.Conditions
	ready := apimeta.FindStatusCondition(*conditions, v1alpha1.ConditionReady)
	if f != nil && f.Quiet && ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == cp.Generation {
		return
	}
	set := func(kind string, status metav1.ConditionStatus, reason, message string) {
		agentstatus.SetCondition(conditions, metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: message,
			ObservedGeneration: cp.Generation, LastTransitionTime: metav1.NewTime(r.clock.Now()),
		})
	}
	setOnly := func(kind string, present bool) {
		if present {
			set(kind, metav1.ConditionTrue, f.Reason, f.Message)
		} else {
			apimeta.RemoveStatusCondition(conditions, kind)
		}
	}
	if f == nil {
		set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified, "Calyptia Cloud accepts the credentials")
	} else {
		status := metav1.ConditionFalse
		if f.Code == fault.CredentialsUnverified {
			status = metav1.ConditionUnknown
		}
		set(v1alpha1.ConditionReady, status, f.Reason, f.Message)
	}
	stalled := f != nil && stalls(f)
	setOnly(v1alpha1.ConditionStalled, stalled)
	setOnly(v1alpha1.ConditionReconciling, f != nil && !stalled && f.Class == fault.Retryable &&
		f.Code == fault.CredentialsUnverified)
}

// record makes Stalled name the mass deletion, whatever the reason of Ready is: a restart restores it from there.
func record(cp *v1alpha1.CloudProject, tripped *fault.Error) {
	stalled := apimeta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionStalled)
	if stalled != nil && tripped != nil {
		stalled.Reason = tripped.Reason
	}
}

// write writes the status if it changed, and records an event. pending is true if only numbers changed and it is too
// early to write them.
func (r reporter) write(ctx context.Context, before, cp *v1alpha1.CloudProject, m *memo) (pending bool, err error) {
	if equality.Semantic.DeepEqual(before.Status, cp.Status) {
		return false, nil
	}
	now := r.clock.Now()
	numbers := before.Status.DeepCopy()
	numbers.Agents, numbers.ResyncInterval = cp.Status.Agents, cp.Status.ResyncInterval
	if equality.Semantic.DeepEqual(*numbers, cp.Status) && now.Before(m.wrote.at.Add(r.countInterval)) {
		return true, nil
	}
	base := cp.DeepCopy()
	base.Status = before.Status
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	if err := r.client.Status().Patch(ctx, cp, patch); err != nil {
		return false, err
	}
	m.wrote.at, m.wrote.version = now, cp.ResourceVersion
	r.announce(ctx, cp, apimeta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady))
	return false, nil
}

// released writes the status of a CloudProject that was released, if finalizers of others keep it.
func (r reporter) released(ctx context.Context, before, cp *v1alpha1.CloudProject, m *memo) error {
	if len(cp.Finalizers) == 0 {
		return nil
	}
	cp.Status.ObservedGeneration = cp.Generation
	r.setConditions(cp, fault.Waitingf(v1alpha1.ReasonInUse,
		"the operator released this CloudProject, and makes no requests with it: the deletion waits for the finalizer %s", cp.Finalizers[0]))
	_, err := r.write(ctx, before, cp, m)
	return apiserver.IgnoreGone(err)
}

// announce logs every change of Ready, and records an event if its status or reason changed.
func (r reporter) announce(ctx context.Context, cp *v1alpha1.CloudProject, was *metav1.Condition) {
	is := apimeta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionReady)
	if was == nil {
		was = &metav1.Condition{Status: metav1.ConditionUnknown}
	}
	if is == nil || is.Status == was.Status && is.Reason == was.Reason && is.Message == was.Message {
		return
	}
	logf.FromContext(ctx).Info("Ready changed", "ready", is.Status, "reason", is.Reason, "message", is.Message)
	kind := corev1.EventTypeWarning
	switch {
	case is.Status == was.Status && is.Reason == was.Reason:
		return
	case is.Status == metav1.ConditionTrue:
		kind = corev1.EventTypeNormal
	case is.Status == metav1.ConditionUnknown && was.Status != metav1.ConditionTrue:
		return // Not ready yet is not worth a warning.
	}
	note := is.Message
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote], "")
	}
	r.recorder.Eventf(cp, nil, kind, is.Reason, actionVerify, "%s", note)
}
