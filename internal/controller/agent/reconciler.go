/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package agent reconciles Agents: it registers the remote agent, keeps its
// token, brings it to what is declared and deletes it again. Exactly one
// remote agent belongs to one Agent, whatever crashes in between.
package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// Settings of the controller. Zero times take their defaults.
type Settings struct {
	// DefaultProject is used by Agents without a projectRef; empty for none.
	DefaultProject types.NamespacedName
	// ClusterID makes the derived machine IDs of this cluster its own.
	ClusterID string
	// Shard is what this operator looks after.
	Shard projectref.Shard
	// ReadOnly keeps the operator from writing anything remote.
	ReadOnly bool
	// Namespaces that the operator looks after; all if empty.
	Namespaces []string

	// PostWindow is the time after its nonce in which a registration may be under way. Default 20 s.
	PostWindow time.Duration
	// Slack is the time after a nonce until an empty list is trusted. Default 80 s.
	Slack time.Duration
	// AnsweredSlack is the same after the service's own error answer. Default 5 s.
	AnsweredSlack time.Duration
	// GoneDelay is the time between the two looks that find a remote agent gone. Default 5 s.
	GoneDelay time.Duration
	// SweepDelay is how long the garbage collector may take with the Secrets of an Agent that is gone. Default 10 slacks.
	SweepDelay time.Duration
	// OutageGrace is how long an outage sets nothing on an applied Agent. Default 15 min.
	OutageGrace time.Duration
	// VolatileInterval is how often numbers that always change are written. Default 1 h.
	VolatileInterval time.Duration
	// BackoffMin and BackoffMax bound the time between two tries. Default 1 s and 5 min.
	BackoffMin, BackoffMax time.Duration
}

func (s Settings) withDefaults() Settings {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&s.PostWindow, 20*time.Second)
	set(&s.Slack, 80*time.Second)
	set(&s.AnsweredSlack, 5*time.Second)
	set(&s.GoneDelay, 5*time.Second)
	set(&s.SweepDelay, 10*s.Slack)
	set(&s.OutageGrace, 15*time.Minute)
	set(&s.VolatileInterval, time.Hour)
	set(&s.BackoffMin, time.Second)
	set(&s.BackoffMax, 5*time.Minute)
	return s
}

// Reconciler reconciles Agents.
type Reconciler struct {
	// Client reads from the cache, Secrets and ConfigMaps as metadata only, and writes.
	Client client.Client
	// APIReader reads from the API server itself.
	APIReader client.Reader
	// Projects are the ways to the service.
	Projects *connection.Registry
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	Settings Settings
	// Metrics may be nil.
	Metrics *Metrics

	secrets   tokensecret.Keeper
	memories  memories
	newcomers sync.Mutex
	started   time.Time
}

// pass is one reconciliation of one Agent.
type pass struct {
	*Reconciler
	base   *v1alpha1.Agent // as the API server has it
	agent  *v1alpha1.Agent // the same, with the status that this pass brings about
	memory *memory
	events []happened

	cloudProject *v1alpha1.CloudProject
	project      *connection.Connection
	place        connection.Endpoint // of the project when this pass began
	placed       int                 // the version of the project when it was that
	config       rawconfig.Config
	remote       *cloud.Agent // as read in this pass
	sight        *cloud.Agent // as a list showed it, without token and configuration
	token        cloud.Token  // as the service told it in this pass
	shown        string       // the mark of the project token that this pass began with
	registered   bool         // this pass registered the remote agent
	released     bool         // this pass removed the finalizer
	vanished     bool         // the API server has removed the Agent; only this process knows of it
	tokenMissing bool         // the service does not show the agent's token
	found        string       // the fingerprint that this pass began with
	stalled      string       // what stalled the Agent before this pass
	told         bool         // an event of this pass says that the Agent goes on
}

// Reconcile brings one Agent and its remote agent together.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if wait := r.room(ctx, req.NamespacedName); wait > 0 {
		return ctrl.Result{RequeueAfter: wait, Priority: &lowPriority}, nil
	}
	p, err := r.begin(ctx, req.NamespacedName)
	if err != nil || p == nil {
		return ctrl.Result{}, err
	}
	if p.agent == nil {
		return r.sweep(ctx, req.NamespacedName)
	}
	if !p.vanished && !p.inShard(ctx) {
		r.forget(req.NamespacedName) // It may have been ours until the labels of its CloudProject changed.
		return ctrl.Result{}, nil
	}
	deleting := !p.agent.DeletionTimestamp.IsZero()
	if err := p.fence(ctx); err != nil {
		return p.finish(ctx, err)
	}
	switch {
	case p.held(ctx):
		return p.rest()
	case deleting:
		err = p.finalize(ctx)
	case p.agent.Spec.Suspend:
		err = p.suspended(ctx)
	case p.settled(ctx):
		return p.rest()
	default:
		err = p.run(ctx)
	}
	return p.finish(ctx, err)
}

