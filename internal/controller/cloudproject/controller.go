/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package cloudproject reconciles CloudProjects: it verifies their credentials, keeps a copy of them for deletions, and
// delays the deletion of a CloudProject while Agents still need it.
package cloudproject

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
)

// unshownFailures is how many API server errors in a row no condition shows, some seconds: the API server may restart.
const unshownFailures = 3

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
	// ClusterID makes the derived machine IDs of this cluster its own.
	ClusterID string

	Delays Delays

	memos memos
	queue atomic.Pointer[queue]
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
	if !projectref.CanExist(req.NamespacedName) || len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, req.Namespace) {
		return ctrl.Result{}, nil // Some Agent refers to it. The cache knows no namespace that is not watched.
	}
	var cp v1alpha1.CloudProject
	if err := r.Client.Get(ctx, req.NamespacedName, &cp); err != nil {
		if apierrors.IsNotFound(err) {
			r.memos.forget(req.NamespacedName)
			err = r.releaser().gone(ctx, req.NamespacedName)
		}
		return ctrl.Result{}, err
	}
	if !r.Shard.Has(&cp) {
		r.memos.forget(req.NamespacedName) // It may have been in the shard until its labels changed.
		return ctrl.Result{}, nil
	}
	m := r.memos.of(&cp)
	if m.released {
		return ctrl.Result{}, nil
	}
	if kubecache.Behind(&cp, m.wrote.version) || kubecache.Abridged(&cp) {
		cp = v1alpha1.CloudProject{}
		if err := r.APIReader.Get(ctx, req.NamespacedName, &cp); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err) // If it was deleted, the cache will soon show that.
		}
		m = r.memos.of(&cp)
	}
	result, err := r.reconcile(ctx, &cp, m)
	if err != nil {
		return r.pacer().again(ctx, m, err), nil
	}
	return result, nil
}

// reconcile runs the phases in order: the finalizer, the credentials, the status.
func (r *Reconciler) reconcile(ctx context.Context, cp *v1alpha1.CloudProject, m *memo) (ctrl.Result, error) {
	before := cp.DeepCopy()
	loaded := r.Projects.Lookup(cp.UID) != nil
	report := r.reporter()
	held, released, err := r.releaser().protect(ctx, cp, m)
	if err != nil {
		return ctrl.Result{}, r.failed(ctx, before, cp, m, r.Projects.Tripped(cp), err)
	}
	if released {
		if err := report.released(ctx, before, cp, m); err != nil {
			return ctrl.Result{}, err
		}
		r.memos.release(client.ObjectKeyFromObject(cp))
		return ctrl.Result{}, nil
	}
	verdict, err := r.connector().connect(ctx, cp, m)
	if err != nil {
		return ctrl.Result{}, r.failed(ctx, before, cp, m, both(held, verdict), err)
	}
	describe(cp, m, r.Projects.Lookup(cp.UID))
	tripped := r.Projects.Tripped(cp)
	report.setConditions(cp, both(held, verdict))
	record(cp, tripped)
	pending, err := report.write(ctx, before, cp, m)
	if err != nil {
		return ctrl.Result{}, err
	}
	if held != nil && !loaded && r.Projects.Lookup(cp.UID) != nil {
		return requeue(r.Delays.BackoffMin / 4), nil // The credentials are needed to decide which Agents need them.
	}
	return r.pacer().next(m, verdict, pending), nil
}

// failed shows an API server error, and returns it. One that may end with the next tries is not shown yet.
func (r *Reconciler) failed(ctx context.Context, before, cp *v1alpha1.CloudProject, m *memo, verdict *fault.Error, err error) error {
	failure := agentstatus.Classify(err)
	if failure.Quiet || failure.Class == fault.Retryable && m.rejected.times < unshownFailures {
		return err
	}
	cp.Status.ObservedGeneration = cp.Generation
	report := r.reporter()
	report.setConditions(cp, both(verdict, failure))
	record(cp, r.Projects.Tripped(cp))
	_, unwritten := report.write(ctx, before, cp, m)
	return cmp.Or(unwritten, err)
}

func (r *Reconciler) reporter() reporter {
	return reporter{r.Client, r.Recorder, r.Clock, r.Delays.AgentCountInterval}
}

func (r *Reconciler) copies() copies { return copies{r.Client, r.APIReader} }

func (r *Reconciler) pacer() pacer { return pacer{r.Clock, r.Delays} }

func (r *Reconciler) connector() connector {
	return connector{r.Projects, loader{r.APIReader, r.copies()}, r.copies(), r.Clock, r.Delays}
}

func (r *Reconciler) releaser() releaser {
	return releaser{
		client: r.Client, apiReader: r.APIReader, projects: r.Projects, recorder: r.Recorder, copies: r.copies(),
		defaultProject: r.DefaultProject, namespaces: r.Namespaces, clusterID: r.ClusterID,
	}
}

// patch writes the metadata that differs from base, if nobody else changed the object.
func patch(ctx context.Context, to client.Writer, obj, base client.Object) error {
	return to.Patch(ctx, obj, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
}
