/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// silence is after how long without metrics an unhealthy agent counts as stopped: three of Fluent Bit's intervals.
const silence = 90 * time.Second

// suspended stops an Agent on its own wish. It stays Ready if nothing waits to be applied.
func (p *pass) suspended(ctx context.Context) error {
	status := &p.agent.Status
	if status.ID != "" && !p.open() && p.loadConfig(ctx) == nil {
		observed := p.agent.Spec.SyncPolicy == v1alpha1.SyncObserve
		if observed || len(p.memory.sent)+len(p.unapplied(declared(&p.agent.Spec, &p.config))) == 0 {
			status.Applied.Generation = p.agent.Generation
			return nil
		}
	}
	return fault.Waitingf(v1alpha1.ReasonSuspended,
		"spec.suspend is true: nothing is done until it is taken out")
}

// conclude sets all conditions from what the pass came to. grace keeps an outage from showing on an Agent
// that is applied or waits for a person.
func (p *pass) conclude(f classed, grace bool) {
	status := &p.agent.Status
	if f.Error != nil && f.Quiet {
		return
	}
	applied := status.Applied.Generation == p.agent.Generation && p.agent.DeletionTimestamp.IsZero() && !p.unfinished()
	// What a person has to mend stands while its CloudProject is proved anew, above all after a restart.
	stalled := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionStalled)
	stands := applied || f.is(v1alpha1.ReasonProjectNotReady) && stalled != nil && stalled.ObservedGeneration == p.agent.Generation
	if f.Error == nil || !stands || f.Class == fault.Terminal || !grace {
		p.summarize(f, applied)
	}
	status.ObservedGeneration = p.agent.Generation
	if remote := cmp.Or(p.remote, p.sight); remote != nil {
		status.Agent = remoteStatus(remote)
		p.reporting(remote)
		p.Metrics.observed(p.key(), remote.LastMetricsAddedAt)
	}
	who := "syncPolicy " + string(p.agent.Spec.SyncPolicy)
	if p.Settings.ReadOnly {
		who = "the operator runs with --read-only and"
	}
	p.listed(v1alpha1.ConditionDrifted, v1alpha1.ReasonChangedExternally, status.DriftedFields, "somebody else changed %s; "+who+" lets it stand")
	p.listed(v1alpha1.ConditionFieldsIgnored, v1alpha1.ReasonNotPersisted, status.IgnoredFields,
		"the service accepted %s and did not keep the value; it is sent again when it changes")
}

// unfinished reports whether this generation was applied and is not any more: its configuration's source changed, or
// something was sent that no read has confirmed. That is no outage to be patient with.
func (p *pass) unfinished() bool {
	if len(p.memory.sent) > 0 {
		return true
	}
	known := p.config.Data != "" || p.config.Hash != ""
	return known && p.agent.Spec.SyncPolicy != v1alpha1.SyncObserve && len(p.unapplied(declared(&p.agent.Spec, &p.config))) > 0
}

// summarize sets Ready, Reconciling and Stalled, of which the last two never stand together.
func (p *pass) summarize(f classed, applied bool) {
	status := &p.agent.Status
	if f.Error == nil {
		status.LastHandledReconcileAt = p.agent.Annotations[v1alpha1.AnnotationReconcileAt]
		reason, message := v1alpha1.ReasonApplied, "the remote agent is as declared"
		switch {
		case p.agent.Spec.Suspend:
			reason, message = v1alpha1.ReasonSuspended, "spec.suspend is true: the remote agent is left as it is"
		case p.agent.Spec.SyncPolicy == v1alpha1.SyncObserve:
			reason, message = v1alpha1.ReasonObserved, "the remote agent exists and is only observed"
		}
		p.set(v1alpha1.ConditionReady, metav1.ConditionTrue, reason, message)
		p.unset(v1alpha1.ConditionReconciling)
		p.unset(v1alpha1.ConditionStalled)
		return
	}
	p.set(v1alpha1.ConditionReady, metav1.ConditionFalse, f.Reason, f.Message)
	if f.Class == fault.Terminal {
		// What failed for a request to reconcile is answered, too.
		status.LastHandledReconcileAt = p.agent.Annotations[v1alpha1.AnnotationReconcileAt]
		p.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, f.Reason, f.Message)
		p.unset(v1alpha1.ConditionReconciling)
		return
	}
	p.unset(v1alpha1.ConditionStalled)
	if applied {
		p.unset(v1alpha1.ConditionReconciling)
	} else {
		p.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, f.Reason, f.Message)
	}
}

// ownCA reports whether a Fluent Bit with the Agent's session needs a CA that the session cannot hold.
func (p *pass) ownCA() bool {
	_, wanted := tokensecret.SessionName(p.agent)
	return wanted && p.cloudProject != nil && p.cloudProject.Spec.CABundle != nil
}

