/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package remoteagent is about the one remote agent of an Agent: it finds,
// registers, adopts, reads and deletes it. What to do is decided by package
// registration, from facts that are gathered here. Only creation.send registers.
//
// A Task is one reconciliation: the draft of the Agent, the endpoint, what was
// observed, and what it comes to. Known is what one reconciliation leaves to the
// next in this process.
package remoteagent

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/plan"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// Operator is what all Agents have in common.
type Operator struct {
	// Client reads from the cache, Secrets and ConfigMaps as metadata only, and writes.
	Client client.Client
	// APIReader reads from the API server itself.
	APIReader client.Reader
	// Projects are the connections to Calyptia Cloud.
	Projects *connection.Registry
	Clock    clock.PassiveClock
	Settings Settings

	Secrets  tokensecret.Keeper
	leases   leases
	inFlight inFlight
	started  time.Time
}

// Task is one reconciliation of one Agent. Its parts are what it was given, what it saw, and what it comes to.
type Task struct {
	*Operator
	*Draft
	endpoint
	observation
	outcome
	// Known is what earlier reconciliations left.
	Known *Known
	// Config is the declared configuration, and reread that the remote agent has to be read because of it.
	Config rawconfig.Config
	Reread bool
	// Targets are the fleet and environment that the spec declares, once Names resolved them.
	Targets plan.Targets
}

// NewTask begins the reconciliation of an Agent.
func NewTask(o *Operator, base *v1alpha1.Agent, k *Known) *Task {
	now := o.Clock.Now()
	o.leases.kept(now)
	k.wake()
	return &Task{Operator: o, Known: k, endpoint: endpoint{turn: ratelimit.NewTurn(now)}, Draft: &Draft{
		writer: o.Client, Reader: o.APIReader, Base: base, Agent: base.DeepCopy(),
		Writes: &k.Writes, began: now, clusterID: o.Settings.ClusterID, retry: o.Settings.BackoffMax,
	}}
}

// Start begins the work of a process: it fills in what is left out, and adds the indexes of the cache.
func (o *Operator) Start(ctx context.Context, indexer client.FieldIndexer) error {
	o.Settings = o.Settings.withDefaults()
	o.Secrets = tokensecret.Keeper{Reader: o.APIReader, Agents: o.Client, Writer: o.Client}
	o.started = o.Clock.Now()
	return addIndexes(ctx, indexer)
}

// Forget drops what is kept of an Agent that is deleted.
func (o *Operator) Forget(key types.NamespacedName) { o.leases.drop(key) }

// Interval is the time between two checks of the remote agent.
func (t *Task) Interval(ctx context.Context) time.Duration {
	if t.CloudProject == nil && t.FindProject(ctx) != nil {
		return connection.DefaultResyncInterval
	}
	return intervalOf(t.CloudProject)
}

func intervalOf(cp *v1alpha1.CloudProject) time.Duration {
	if stretched := cp.Status.ResyncInterval; stretched != nil && stretched.Duration > 0 {
		return stretched.Duration
	}
	if declared := cp.Spec.ResyncInterval; declared != nil && declared.Duration > 0 {
		return declared.Duration
	}
	return connection.DefaultResyncInterval
}

// Retains reports whether the remote agent outlives the Agent.
func (t *Task) Retains() bool {
	return plan.Retains(&t.Agent.Spec, t.Agent.Status.Origin == v1alpha1.OriginRegistered)
}

// Handled reports whether no request to reconcile waits.
func (t *Task) Handled() bool {
	return t.Agent.Status.LastHandledReconcileAt == t.Agent.Annotations[v1alpha1.AnnotationReconcileAt]
}

// RecordedEndpoint is where the remote agent was seen last.
func RecordedEndpoint(a *v1alpha1.Agent) connection.Endpoint {
	return connection.Recorded(a.Status.URL, a.Status.ProjectID)
}

// Declared are the managed fields.
func (t *Task) Declared() []plan.Declaration {
	var config plan.Configuration
	if c := t.Config; c.Data != "" || c.Hash != "" {
		config = plan.Configuration{Data: c.Data, Digest: c.Digest(), DigestOf: c.Key.Digest}
	}
	return plan.Declare(&t.Agent.Spec, t.Targets, config)
}
