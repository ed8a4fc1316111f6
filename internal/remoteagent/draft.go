/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"cmp"
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// writeTime is how long a write may take that a shutdown must not lose.
const writeTime = 10 * time.Second

// Detach is for what a shutdown must not interrupt, because the next process could not know whether it was done.
func Detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), writeTime)
}

// Draft is the Agent of one reconciliation: as it was read, and with the status that the reconciliation brings about.
// Everything that is written to the Agent is written here.
type Draft struct {
	writer client.Client
	Reader client.Reader
	Base   *v1alpha1.Agent // as the API server has it
	Agent  *v1alpha1.Agent // the same, with the new status
	// Removed: the API server has removed the Agent; only this process knows of it.
	Removed bool
	Writes  *pendingWrites
	began   time.Time
	// clusterID makes derived machine IDs unique among clusters.
	clusterID string
	// retry is the time between two writes that the API server accepts and does not store.
	retry time.Duration
}

// Key is the namespace and name of the Agent.
func (d *Draft) Key() types.NamespacedName { return client.ObjectKeyFromObject(d.Agent) }

// Deleting reports whether the Agent is being deleted.
func (d *Draft) Deleting() bool { return !d.Agent.DeletionTimestamp.IsZero() }

// PatchMeta writes annotations and finalizers at once, only if nobody wrote the Agent meanwhile. It fails if what the operator relies on
// is not stored.
func (d *Draft) PatchMeta(ctx context.Context, change func(*v1alpha1.Agent)) error {
	if d.Removed {
		change(d.Agent)
		return nil
	}
	base := v1alpha1.Agent{ObjectMeta: *d.Base.ObjectMeta.DeepCopy()}
	if kubecache.Abridged(d.Base) {
		whole, err := d.wholeMeta(ctx)
		if err != nil {
			return err
		}
		base.ObjectMeta = *whole
	}
	target := *base.DeepCopy()
	change(&target)
	written, err := d.patch(&base, &target, func(o client.Object, patch client.Patch) error { return d.writer.Patch(ctx, o, patch) })
	if err != nil {
		return err
	}
	after := d.Base.DeepCopy()
	after.ObjectMeta = *written
	d.Base = after
	written.DeepCopyInto(&d.Agent.ObjectMeta)
	if what := notStored(&base, &target, d.Agent); what != "" {
		return fault.Terminalf(v1alpha1.ReasonAPIServer, "the API server accepted and did not store the %s of the Agent, "+
			"which the operator needs: correct the policy or webhook that removes it", what).
			After(fault.Spread(d.retry)) // No event shows that it is corrected.
	}
	return nil
}

// notStored names the finalizer or registration intent that a write added and the API server's response does not show; empty if all are
// stored.
func notStored(before, wanted, now *v1alpha1.Agent) string {
	const key = v1alpha1.AnnotationRegistrationIntent
	intent := wanted.Annotations[key]
	switch {
	case Fenced(wanted) && !Fenced(now):
		return "finalizer " + v1alpha1.AgentFinalizer
	case intent != before.Annotations[key] && intent != now.Annotations[key]:
		return "annotation " + key
	default:
		return ""
	}
}

// wholeMeta reads the metadata that the cache has only a part of: a patch replaces the finalizers as a whole.
func (d *Draft) wholeMeta(ctx context.Context) (*metav1.ObjectMeta, error) {
	live := metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Agent"))
	if err := d.Reader.Get(ctx, d.Key(), &live); err != nil {
		return nil, err
	}
	if live.UID != d.Base.UID || live.ResourceVersion != d.Base.ResourceVersion {
		return nil, apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("agents").GroupResource(), live.Name, nil)
	}
	return &live.ObjectMeta, nil
}

// patch writes what differs between two Agents, only if nobody wrote the Agent meanwhile. The API server responds with
// the metadata alone: the rest may be large.
func (d *Draft) patch(base, target *v1alpha1.Agent, send func(client.Object, client.Patch) error) (*metav1.ObjectMeta, error) {
	base.ResourceVersion, target.ResourceVersion = d.Base.ResourceVersion, d.Base.ResourceVersion
	data, err := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}).Data(target)
	if err != nil {
		return nil, err
	}
	written := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: d.Agent.Namespace, Name: d.Agent.Name}}
	written.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Agent"))
	if err := send(written, client.RawPatch(types.MergePatchType, data)); err != nil {
		return nil, err
	}
	d.Writes.Version, d.Writes.At = written.ResourceVersion, d.began
	return &written.ObjectMeta, nil
}