// reporting says whether the service hears of the agent.
func (p *pass) reporting(remote *cloud.Agent) {
	last := remote.LastMetricsAddedAt
	switch {
	case last == nil || last.IsZero():
		message := "the service has not received metrics of this agent yet"
		if p.ownCA() {
			message += "; its Fluent Bit has to trust the CA of the CloudProject's caBundle, which is not part of the session"
		}
		p.set(v1alpha1.ConditionReporting, metav1.ConditionFalse, v1alpha1.ReasonNeverReported, message)
	case remote.Status != "healthy" && p.Clock.Since(*last) > silence:
		p.set(v1alpha1.ConditionReporting, metav1.ConditionFalse, v1alpha1.ReasonMetricsStopped,
			"the service says "+clip(remote.Status)+"; the last metrics came at "+last.UTC().Format(time.RFC3339))
	default:
		p.set(v1alpha1.ConditionReporting, metav1.ConditionTrue, v1alpha1.ReasonMetricsReceived,
			"the service receives metrics of this agent")
	}
}

// listed shows a condition that names fields, never values, while there are any.
func (p *pass) listed(kind, reason string, fields []string, format string) {
	if len(fields) == 0 {
		p.unset(kind)
		return
	}
	p.set(kind, metav1.ConditionTrue, reason, fmt.Sprintf(format, strings.Join(fields, ", ")))
}

func (p *pass) set(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&p.agent.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: p.agent.Generation,
	})
}

func (p *pass) unset(kind string) { meta.RemoveStatusCondition(&p.agent.Status.Conditions, kind) }

// volatile keeps what always changes from causing a write of its own more than now and then: numbers, and the versions
// of Secrets that somebody touched. Versions that are not right any more are told at once: the next process believes them.
func (p *pass) volatile(now time.Time) {
	before, after := &p.base.Status, &p.agent.Status
	if p.memory.volatileAt.IsZero() {
		p.memory.volatileAt = now
	}
	if now.Sub(p.memory.volatileAt) >= p.Settings.VolatileInterval {
		p.memory.volatileAt = now
		return
	}
	fresh := after.DeepCopy()
	if before.Agent != nil && after.Agent != nil {
		after.Agent.MetricsCount = before.Agent.MetricsCount
		after.Agent.LastMetricsAddedAt, after.Agent.UpdatedAt = before.Agent.LastMetricsAddedAt, before.Agent.UpdatedAt
	}
	later := func(before string, after *string) {
		if before != "" && *after != "" {
			*after = before
		}
	}
	later(before.Applied.TokenSecretResourceVersion, &after.Applied.TokenSecretResourceVersion)
	later(before.Applied.SessionSecretResourceVersion, &after.Applied.SessionSecretResourceVersion)
	if !equality.Semantic.DeepEqual(before, after) {
		*after = *fresh // There is a write anyway.
	}
}

// registeredStatus is what is known of an agent right after its registration.
func registeredStatus(made *cloud.Registered, agent *v1alpha1.Agent, config rawconfig.Config) *v1alpha1.RemoteAgent {
	sent := registrationBody(agent, config, "")
	return &v1alpha1.RemoteAgent{
		Name: clip(sent.Name), Version: clip(sent.Version), FleetID: sent.FleetID,
		EnvironmentName: clip(made.EnvironmentName), CreatedAt: timestamp(&made.CreatedAt),
	}
}

// remoteStatus is what the service says of the agent, in bounds.
func remoteStatus(a *cloud.Agent) *v1alpha1.RemoteAgent {
	const mostTags = 64
	var tags []string
	for _, tag := range a.Tags[:min(len(a.Tags), mostTags)] {
		tags = append(tags, clip(tag))
	}
	return &v1alpha1.RemoteAgent{
		Name: clip(a.Name), Version: clip(a.Version), Status: clip(a.Status), OS: clip(a.OS), Arch: clip(a.Arch),
		Tags: tags, EnvironmentName: clip(a.EnvironmentName), FleetID: clip(remoteFleet(a)),
		MetricsCount:        a.MetricsCount,
		FirstMetricsAddedAt: timestamp(a.FirstMetricsAddedAt), LastMetricsAddedAt: timestamp(a.LastMetricsAddedAt),
		CreatedAt: timestamp(&a.CreatedAt), UpdatedAt: timestamp(&a.UpdatedAt),
	}
}

// timestamp has the precision that the API server keeps, so that equal times stay equal.
func timestamp(t *time.Time) *metav1.Time {
	if t == nil || t.IsZero() || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
		return nil // RFC 3339 has no other years.
	}
	return &metav1.Time{Time: t.UTC().Truncate(time.Second)}
}
