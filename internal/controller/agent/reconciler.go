/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package agent reconciles Agents: it registers the remote agent, keeps its
// token, applies the spec and deletes it again. Exactly one
// remote agent belongs to one Agent, whatever crashes in between.
//
// It is a shell around three pure packages: registration decides what to do about
// the one remote agent, plan what to send of its fields, schedule when to check
// again. Here facts are gathered, one action at a time is executed, and the status
// is written.
package agent

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// Reconciler reconciles Agents.
type Reconciler struct {
	remoteagent.Operator
	Recorder events.EventRecorder
	// Metrics may be nil.
	Metrics *metrics.Agents

	caches caches
}

// task is one reconciliation of one Agent in this controller.
type task struct {
	*remoteagent.Task
	reconciler *Reconciler
	// fingerprint is of what may end a failure, as it was before anything was read.
	fingerprint string
	// stalled is what stalled the Agent before.
	stalled string
}

// lowPriority is for periodic checks: changes by users come first.
var lowPriority = handler.LowPriority

// cacheLag is how long the cache may lack what this process wrote, before the API server is asked. It takes milliseconds, and
// the Secret of each new Agent wakes its Agent in them.
const cacheLag = time.Second

// Reconcile reconciles one Agent with its remote agent.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	t, wait, err := r.begin(ctx, req.NamespacedName)
	if err != nil || t == nil {
		return ctrl.Result{RequeueAfter: wait}, err
	}
	defer remoteagent.Rest(t.Task)
	if !t.Removed && !r.InShard(ctx, t.Agent) {
		r.forget(req.NamespacedName) // It may have been ours until the labels of its CloudProject changed.
		return ctrl.Result{}, nil
	}
	finish, gate := finisher{t}, gate{t}
	if err := (remoteagent.Fence{Task: t.Task}).Keep(ctx); err != nil {
		if t.Deleting() {
			err = hinted(err)
		}
		return finish.finish(ctx, err)
	}
	switch {
	case gate.inBackoff(ctx):
		return t.sleep()
	case t.Deleting():
		err = finalizer{t}.finalize(ctx)
	case t.Agent.Spec.Suspend:
		err = t.suspended(ctx)
	case gate.upToDate(ctx):
		finish.endTurn(nil) // A sync may have been asked for, and is not any more.
		return t.sleep()
	default:
		err = t.run(ctx)
	}
	return finish.finish(ctx, err)
}

// run reconciles an Agent that is not being deleted.
func (t *task) run(ctx context.Context) error {
	for _, load := range []func(context.Context) error{
		t.ResolveProject, // which endpoint, with which credentials
		remoteagent.SecretPreflight{Task: t.Task}.Possible, // its Secrets can exist, and a Fluent Bit can reach it, where one is to run
		remoteagent.Names{Task: t.Task}.Resolve,            // the IDs of the fleet and environment that it names
		t.LoadConfig,                                       // what the agent's configuration is
	} {
		if err := load(ctx); err != nil {
			return err
		}
	}
	err := t.apply(ctx)
	if errors.Is(err, remoteagent.ErrMissing) { // A changed fact: back to the registration.
		err = t.apply(ctx)
	}
	return err
}

// apply makes the remote agent and its Secrets match the spec.
func (t *task) apply(ctx context.Context) error {
	detached := false
	for _, phase := range []func(context.Context) error{
		remoteagent.Adopter{Task: t.Task}.Ensure,   // the one remote agent exists and is ours
		remoteagent.Observer{Task: t.Task}.Observe, // it is checked
		secretKeeper{t}.keep,                       // its ID and token are stored
		updater{t}.update,                          // it is as declared
		t.tokenKnown,                               // it can be run
		t.searched,                                 // and has no duplicates, if somebody asks
	} {
		if err := phase(ctx); err != nil {
			return err
		}
		if t.Created && !detached {
			// A shutdown must not lose the token that only this reconciliation knows.
			var cancel context.CancelFunc
			ctx, cancel = remoteagent.Detach(ctx)
			defer cancel()
			detached = true
		}
	}
	return nil
}

