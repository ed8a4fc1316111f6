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

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
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

// pass is one reconciliation of an AgentSet.
type pass struct {
	*Reconciler
	base   *v1alpha1.AgentSet // as the API server has it
	set    *v1alpha1.AgentSet // a copy with the status that this pass writes
	memory *memory

	agents   map[string]*v1alpha1.Agent // by name, as the cache has them, not to be changed
	facts    agentset.Facts
	decision agentset.Decision
	plan     agentset.Plan
	stored   int // desired sessions that are in their Secrets
	next     time.Duration
	requests time.Duration // the time that requests to the API server took
}

// Reconcile creates, updates and deletes the Agents and the sessions of an AgentSet.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var set v1alpha1.AgentSet
	err := r.Client.Get(ctx, req.NamespacedName, &set)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	if err != nil || !set.DeletionTimestamp.IsZero() || !r.inShard(ctx, &set) {
		r.memories.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	p := &pass{Reconciler: r, base: &set, set: set.DeepCopy(), memory: r.memories.of(req.NamespacedName, set.UID)}
	if kubecache.Behind(&set, p.memory.written) {
		return ctrl.Result{RequeueAfter: staleWait}, nil
	}
	begun := p.Clock.Now()
	defer p.remember(begun)
	if asked := set.Annotations[v1alpha1.AnnotationReconcileAt]; asked != set.Status.LastHandledReconcileAt {
		p.memory.forgetSessions()
	}
	return p.finish(ctx, p.run(ctx))
}

// run writes the Agents, then their sessions.
func (p *pass) run(ctx context.Context) error {
	if p.Nodes == nil {
		return fault.Terminalf(v1alpha1.ReasonAgentSetsDisabled,
			"the operator has no access to nodes and workloads: set agentSets.enabled of its chart, or --agent-sets")
	}
	for _, check := range []func(context.Context) error{p.ownsTarget, p.sessionsPossible} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	missing := p.readKeys(ctx)
	if missing != nil && !isMissing(missing) {
		return missing
	}
	if err := p.readAgents(ctx); err != nil {
		return err
	}
	p.decision = agentset.Decide(p.facts)
	p.sooner(p.decision.Next)
	if err := p.requesting(func() error { return p.execute(ctx) }); err != nil {
		return err
	}
	if err := p.keepSessions(ctx); err != nil {
		return err
	}
	if missing != nil {
		return missing
	}
	if failure := agentset.Judge(agentset.Count(p.facts, p.decision), p.decision, p.plan, p.stored); failure != nil {
		return failure
	}
	return nil
}

// requesting calls a function that mostly waits for the API server.
func (p *pass) requesting(do func() error) error {
	begun := p.Clock.Now()
	defer func() { p.requests += p.Clock.Since(begun) }()
	return do()
}

// remember records how long the pass took, without its requests.
func (p *pass) remember(begun time.Time) {
	p.memory.took.Store(int64(p.Clock.Since(begun) - p.requests))
}

func isMissing(err error) bool {
	f, ok := fault.As(err)
	return ok && f.Reason == v1alpha1.ReasonTargetNotFound
}

// sooner makes the next pass start after d at the latest.
func (p *pass) sooner(d time.Duration) {
	if d > 0 && (p.next == 0 || d < p.next) {
		p.next = d
	}
}

// inShard reports whether this operator manages the set: its Agents' CloudProject says so.
func (r *Reconciler) inShard(ctx context.Context, set *v1alpha1.AgentSet) bool {
	key, ok := r.projectOf(set)
	if !ok {
		return r.Shard.HasStrays()
	}
	var cp v1alpha1.CloudProject
	if err := r.Client.Get(ctx, key, &cp, client.UnsafeDisableDeepCopy); err != nil {
		return r.Shard.HasStrays()
	}
	return r.Shard.Has(&cp)
}

func (r *Reconciler) projectOf(set *v1alpha1.AgentSet) (types.NamespacedName, bool) {
	agent := &v1alpha1.Agent{Spec: set.Spec.Template.Spec}
	agent.Namespace = set.Namespace
	key, ok := projectref.Ref(agent, r.DefaultProject)
	return key, ok && projectref.CanExist(key)
}