// run is the story of an Agent that lives.
func (p *pass) run(ctx context.Context) error {
	for _, load := range []func(context.Context) error{
		p.resolveProject,  // which endpoint, with which credentials
		p.sessionPossible, // a Fluent Bit can reach it, where one is to run
		p.loadConfig,      // what the agent's configuration is
	} {
		if err := load(ctx); err != nil {
			return err
		}
	}
	err := p.apply(ctx)
	if errors.Is(err, errMissing) { // Back to the registration.
		err = p.apply(ctx)
	}
	return err
}

// apply makes the remote agent, its Secrets and its fields what is declared.
func (p *pass) apply(ctx context.Context) error {
	detached := false
	for _, phase := range []func(context.Context) error{
		p.register,    // the one remote agent exists and is ours
		p.observe,     // what the API says of it
		p.keepSecrets, // its ID and token are stored
		p.sync,        // it is as declared
		p.tokenKnown,  // and it can be run
	} {
		if err := phase(ctx); err != nil {
			return err
		}
		if p.registered && !detached {
			// A shutdown must not lose the token that only this pass knows.
			var cancel context.CancelFunc
			ctx, cancel = detach(ctx)
			defer cancel()
			detached = true
		}
	}
	return nil
}

// detach is for what a shutdown must not cut, because the next process could not tell whether it was done.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), writeTime)
}

// begin reads the Agent. The pass is nil if there is nothing to do yet, and without an Agent if that is gone.
func (r *Reconciler) begin(ctx context.Context, key types.NamespacedName) (*pass, error) {
	before := r.memories.before(key)
	if before == nil {
		// A start brings all Agents at once. One after the other, they leave room for the list that a new one waits for.
		r.newcomers.Lock()
		defer r.newcomers.Unlock()
	}
	var agent v1alpha1.Agent
	err := r.Client.Get(ctx, key, &agent)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	if p, found, err := r.vanished(ctx, key, agent.UID, before); found || err != nil {
		return p, err
	}
	if err != nil {
		r.forget(key)
		return &pass{}, nil
	}
	if r.memories.another(key, agent.UID) {
		r.forget(key)
		before = nil
	}
	if before != nil && kubecache.Behind(&agent, before.written) {
		var live v1alpha1.Agent
		if err := r.APIReader.Get(ctx, key, &live); err != nil || live.UID != agent.UID {
			return nil, client.IgnoreNotFound(err) // The cache will say so, too.
		}
		agent = live
	}
	p := &pass{Reconciler: r, base: &agent, agent: agent.DeepCopy(), memory: r.memories.of(key, agent.UID)}
	if stalled := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionStalled); stalled != nil {
		p.stalled = stalled.Message
	}
	p.recall()
	return p, nil
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.Metrics.forget(key)
	uid, known := r.memories.forget(key)
	if known {
		r.Projects.Leave(uid)
	}
}

func (p *pass) key() types.NamespacedName { return client.ObjectKeyFromObject(p.agent) }

// patchMeta writes annotations and finalizers at once, only if nobody wrote the Agent meanwhile.
func (p *pass) patchMeta(ctx context.Context, change func(*v1alpha1.Agent)) error {
	if p.vanished {
		change(p.agent)
		return nil
	}
	base := v1alpha1.Agent{ObjectMeta: *p.base.ObjectMeta.DeepCopy()}
	target := *base.DeepCopy()
	change(&target)
	// The cache leaves annotations out. A map that looks empty must not be patched away as a whole.
	metav1.SetMetaDataAnnotation(&base.ObjectMeta, v1alpha1.GroupVersion.Group, "")
	metav1.SetMetaDataAnnotation(&target.ObjectMeta, v1alpha1.GroupVersion.Group, "")
	written, err := p.patch(&base, &target, func(o client.Object, patch client.Patch) error { return p.Client.Patch(ctx, o, patch) })
	if err != nil {
		return err
	}
	after := p.base.DeepCopy()
	after.ObjectMeta = *written
	p.base = after
	written.DeepCopyInto(&p.agent.ObjectMeta)
	return nil
}

// patch writes what differs between two Agents, only if nobody wrote the Agent meanwhile. The API server answers
// with the metadata alone: the rest may be large.
func (p *pass) patch(base, target *v1alpha1.Agent, send func(client.Object, client.Patch) error) (*metav1.ObjectMeta, error) {
	base.ResourceVersion, target.ResourceVersion = p.base.ResourceVersion, p.base.ResourceVersion
	data, err := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}).Data(target)
	if err != nil {
		return nil, err
	}
	written := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: p.agent.Namespace, Name: p.agent.Name}}
	written.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Agent"))
	if err := send(written, client.RawPatch(types.MergePatchType, data)); err != nil {
		return nil, err
	}
	p.memory.written = written.ResourceVersion
	return &written.ObjectMeta, nil
}

// refresh reads the Agent from the API server itself. What the pass changed in the status is dropped.
func (p *pass) refresh(ctx context.Context) error {
	if p.vanished {
		return nil
	}
	var live v1alpha1.Agent
	if err := p.APIReader.Get(ctx, p.key(), &live); err != nil {
		return err
	}
	if live.UID != p.base.UID || live.Generation != p.base.Generation {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("agents").GroupResource(), live.Name, nil)
	}
	p.base, p.agent = &live, live.DeepCopy()
	return nil
}