// begin reads the Agent. The task is nil if there is nothing to do yet, or not before the wait is over.
func (r *Reconciler) begin(ctx context.Context, key types.NamespacedName) (*task, time.Duration, error) {
	before, last := r.caches.last(key)
	var agent v1alpha1.Agent
	err := r.Client.Get(ctx, key, &agent)
	if client.IgnoreNotFound(err) != nil {
		return nil, 0, err
	}
	if t, found, err := r.RemovedAgent(ctx, key, agent.UID, before); err != nil || found && t == nil {
		return nil, 0, err
	} else if found {
		return r.taskOf(t), 0, nil
	}
	if err != nil {
		r.forget(key)
		return nil, 0, nil
	}
	if before != nil && last != agent.UID {
		r.forget(key)
		before = nil
	}
	if before != nil && kubecache.Behind(&agent, before.Writes.Version) {
		if r.Clock.Since(before.Writes.At) < cacheLag {
			return nil, cacheLag / 10, nil
		}
		var live v1alpha1.Agent
		if err := r.APIReader.Get(ctx, key, &live); err != nil || live.UID != agent.UID {
			return nil, 0, client.IgnoreNotFound(err) // The cache will catch up.
		}
		agent = live
	}
	t := r.taskOf(remoteagent.NewTask(&r.Operator, &agent, r.caches.of(key, agent.UID)))
	if stalled := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionStalled); stalled != nil {
		t.stalled = stalled.Message
	}
	remoteagent.Fence{Task: t.Task}.CloseAgain()
	return t, 0, nil
}

func (r *Reconciler) taskOf(t *remoteagent.Task) *task { return &task{Task: t, reconciler: r} }

func (r *Reconciler) forget(key types.NamespacedName) {
	r.Metrics.Forget(key)
	r.Forget(key)
	if uid, known := r.caches.forget(key); known {
		r.Projects.Leave(uid)
	}
}

// suspended handles spec.suspend. The Agent stays Ready if nothing waits to be applied.
func (t *task) suspended(ctx context.Context) error {
	status := &t.Agent.Status
	if status.ID != "" && !t.Open() && t.LoadConfig(ctx) == nil {
		observed := t.Agent.Spec.SyncPolicy == v1alpha1.SyncObserve
		if observed || len(t.Known.Updates.Sent) == 0 && t.asApplied() {
			status.Applied.Generation = t.Agent.Generation
			return nil
		}
	}
	return fault.Waitingf(v1alpha1.ReasonSuspended,
		"reconciliation is suspended: unset spec.suspend to resume")
}

// asApplied reports, without a request, whether what is declared was applied.
func (t *task) asApplied() bool {
	if (remoteagent.Names{Task: t.Task}).Recall() {
		return !(updater{t}).unapplied()
	}
	return t.Agent.Status.Applied.Generation == t.Agent.Generation
}

// sleep ends a reconciliation until the next check.
func (t *task) sleep() (ctrl.Result, error) {
	if t.Agent.Spec.Suspend && !t.Deleting() {
		return ctrl.Result{}, nil
	}
	wait := t.Known.Timers.Requeue(t.Clock.Now())
	return ctrl.Result{RequeueAfter: wait, Priority: &lowPriority}, nil
}

// tokenKnown stalls an Agent whose token only the user can provide.
func (t *task) tokenKnown(context.Context) error {
	if !t.TokenMissing {
		return nil
	}
	return t.tokenUnavailable()
}

// searched fails while a request to reconcile waits for a list.
func (t *task) searched(context.Context) error { return t.Searching }

func (t *task) tokenUnavailable() error {
	return fault.Terminalf(v1alpha1.ReasonTokenUnavailable,
		"the API does not show the token of agent %s: add it to Secret %q under the key %q",
		t.Agent.Status.ID, tokensecret.Name(t.Agent), v1alpha1.TokenKey)
}
