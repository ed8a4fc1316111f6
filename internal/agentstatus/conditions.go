/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package agentstatus turns the outcome of a reconciliation of an Agent into its
// status: the table of failures, the conditions, and the remote agent as it is
// shown. It has no side effects: it writes only the status that it is given.
package agentstatus

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// silence is after how long without metrics an unhealthy agent counts as stopped: three of Fluent Bit's intervals.
const silence = 90 * time.Second

// Outcome is the result of a reconciliation.
type Outcome struct {
	// Failure of it; nil for none.
	Failure *fault.Error
	// Grace keeps an outage from showing on an Agent that is applied or waits for user action.
	Grace bool
	// Unfinished: this generation was applied and is not any more, or something was sent that no read has confirmed.
	Unfinished bool
	// Missing: two checks found the remote agent missing; its registration may have to wait.
	Missing bool
	// Remote agent as it was seen; nil if it was not.
	Remote *cloud.Agent
	// Hide removes tokens from what the API shows.
	Hide func(string) string
	Now  time.Time
	// ReadOnly: the operator writes nothing remote.
	ReadOnly bool
	// OwnCA: a Fluent Bit with the session needs a CA that the session cannot hold.
	OwnCA bool
}

// writer sets the conditions of one Agent.
type writer struct{ *v1alpha1.Agent }

// Conclude sets the conditions of the Agent's status, and what else follows from the outcome. Only this function
// derives Ready.
func Conclude(agent *v1alpha1.Agent, o Outcome) {
	w, status, f := writer{agent}, &agent.Status, o.Failure
	if f != nil && f.Quiet {
		if o.Missing {
			const words = "remote agent not found; it is being registered again"
			w.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRemoteDeleted, words)
			w.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonRemoteDeleted, words)
		}
		return
	}
	applied := status.Applied.Generation == agent.Generation && agent.DeletionTimestamp.IsZero() && !o.Unfinished
	// Stalled stays while the credentials of the CloudProject are checked, as after a restart.
	stalled := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionStalled)
	stays := applied || f != nil && f.Code == fault.ProjectNotReady && stalled != nil && stalled.ObservedGeneration == agent.Generation
	if f == nil || !stays || f.Class == fault.Terminal || !o.Grace {
		w.summarize(f, applied)
	}
	status.ObservedGeneration = agent.Generation
	if o.Remote != nil {
		status.Agent = Remote(o.Remote, o.Hide)
		w.reporting(o)
	}
	who := "syncPolicy " + string(agent.Spec.SyncPolicy)
	if o.ReadOnly {
		who = "the operator runs with --read-only and"
	}
	w.listed(v1alpha1.ConditionDrifted, v1alpha1.ReasonChangedExternally, status.DriftedFields,
		"somebody else changed %s; "+who+" does not revert it")
	w.listed(v1alpha1.ConditionFieldsIgnored, v1alpha1.ReasonNotPersisted, status.IgnoredFields,
		"the API accepted %s but did not persist the value; it is sent again when it changes")
}

// Released shows that the operator has nothing left to do for an Agent that is being deleted, and that others keep.
func Released(agent *v1alpha1.Agent) {
	w := writer{agent}
	w.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing,
		"the operator released this Agent and manages no remote agent for it: others keep it with finalizers, and have to remove them")
	w.unset(v1alpha1.ConditionReconciling)
	w.unset(v1alpha1.ConditionStalled)
	w.unset(v1alpha1.ConditionReporting)
	agent.Status.ObservedGeneration = agent.Generation
}

// summarize sets Ready, Reconciling and Stalled, of which the last two are never True together.
func (w writer) summarize(f *fault.Error, applied bool) {
	request := w.Annotations[v1alpha1.AnnotationReconcileAt]
	if f == nil {
		w.Status.LastHandledReconcileAt = request
		reason, message := v1alpha1.ReasonApplied, "the remote agent is as declared"
		switch {
		case w.Spec.Suspend:
			reason, message = v1alpha1.ReasonSuspended, "spec.suspend is true: the remote agent is left as it is"
		case w.Spec.SyncPolicy == v1alpha1.SyncObserve:
			reason, message = v1alpha1.ReasonObserved, "the remote agent exists and is only observed"
		}
		w.set(v1alpha1.ConditionReady, metav1.ConditionTrue, reason, message)
		w.unset(v1alpha1.ConditionReconciling)
		w.unset(v1alpha1.ConditionStalled)
		return
	}
	w.set(v1alpha1.ConditionReady, metav1.ConditionFalse, f.Reason, f.Message)
	switch {
	case f.Class == fault.Terminal:
		w.Status.LastHandledReconcileAt = request // A request to reconcile that failed is handled, too.
		w.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, f.Reason, f.Message)
		w.unset(v1alpha1.ConditionReconciling)
	case applied:
		w.unset(v1alpha1.ConditionStalled)
		w.unset(v1alpha1.ConditionReconciling)
	default:
		w.unset(v1alpha1.ConditionStalled)
		w.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, f.Reason, f.Message)
	}
}

// reporting says whether Calyptia Cloud receives metrics of the agent.
func (w writer) reporting(o Outcome) {
	last := o.Remote.LastMetricsAddedAt
	switch {
	case last == nil || last.IsZero():
		message := "Calyptia Cloud has not received metrics of this agent yet"
		if o.OwnCA {
			message += "; its Fluent Bit has to trust the CA in the CloudProject's caBundle, which the session does not include"
		}
		w.set(v1alpha1.ConditionReporting, metav1.ConditionFalse, v1alpha1.ReasonNeverReported, message)
	case o.Remote.Status != "healthy" && o.Now.Sub(*last) > silence:
		w.set(v1alpha1.ConditionReporting, metav1.ConditionFalse, v1alpha1.ReasonMetricsStopped,
			"Calyptia Cloud reports the status "+w.Status.Agent.Status+"; the last metrics were received at "+last.UTC().Format(time.RFC3339))
	default:
		w.set(v1alpha1.ConditionReporting, metav1.ConditionTrue, v1alpha1.ReasonMetricsReceived,
			"Calyptia Cloud receives metrics of this agent")
	}
}

// listed shows a condition that names fields, never values, while there are any.
func (w writer) listed(kind, reason string, fields []string, format string) {
	if len(fields) == 0 {
		w.unset(kind)
		return
	}
	w.set(kind, metav1.ConditionTrue, reason, fmt.Sprintf(format, strings.Join(fields, ", ")))
}

func (w writer) set(kind string, status metav1.ConditionStatus, reason, message string) {
	SetCondition(&w.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: w.Generation,
	})
}

// SetCondition sets a condition of any kind of object. Nothing else does: whatever a message repeats, the API server accepts the status,
// and a terminal shows it as it is.
func SetCondition(conditions *[]metav1.Condition, c metav1.Condition) {
	c.Message = Message(c.Message)
	meta.SetStatusCondition(conditions, c)
}

func (w writer) unset(kind string) { meta.RemoveStatusCondition(&w.Status.Conditions, kind) }