// WriteStatus writes the status once, if it changed. It is retried after a conflict, unless
// somebody else changed the status.
func (d *Draft) WriteStatus(ctx context.Context) error {
	if d.Removed {
		return nil
	}
	for range 3 {
		if equality.Semantic.DeepEqual(d.Base.Status, d.Agent.Status) {
			return nil
		}
		base, target := v1alpha1.Agent{Status: d.Base.Status}, v1alpha1.Agent{Status: d.Agent.Status}
		written, err := d.patch(&base, &target, func(o client.Object, patch client.Patch) error {
			return d.writer.Status().Patch(ctx, o, patch)
		})
		if err == nil {
			target.ObjectMeta, target.Spec = *written, d.Base.Spec
			d.Base = target.DeepCopy()
			return nil
		}
		if !apierrors.IsConflict(err) || apiserver.Denied(err) {
			return err
		}
		var live v1alpha1.Agent
		if err := d.Reader.Get(ctx, d.Key(), &live); err != nil {
			return err
		}
		if live.UID != d.Base.UID || !equality.Semantic.DeepEqual(live.Status, d.Base.Status) {
			return err
		}
		d.Base = &live
	}
	return errors.New("the Agent changes too fast to write its status")
}

// refresh reads the Agent from the API server itself. It drops what the reconciliation changed in the status.
func (d *Draft) refresh(ctx context.Context) error {
	if d.Removed {
		return nil
	}
	var live v1alpha1.Agent
	if err := d.Reader.Get(ctx, d.Key(), &live); err != nil {
		return err
	}
	if live.UID != d.Base.UID || live.Generation != d.Base.Generation {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("agents").GroupResource(), live.Name, nil)
	}
	d.Base, d.Agent = &live, live.DeepCopy()
	return nil
}

// keepFinalizer restores the finalizer if somebody removed it.
func (d *Draft) keepFinalizer(ctx context.Context) error {
	if Fenced(d.Agent) {
		return nil
	}
	return d.PatchMeta(ctx, func(a *v1alpha1.Agent) { controllerutil.AddFinalizer(a, v1alpha1.AgentFinalizer) })
}

// Fenced reports whether the Agent has the operator's finalizer.
func Fenced(a client.Object) bool {
	return controllerutil.ContainsFinalizer(a, v1alpha1.AgentFinalizer)
}

// stillThere fails if the Agent was removed while its finalizer was written. Few escape this check; those are found when
// the status is written.
func (d *Draft) stillThere(ctx context.Context) error {
	live := metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Agent"))
	err := d.Reader.Get(ctx, d.Key(), &live)
	if apierrors.IsNotFound(err) || err == nil && live.UID != d.Agent.UID {
		return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("agents").GroupResource(), d.Agent.Name)
	}
	return nil // A failed check must not leave an intent whose request was never sent.
}

// MachineID identifies the remote agent.
func (d *Draft) MachineID() string { return machineID(d.Agent, d.clusterID) }

// derived is the machine ID that is this Agent's alone, in any cluster that has its name.
func (d *Draft) derived() string { return derived(d.Agent, d.clusterID) }

func machineID(a *v1alpha1.Agent, clusterID string) string {
	if id := cmp.Or(a.Status.MachineID, a.Spec.MachineID); id != "" {
		return id
	}
	return derived(a, clusterID)
}

func derived(a *v1alpha1.Agent, clusterID string) string {
	return registration.DerivedMachineID(clusterID, a.Namespace, a.Name)
}

// explicit reports whether a user chose the machine ID. Other agents may legitimately have the same.
func (d *Draft) explicit() bool { return d.MachineID() != d.derived() }

// Intent is the registration intent on the Agent, open or closed. Whoever may write the Agent may write it.
func (d *Draft) Intent() registration.Intent { return IntentOf(d.Agent) }

// IntentOf is the registration intent on an Agent.
func IntentOf(a *v1alpha1.Agent) registration.Intent {
	return registration.ParseIntent(a.Annotations[v1alpha1.AnnotationRegistrationIntent])
}

// ClosedIntent is the intent that was closed last. Only the operator writes it.
func ClosedIntent(a *v1alpha1.Agent) registration.Intent {
	return registration.ParseIntent(a.Status.RegistrationIntent)
}

// Open reports whether a registration was begun and its outcome is not recorded.
func (d *Draft) Open() bool { return inDoubt(d.Agent, d.clusterID, d.began) }

func inDoubt(a *v1alpha1.Agent, clusterID string, now time.Time) bool {
	intent := IntentOf(a)
	return !intent.IsZero() && !intent.Spent(ClosedIntent(a)) && intent.Plausible(now) && !ForeignIntent(a, clusterID)
}

// ForeignIntent reports whether the registration intent on an Agent came with the manifest of another.
func ForeignIntent(a *v1alpha1.Agent, clusterID string) bool {
	return IntentOf(a).Foreign(Subject(a, clusterID, ""), a.CreationTimestamp.Time)
}

// closeIntent records that a registration created nothing, or what it created. Its intent is spent from then on, even if
// somebody restores it. If the status cannot be written, the next reconciliation comes to the same result.
func (d *Draft) closeIntent() { d.Agent.Status.RegistrationIntent = d.Intent().String() }
