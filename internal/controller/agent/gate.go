/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"fmt"
	"math/rand/v2"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/plan"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/schedule"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// gate decides from the cache alone whether there is anything to do for an Agent now.
type gate struct{ *task }

// inBackoff reports whether the Agent failed, nothing changed since, and its retry is not due.
func (g gate) inBackoff(ctx context.Context) bool {
	// Taken before anything is read, so that what changes meanwhile is not missed.
	g.fingerprint = g.ofFailure(ctx)
	return g.Known.Timers.InBackoff(g.Clock.Now(), g.fingerprint != g.Known.BackoffFor)
}

// ofFailure is a fingerprint of everything whose change may end a failure.
func (g gate) ofFailure(ctx context.Context) string {
	annotations := g.Agent.Annotations
	var epoch int
	var uid types.UID    // One that was created again may have the same generation and epoch.
	var generation int64 // Which Agents the CloudProject allows, and who may adopt, is in its spec.
	if ref, named := projectref.Ref(g.Agent, g.Settings.DefaultProject); named {
		var cp v1alpha1.CloudProject
		if g.Client.Get(ctx, ref, &cp, client.UnsafeDisableDeepCopy) == nil {
			uid, generation = cp.UID, cp.Generation
			if shared := g.Projects.Lookup(cp.UID); shared != nil {
				epoch = shared.Epoch()
			}
		}
	}
	if g.Deleting() && g.Known.Barred { // What its users write asks for no request; that it is to be left ends them.
		left := plan.Retains(&g.Agent.Spec, g.Agent.Status.Origin == v1alpha1.OriginRegistered)
		return cloud.Hash(fmt.Sprint(annotations[v1alpha1.AnnotationOrphan], left, epoch, uid, generation))
	}
	var secrets []string
	for _, name := range tokensecret.Names(g.Agent) {
		secrets = append(secrets, g.versionOf(ctx, name))
	}
	return cloud.Hash(fmt.Sprint(g.Agent.Generation, g.Deleting(),
		annotations[v1alpha1.AnnotationReconcileAt], annotations[v1alpha1.AnnotationOrphan],
		g.SourceVersion(ctx, g.Agent), secrets, epoch, uid, generation))
}

// versionOf is the version of a Secret in the cache; that before a write that was not stored as a whole.
func (t *task) versionOf(ctx context.Context, secret string) string {
	version := t.Version(ctx, t.Agent.Namespace, "Secret", secret)
	if own := t.Known.Secrets.NotStored; own != nil && version == own.Version {
		return own.Before
	}
	return version
}

// upToDate reports whether there is nothing to do until the next check, which is not due.
func (g gate) upToDate(ctx context.Context) bool {
	status, timers := &g.Agent.Status, &g.Known.Timers
	standing := schedule.Standing{
		Ready: status.ObservedGeneration == g.Agent.Generation &&
			meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady),
		Registered:  status.ID != "" && !g.Open(),
		Fenced:      remoteagent.Fenced(g.Agent),
		Applied:     status.Applied.Generation == g.Agent.Generation && status.Applied.SourceResourceVersion == g.SourceVersion(ctx, g.Agent),
		Handled:     g.Handled(),
		Written:     timers.Unwritten == 0,
		Delayed:     len(g.Known.Updates.Delayed) > 0,
		Duplicates:  len(status.DuplicatesToDelete) > 0,
		SecretsKept: g.secretsKept(ctx), SameEndpoint: g.sameEndpoint(ctx),
	}
	if !standing.UpToDate() {
		return false
	}
	now := g.Clock.Now()
	*timers = timers.Good()
	if timers.Check.IsZero() {
		// A process that just started spreads its Agents over the whole interval, and trusts the status about Secrets
		// that did not change.
		checks := &g.Known.Secrets
		checks.Right = checks.Token == status.Applied.TokenSecretResourceVersion &&
			checks.Session == status.Applied.SessionSecretResourceVersion
		timers.Check = schedule.First(now, g.Interval(ctx), rand.Float64())
	}
	return !timers.Due(now)
}

// secretsKept compares the Secrets with how they were last found right; after a start it is enough that they exist, until
// the next check of the remote agent.
func (t *task) secretsKept(ctx context.Context) bool {
	status, checks := &t.Agent.Status, &t.Known.Secrets
	kept := func(ref *v1alpha1.LocalSecretReference, name string, right *string) bool {
		if ref == nil || ref.Name != name {
			return false
		}
		now := t.Version(ctx, t.Agent.Namespace, "Secret", name)
		if *right == "" && t.Known.Timers.Check.IsZero() {
			*right = now
		}
		return now != "" && *right == now
	}
	if !kept(status.TokenSecretRef, tokensecret.Name(t.Agent), &checks.Token) {
		return false
	}
	name, wanted := tokensecret.SessionName(t.Agent)
	if !wanted {
		return status.SessionSecretRef == nil
	}
	return kept(status.SessionSecretRef, name, &checks.Session)
}

// sameEndpoint reports whether the CloudProject still leads to where the remote agent was seen last.
func (g gate) sameEndpoint(ctx context.Context) bool {
	if g.FindProject(ctx) != nil {
		return true // The CloudProject reports that; an applied Agent has nothing to do.
	}
	shared := g.Projects.Lookup(g.CloudProject.UID)
	return shared == nil || shared.Endpoint() == remoteagent.RecordedEndpoint(g.Agent) &&
		g.Agent.Status.CloudProjectUID == string(g.CloudProject.UID)
}
