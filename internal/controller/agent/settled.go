/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// lowPriority lets what people change go before what comes around by itself.
var lowPriority = handler.LowPriority

// fingerprint changes when something changed that may end a failure.
func (p *pass) fingerprint(ctx context.Context) string {
	annotations := p.agent.Annotations
	var epoch int
	var generation int64 // which Agents the CloudProject admits, and who may adopt, stands in its spec
	if ref, named := projectref.Ref(p.agent, p.Settings.DefaultProject); named {
		var cp v1alpha1.CloudProject
		if p.Client.Get(ctx, ref, &cp, client.UnsafeDisableDeepCopy) == nil {
			generation = cp.Generation
			if shared := p.Projects.Lookup(cp.UID); shared != nil {
				epoch = shared.Epoch()
			}
		}
	}
	var secrets []string
	for _, name := range tokensecret.Names(p.agent) {
		secrets = append(secrets, p.version(ctx, "Secret", name))
	}
	return fmt.Sprint(p.agent.Generation, !p.agent.DeletionTimestamp.IsZero(),
		annotations[v1alpha1.AnnotationReconcileAt], annotations[v1alpha1.AnnotationOrphan],
		p.sourceVersion(ctx), secrets, epoch, generation)
}

// held reports whether the Agent failed, nothing changed since, and it is not time to try again. The
// operator's own writes wake the Agent too; without this a failure would go round at full speed.
func (p *pass) held(ctx context.Context) bool {
	// Taken before anything is read, so that what changes during the pass is not missed.
	p.found = p.fingerprint(ctx)
	return p.memory.hold.After(p.Clock.Now()) && p.memory.holdFor == p.found
}

// settled reports whether all is done and the remote agent is not to be looked at yet. It asks nobody
// but the cache.
func (p *pass) settled(ctx context.Context) bool {
	status := &p.agent.Status
	done := atRest(p.agent, p.Clock.Now()) &&
		status.Applied.SourceResourceVersion == p.sourceVersion(ctx) &&
		p.memory.unwritten == 0 && len(p.memory.resend) == 0 &&
		p.secretsUnchanged(ctx) && p.samePlace(ctx)
	if !done {
		return false
	}
	p.memory.hold = time.Time{}
	now := p.Clock.Now()
	if p.memory.due.IsZero() {
		// A process that just started spreads its Agents over the whole interval. It believes the one before it of
		// Secrets that nobody touched since.
		p.memory.verified = p.memory.secretVersion == status.Applied.TokenSecretResourceVersion &&
			p.memory.sessionVersion == status.Applied.SessionSecretResourceVersion
		p.memory.due = now.Add(rand.N(p.interval(ctx)))
	}
	return now.Before(p.memory.due)
}

// atRest reports whether an Agent itself tells that nothing is to be done for it.
func atRest(a *v1alpha1.Agent, now time.Time) bool {
	status := &a.Status
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == "True" && ready.Reason != v1alpha1.ReasonSuspended &&
		status.ID != "" && !registering(a, now) && fenced(a) &&
		status.ObservedGeneration == a.Generation && status.Applied.Generation == a.Generation &&
		status.LastHandledReconcileAt == a.Annotations[v1alpha1.AnnotationReconcileAt] && len(status.DuplicatesToDelete) == 0
}

// room is how long the first look of this process at an Agent is put off: while the first list is read, for which new
// Agents wait, one at rest leaves the processors to it. Otherwise it is zero.
func (r *Reconciler) room(ctx context.Context, key types.NamespacedName) time.Duration {
	var a v1alpha1.Agent
	if r.memories.before(key) != nil || r.Client.Get(ctx, key, &a, client.UnsafeDisableDeepCopy) != nil ||
		!a.DeletionTimestamp.IsZero() || !atRest(&a, r.Clock.Now()) {
		return 0
	}
	var cp v1alpha1.CloudProject
	ref, named := projectref.Ref(&a, r.Settings.DefaultProject)
	if !named || r.Client.Get(ctx, ref, &cp, client.UnsafeDisableDeepCopy) != nil {
		return 0
	}
	if shared := r.Projects.Lookup(cp.UID); shared == nil || !shared.Warming() {
		return 0
	}
	p, applied := &pass{Reconciler: r, agent: &a}, &a.Status.Applied
	if p.version(ctx, "Secret", tokensecret.Name(&a)) != applied.TokenSecretResourceVersion ||
		p.sourceVersion(ctx) != applied.SourceResourceVersion {
		return 0
	}
	return time.Second + rand.N(2*time.Second)
}

// secretsUnchanged compares the Secrets with how they were last found right; after a start their being
// there is enough until the next look at the remote agent.
func (p *pass) secretsUnchanged(ctx context.Context) bool {
	status := &p.agent.Status
	unchanged := func(ref *v1alpha1.LocalSecretReference, name string, verified *string) bool {
		if ref == nil || ref.Name != name {
			return false
		}
		now := p.version(ctx, "Secret", name)
		if *verified == "" && p.memory.due.IsZero() {
			*verified = now
		}
		return now != "" && *verified == now
	}
	if !unchanged(status.TokenSecretRef, tokensecret.Name(p.agent), &p.memory.secretVersion) {
		return false
	}
	name, wanted := tokensecret.SessionName(p.agent)
	if !wanted {
		return status.SessionSecretRef == nil
	}
	return unchanged(status.SessionSecretRef, name, &p.memory.sessionVersion)
}

// samePlace reports whether the CloudProject still leads to where the remote agent was seen last.
func (p *pass) samePlace(ctx context.Context) bool {
	if p.findProject(ctx) != nil {
		return true // Its CloudProject tells of that; an applied Agent has nothing to do.
	}
	shared := p.Projects.Lookup(p.cloudProject.UID)
	return shared == nil || shared.Endpoint() == connection.Endpoint{URL: p.agent.Status.URL, ProjectID: p.agent.Status.ProjectID}
}

// interval is the time between two looks at the remote agent.
func (p *pass) interval(ctx context.Context) time.Duration {
	if p.cloudProject == nil && p.findProject(ctx) != nil {
		return connection.DefaultResyncInterval
	}
	if stretched := p.cloudProject.Status.ResyncInterval; stretched != nil && stretched.Duration > 0 {
		return stretched.Duration
	}
	if declared := p.cloudProject.Spec.ResyncInterval; declared != nil && declared.Duration > 0 {
		return declared.Duration
	}
	return connection.DefaultResyncInterval
}

// observed sets when the remote agent is looked at next, with jitter so that Agents made together part.
func (p *pass) observed(ctx context.Context) {
	interval := p.interval(ctx)
	p.memory.due = p.Clock.Now().Add(interval*9/10 + rand.N(interval/5+1))
}

// rest sleeps until the next thing to do.
func (p *pass) rest() (ctrl.Result, error) {
	if p.agent.Spec.Suspend && p.agent.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	now := p.Clock.Now()
	next := p.memory.due
	if !p.memory.hold.IsZero() {
		next = p.memory.hold // Even if writing the status outlasted it.
	}
	return ctrl.Result{RequeueAfter: max(next.Sub(now), time.Millisecond), Priority: &lowPriority}, nil
}
