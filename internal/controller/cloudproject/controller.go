/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package cloudproject reconciles CloudProjects: it verifies their credentials,
// keeps a copy of them for deletions, and delays the deletion of a CloudProject
// while Agents still need it.
package cloudproject

import (
	"context"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
)

// Reconciler reconciles CloudProjects.
type Reconciler struct {
	// Client reads from the cache: CloudProjects, Agents, metadata of Secrets and ConfigMaps.
	Client client.Client
	// APIReader reads from the API server itself: Secrets, ConfigMaps, and Agents before a release.
	APIReader client.Reader
	Projects  *connection.Registry
	Recorder  events.EventRecorder
	// Clock defaults to the real clock.
	Clock clock.PassiveClock
	// DefaultProject is the CloudProject of Agents that name none.
	DefaultProject types.NamespacedName
	// Shard is what this operator manages.
	Shard projectref.Shard
	// Namespaces that the operator watches; all if empty.
	Namespaces []string

	// ResyncFloor is the shortest time between two checks of good credentials; default 1m.
	ResyncFloor time.Duration
	// AgentCountInterval is the shortest time between two writes of the number of Agents alone; default 1m.
	AgentCountInterval time.Duration
	// InUseDelay is the delay before a release is tried again after an Agent was deleted; default 500ms.
	InUseDelay time.Duration
	// BackoffMin and BackoffMax bound the time to the next try after a failure; default 1s and 5m. After a rejection of the
	// token it starts with five times BackoffMin.
	BackoffMin, BackoffMax time.Duration

	memory memory
	queue  atomic.Pointer[queue]
}

// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=cloudprojects,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=cloudprojects/status,verbs=patch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agents,verbs=list;watch
//
// Secrets are cached as metadata only, and read one by one.
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile reconciles one CloudProject: it adds or removes the finalizer, verifies and copies the credentials, and
// writes the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if !projectref.CanExist(req.NamespacedName) {
		return ctrl.Result{}, nil // Some Agent refers to it.
	}
	var cp v1alpha1.CloudProject
	if err := r.Client.Get(ctx, req.NamespacedName, &cp); err != nil {
		if apierrors.IsNotFound(err) {
			err = r.gone(ctx, req.NamespacedName)
		}
		return ctrl.Result{}, err
	}
	if !r.Shard.Has(&cp) {
		r.forget(req.NamespacedName) // It may have been in the shard until its labels changed.
		return ctrl.Result{}, nil
	}
	m := r.remember(&cp)
	if kubecache.Behind(&cp, m.written) {
		cp = v1alpha1.CloudProject{}
		if err := r.APIReader.Get(ctx, req.NamespacedName, &cp); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err) // If it was deleted, the cache will soon show that.
		}
		m = r.remember(&cp)
	}
	before := cp.DeepCopy()

	loaded := r.Projects.Lookup(cp.UID) != nil
	held, released, err := r.protect(ctx, &cp, m)
	if err != nil {
		return r.again(ctx, m, err), nil
	}
	if released {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	verdict, err := r.connect(ctx, &cp, m)
	if err != nil {
		return r.again(ctx, m, err), nil
	}
	r.describe(&cp, m)
	r.setConditions(&cp, both(held, verdict))
	pending, err := r.writeStatus(ctx, before, &cp, m)
	if err != nil {
		return r.again(ctx, m, err), nil
	}
	if held != nil && !loaded && r.Projects.Lookup(cp.UID) != nil {
		return requeue(r.backoffMin() / 4), nil // The credentials are needed to decide which Agents need them.
	}
	return r.next(m, verdict, pending), nil
}

// patch writes the metadata that differs from base, if nobody else changed the object.
func (r *Reconciler) patch(ctx context.Context, obj, base client.Object) error {
	return r.Client.Patch(ctx, obj, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
}