// ownsTarget fails if the target belongs to an older set.
func (p *pass) ownsTarget(ctx context.Context) error {
	var sets v1alpha1.AgentSetList
	err := p.Client.List(ctx, &sets, client.InNamespace(p.set.Namespace),
		client.MatchingFields{targetIndex: targetOf(p.set)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return err
	}
	var claims []agentset.Claim
	for i := range sets.Items {
		claims = append(claims, agentset.Claim{Name: sets.Items[i].Name, Created: sets.Items[i].CreationTimestamp.Time})
	}
	winner := agentset.Winner(claims)
	if winner == p.set.Name || winner == "" {
		return nil
	}
	target := p.set.Spec.TargetRef
	return fault.Terminalf(v1alpha1.ReasonTargetConflict,
		"%s %q belongs to the older AgentSet %q: delete one of the two, or change spec.targetRef", target.Kind, target.Name, winner)
}

// sessionsPossible fails if no Fluent Bit could use the sessions, before anything is registered.
func (p *pass) sessionsPossible(ctx context.Context) error {
	key, ok := p.projectOf(p.set)
	if !ok {
		return nil // The Agents say so.
	}
	var cp v1alpha1.CloudProject
	if err := p.Client.Get(ctx, key, &cp, client.UnsafeDisableDeepCopy); err != nil {
		return nil //nolint:nilerr // The Agents say what is wrong with their CloudProject.
	}
	base, err := url.Parse(cp.Spec.URL)
	if err != nil || tokensecret.UsableURL(base) == nil {
		return nil //nolint:nilerr // The CloudProject says what is wrong with its url.
	}
	allowed, err := projectref.Allows(ctx, p.APIReader, &cp, p.set.Namespace)
	if err != nil || !allowed {
		return nil //nolint:nilerr // The Agents say so, and nobody else learns of the url.
	}
	return fault.Terminalf(v1alpha1.ReasonInvalid, "a Fluent Bit session cannot use the url of CloudProject %s: "+
		"use a CloudProject whose url has a host name or an IP address, and no path", key)
}

// readKeys reads the nodes or replicas of the target's pods. Without a target there are none.
func (p *pass) readKeys(ctx context.Context) error {
	p.facts = agentset.Facts{Set: p.set.Name, RemovalDelay: removalDelay(p.set), Now: p.Clock.Now()}
	key := client.ObjectKey{Namespace: p.set.Namespace, Name: p.set.Spec.TargetRef.Name}
	var err error
	if p.set.Spec.TargetRef.Kind == v1alpha1.TargetStatefulSet {
		err = p.readReplicas(ctx, key)
	} else {
		err = p.readNodes(ctx, key)
	}
	if apierrors.IsNotFound(err) {
		return fault.Waitingf(v1alpha1.ReasonTargetNotFound, "%s %q does not exist: create it, or correct spec.targetRef",
			p.set.Spec.TargetRef.Kind, key.Name)
	}
	return err
}

func removalDelay(set *v1alpha1.AgentSet) time.Duration {
	if set.Spec.RemovalDelay == nil {
		return 10 * time.Minute
	}
	return set.Spec.RemovalDelay.Duration
}

func (p *pass) readReplicas(ctx context.Context, key client.ObjectKey) error {
	var target appsv1.StatefulSet
	if err := p.Client.Get(ctx, key, &target, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	pods, ok := agentset.Replicas(&target)
	if !ok {
		return fault.Terminalf(v1alpha1.ReasonTooManyReplicas, "StatefulSet %q has more than %d replicas: reduce them, or split it",
			key.Name, agentset.MaxReplicas)
	}
	for _, pod := range pods {
		p.facts.Keys = append(p.facts.Keys, agentset.Key{Name: pod, Fit: agentset.Runs})
	}
	return nil
}

func (p *pass) readNodes(ctx context.Context, key client.ObjectKey) error {
	var target appsv1.DaemonSet
	if err := p.Client.Get(ctx, key, &target, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	daemonSet := agentset.NewDaemonSet(&target)
	var nodes corev1.NodeList
	if err := p.Nodes.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range nodes.Items {
		if fit := daemonSet.Fits(&nodes.Items[i]); fit != agentset.No {
			p.facts.Keys = append(p.facts.Keys, agentset.Key{Name: nodes.Items[i].Name, Fit: fit})
		}
	}
	return nil
}

// readAgents collects the Agents that belong to the set, or have names that it needs.
func (p *pass) readAgents(ctx context.Context) error {
	keys := map[string]string{} // by the name of the Agent
	for _, key := range p.facts.Keys {
		keys[agentset.AgentName(p.set.Name, key.Name)] = key.Name
	}
	var agents v1alpha1.AgentList
	if err := p.Client.List(ctx, &agents, client.InNamespace(p.set.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	p.agents, p.facts.Agents = map[string]*v1alpha1.Agent{}, map[string]agentset.Agent{}
	for i := range agents.Items {
		agent := &agents.Items[i]
		key, needed := keys[agent.Name]
		ownership := agentset.OwnershipOf(p.set, agent)
		if !needed && ownership != agentset.Own {
			continue
		}
		p.agents[agent.Name] = agent
		p.facts.Agents[agent.Name] = p.describe(agent, ownership, key)
	}
	for name := range p.memory.unseen(p.agents, p.facts.Now) {
		p.facts.Agents[name] = agentset.Agent{Ownership: agentset.Own, Pending: true}
	}
	return nil
}

// describe returns the facts about an Agent. key is empty for one that is not needed.
func (p *pass) describe(agent *v1alpha1.Agent, ownership agentset.Ownership, key string) agentset.Agent {
	known := agentset.Agent{
		Ownership: ownership, Pending: p.memory.pending(agent), Deleting: !agent.DeletionTimestamp.IsZero() || p.memory.deleted(agent),
	}
	if key != "" {
		built, immutable := agentset.Build(p.set, key, agent)
		known.Immutable = immutable
		known.RemovalStarted, known.Marked = agentset.RemovalStarted(agent)
		known.UpToDate = agentset.Same(agent, built) || known.Marked && sameButMark(agent, built)
	} else {
		known.RemovalStarted, known.Marked = agentset.RemovalStarted(agent)
	}
	for _, c := range agent.Status.Conditions {
		current := c.ObservedGeneration == agent.Generation
		switch c.Type {
		case v1alpha1.ConditionReady:
			known.Ready = current && c.Status == metav1.ConditionTrue
			known.Why = c.Reason
		case v1alpha1.ConditionStalled:
			known.Stalled = current && c.Status == metav1.ConditionTrue
		case v1alpha1.ConditionReporting:
			known.Reporting = c.Status == metav1.ConditionTrue
		}
	}
	return known
}

// sameButMark reports whether only the mark of a removal keeps an Agent from what the template says.
func sameButMark(agent, built *v1alpha1.Agent) bool {
	marked := *built
	marked.Annotations = map[string]string{v1alpha1.AnnotationRemovalStarted: agent.Annotations[v1alpha1.AnnotationRemovalStarted]}
	for key, value := range built.Annotations {
		marked.Annotations[key] = value
	}
	return agentset.Same(agent, &marked)
}
