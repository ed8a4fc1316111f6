/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"cmp"
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

const orphanHint = `; or annotate the Agent with cloud.calyptia.com/orphan: "true" to leave the remote agent behind`

// finalizer deletes or releases the remote agent of an Agent that is being deleted.
type finalizer struct{ *task }

// finalize deletes or releases the remote agent, then removes the finalizer. It creates no Kubernetes object.
func (f finalizer) finalize(ctx context.Context) error {
	if !remoteagent.Fenced(f.Agent) || f.Writes.Released {
		return nil
	}
	status := &f.Agent.Status
	switch {
	case status.ID == "" && !f.Open() && len(status.DuplicatesToDelete) == 0:
		return f.release(ctx, remoteagent.NoEvent)
	case f.Agent.Annotations[v1alpha1.AnnotationOrphan] == "true":
		return f.release(ctx, remoteagent.Orphaned)
	case f.Retains():
		return f.retain(ctx)
	case f.Settings.ReadOnly:
		return fault.Terminalf(v1alpha1.ReasonReadOnly,
			"the operator runs with --read-only and deletes nothing remote: run the operator without --read-only"+orphanHint)
	}
	if err := (remoteagent.Deleter{Task: f.Task}).DeleteRemote(ctx); err != nil {
		switch {
		case f.hopeless(err):
			return f.release(ctx, remoteagent.LeftBehind)
		case f.Removed:
			return err
		}
		return hinted(err)
	}
	if !f.Removed {
		if err := f.Secrets.RemoveUnowned(ctx, f.Agent); err != nil {
			return err
		}
	}
	return f.release(ctx, remoteagent.NoEvent)
}

// retain releases the Agent and keeps the remote agent, whose Fluent Bit needs the session at its next start.
func (f finalizer) retain(ctx context.Context) error {
	status, names := &f.Agent.Status, tokensecret.Names(f.Agent)
	for _, ref := range []*v1alpha1.LocalSecretReference{status.TokenSecretRef, status.SessionSecretRef} {
		if ref != nil && !slices.Contains(names, ref.Name) {
			names = append(names, ref.Name) // The Secret was renamed, and that is not reconciled yet.
		}
	}
	for _, name := range names {
		found, err := f.Secrets.Disown(ctx, f.Agent, name)
		if err == nil && !found {
			err = f.rescue(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	if len(status.DuplicatesToDelete) > 0 {
		f.Record(remoteagent.MaybeOrphaned, f.MachineID())
	}
	return f.release(ctx, remoteagent.Retained)
}

// release removes the finalizer, and records the event. Kubernetes then deletes the Secrets that the Agent owns.
func (f finalizer) release(ctx context.Context, how remoteagent.Event) error {
	write, cancel := remoteagent.Detach(ctx)
	defer cancel()
	err := f.PatchMeta(write, func(a *v1alpha1.Agent) { controllerutil.RemoveFinalizer(a, v1alpha1.AgentFinalizer) })
	if err != nil {
		return err
	}
	f.Released, f.Writes.Released = true, true
	f.Writes.Sent = nil // If somebody else removes the finalizer, RemovedAgent needs it.
	if how != remoteagent.NoEvent {
		f.Record(how, cmp.Or(f.Agent.Status.ID, "with the machine ID "+f.MachineID()))
	}
	return nil
}

// hinted adds the workaround to a failure that delays a deletion.
func hinted(err error) error {
	failure := agentstatus.Classify(err)
	if failure.Quiet {
		return err
	}
	with := *failure
	with.Message += orphanHint
	return &with
}

// hopeless reports whether retries cannot delete what a removed Agent left behind, or would delay a new Agent of the
// same name too long.
func (f finalizer) hopeless(err error) bool {
	failure := agentstatus.Classify(err)
	return f.Removed && (failure.Class == fault.Terminal || failure.Code == fault.ProjectMissing ||
		f.Clock.Since(f.Agent.DeletionTimestamp.Time) > f.Settings.OutageGrace)
}

// rescue writes a Secret again that the garbage collector deleted although the remote agent is retained, because the
// policy was set too shortly before the deletion. It succeeds if Calyptia Cloud shows the token. The Agent waits no
// longer for it than for a late response.
func (f finalizer) rescue(ctx context.Context, name string) error {
	status := &f.Agent.Status
	isToken := status.TokenSecretRef != nil && status.TokenSecretRef.Name == name
	isSession := status.SessionSecretRef != nil && status.SessionSecretRef.Name == name
	if f.Removed || !isToken && !isSession || f.namespaceGoes(ctx) {
		return nil
	}
	err := f.tokenShown(ctx)
	if err == nil && f.Token.Usable() {
		desired := tokensecret.Desired{
			Name: name, Registration: status.RegistrationIntent, Retained: true,
			Data: map[string][]byte{v1alpha1.IDKey: []byte(status.ID), v1alpha1.TokenKey: []byte(f.Token.Reveal())},
		}
		if isSession {
			err = secretKeeper{f.task}.putSession(ctx, name, f.Token)
		} else {
			_, err = f.Secrets.Put(ctx, f.Agent, nil, desired)
		}
	}
	failure := agentstatus.Classify(err)
	if failure != nil && failure.Class != fault.Terminal && f.Clock.Since(f.Agent.DeletionTimestamp.Time) < f.Settings.Slack {
		return failure.After(f.Settings.BackoffMin)
	}
	remoteagent.Logger(ctx).Info("A Secret of the retained agent was deleted with the Agent",
		"secret", name, "restored", failure == nil && f.Token.Usable())
	return nil
}

// tokenShown asks Calyptia Cloud for the token of the remote agent.
func (f finalizer) tokenShown(ctx context.Context) error {
	if f.Token.Usable() {
		return nil
	}
	if err := f.ResolveProject(ctx); err != nil {
		return err
	}
	return remoteagent.Evidence{Task: f.Task}.ShowToken(ctx)
}

// namespaceGoes reports whether the namespace is being deleted: then nothing can be created in it.
func (f finalizer) namespaceGoes(ctx context.Context) bool {
	namespace := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	err := f.APIReader.Get(ctx, client.ObjectKey{Name: f.Agent.Namespace}, &namespace)
	return err == nil && namespace.DeletionTimestamp != nil
}
