/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package agentset reconciles AgentSets: it gives every node of a DaemonSet, or replica of a StatefulSet, an Agent, and
// stores the sessions of the agents in Secrets. What to do is decided in internal/agentset; this package collects the
// facts and executes the decision.
package agentset

import (
	"context"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// Reconciler reconciles AgentSets.
type Reconciler struct {
	// Client reads from the cache, Secrets as metadata only, and writes.
	Client client.Client
	// APIReader reads from the API server itself.
	APIReader client.Reader
	// Nodes caches the Nodes, which live in no namespace. Without it the operator has no access to nodes and workloads,
	// and every AgentSet is Stalled.
	Nodes    cache.Cache
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	// DefaultProject is the CloudProject of templates that name none.
	DefaultProject types.NamespacedName
	// Shard is what this operator manages.
	Shard projectref.Shard

	memories memories
}

// outcome is what a pass learned, for the status, the events and the time of the next pass.
type outcome struct {
	counts  *agentset.Counts // nil if the pass failed before it knew them
	renewed []string         // slots whose stored session changed
	next    wait
}

// wait is the time until the next pass; zero if nothing is planned.
type wait time.Duration

// atMost makes the next pass start after d at the latest.
func (w *wait) atMost(d time.Duration) {
	if d > 0 && (*w == 0 || d < time.Duration(*w)) {
		*w = wait(d)
	}
}

// longestPass is what a pass counts for at most: a process or a clock that stood still must not delay what comes next.
const longestPass = time.Second

// stopwatch measures a pass without its requests to the API server.
type stopwatch struct {
	clock    clock.PassiveClock
	begun    time.Time
	requests time.Duration
}

func newStopwatch(c clock.PassiveClock) *stopwatch { return &stopwatch{clock: c, begun: c.Now()} }

// requesting calls a function that mostly waits for the API server.
func (s *stopwatch) requesting(do func() error) error {
	begun := s.clock.Now()
	defer func() { s.requests += s.clock.Since(begun) }()
	return do()
}

// own is how long the pass took so far, without its requests, at most longestPass.
func (s *stopwatch) own() time.Duration { return min(s.clock.Since(s.begun)-s.requests, longestPass) }

// Reconcile creates, updates and deletes the Agents and the sessions of an AgentSet.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var set v1alpha1.AgentSet
	err := r.Client.Get(ctx, req.NamespacedName, &set)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	if err != nil || !r.inShard(ctx, &set) {
		r.memories.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if !set.DeletionTimestamp.IsZero() {
		return r.finisher(&set, r.memories.ending(req.NamespacedName, set.UID)).deleted(ctx)
	}
	known := r.memories.of(req.NamespacedName, set.UID)
	if behind(&set, known.status.version, known.status.at, r.Clock.Now()) {
		return ctrl.Result{RequeueAfter: staleWait}, nil
	}
	watch := newStopwatch(r.Clock)
	defer func() { known.took.Store(int64(watch.own())) }()
	if asked := set.Annotations[v1alpha1.AnnotationReconcileAt]; asked != set.Status.LastHandledReconcileAt {
		known.forgetSessions()
		clear(known.updates)
	}
	var out outcome
	err = r.run(ctx, &set, known, watch, &out)
	return r.finisher(&set, known).finish(ctx, &out, err)
}

func (r *Reconciler) finisher(set *v1alpha1.AgentSet, known *memory) finisher {
	return finisher{r.Client, r.Recorder, r.Clock, set, set.DeepCopy(), known}
}

// run observes the target and the Agents, decides, and writes the Agents, then their sessions.
func (r *Reconciler) run(ctx context.Context, set *v1alpha1.AgentSet, known *memory, watch *stopwatch, out *outcome) error {
	if r.Nodes == nil {
		return fault.Terminalf(v1alpha1.ReasonAgentSetsDisabled,
			"the operator has no access to nodes and workloads: set agentSets.enabled of its chart, or --agent-sets")
	}
	observe := observer{r.Client, r.Nodes, set, known}
	if err := r.sessionsPossible(ctx, set); err != nil {
		return err
	}
	keys, missing, err := observe.keys(ctx)
	_, undecided := fault.As(err)
	if err != nil && !undecided {
		return err
	}
	unknown := err // The sessions of existing Agents do not depend on it.
	facts := agentset.Facts{
		Set: set.Name, Keys: keys, KeysUnknown: undecided, RemovalDelay: removalDelay(set), Now: r.Clock.Now(),
	}
	agents, err := observe.agents(ctx, &facts)
	if err != nil || undecided && len(agents) == 0 {
		return firstRetried(unknown, err)
	}
	decision := agentset.Decide(facts)
	counts := agentset.Count(facts, decision)
	if !undecided {
		out.counts = &counts
	}
	out.next.atMost(decision.Next)
	failed := watch.requesting(func() error {
		soon, err := writer{r.Client, r.APIReader, set, agents, known, facts}.execute(ctx, decision)
		out.next.atMost(soon)
		return err
	})
	// An Agent that the API server rejects does not keep the others from getting their sessions.
	sessions, err := r.sessionKeeper(set, known, watch).keep(ctx, slots(facts, agents), facts, decision.Desired)
	out.next.atMost(sessions.next)
	out.renewed = sessions.renewed
	if err = firstRetried(unknown, firstRetried(failed, err)); err != nil {
		return err
	}
	if missing != nil {
		return missing
	}
	if failure := agentset.Judge(counts, decision, sessions.plan, sessions.stored); failure != nil {
		return failure
	}
	return nil
}

// inShard reports whether this operator manages the set: its Agents' CloudProject says so.
func (r *Reconciler) inShard(ctx context.Context, set *v1alpha1.AgentSet) bool {
	key, ok := projectOf(set, r.DefaultProject)
	if !ok {
		return r.Shard.HasStrays()
	}
	var cp v1alpha1.CloudProject
	if err := r.Client.Get(ctx, key, &cp, client.UnsafeDisableDeepCopy); err != nil {
		return r.Shard.HasStrays()
	}
	return r.Shard.Has(&cp)
}

// projectOf returns the CloudProject of a set's Agents.
func projectOf(set *v1alpha1.AgentSet, usual types.NamespacedName) (types.NamespacedName, bool) {
	agent := &v1alpha1.Agent{Spec: set.Spec.Template.Spec}
	agent.Namespace = set.Namespace
	key, ok := projectref.Ref(agent, usual)
	return key, ok && projectref.CanExist(key)
}

// sessionsPossible fails if no Fluent Bit could use the sessions, before anything is registered.
func (r *Reconciler) sessionsPossible(ctx context.Context, set *v1alpha1.AgentSet) error {
	key, ok := projectOf(set, r.DefaultProject)
	if !ok {
		return nil // The Agents say so.
	}
	var cp v1alpha1.CloudProject
	if err := r.Client.Get(ctx, key, &cp, client.UnsafeDisableDeepCopy); err != nil {
		return nil //nolint:nilerr // The Agents say what is wrong with their CloudProject.
	}
	base, err := url.Parse(cp.Spec.URL)
	if err != nil || tokensecret.UsableURL(base) == nil {
		return nil //nolint:nilerr // The CloudProject says what is wrong with its url.
	}
	allowed, err := projectref.Allows(ctx, r.APIReader, &cp, set.Namespace)
	if err != nil || !allowed {
		return nil //nolint:nilerr // The Agents say so, and nobody else learns of the url.
	}
	return fault.Terminalf(v1alpha1.ReasonInvalid, "a Fluent Bit session cannot use the url of CloudProject %s: "+
		"use a CloudProject whose url has a host name or an IP address, and no path", key)
}
