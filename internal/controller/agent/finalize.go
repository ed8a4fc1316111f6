/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"cmp"
	"context"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

const orphanHint = `; or annotate the Agent with cloud.calyptia.com/orphan: "true" to leave the remote agent behind`

// finalize deletes or releases the remote agent, then lets the Agent go. It creates no Kubernetes object.
func (p *pass) finalize(ctx context.Context) error {
	if !controllerutil.ContainsFinalizer(p.agent, v1alpha1.AgentFinalizer) || p.memory.released {
		return nil
	}
	status := &p.agent.Status
	switch {
	case status.ID == "" && !p.open() && len(status.DuplicatesToDelete) == 0:
		return p.release(ctx, nothing)
	case p.agent.Annotations[v1alpha1.AnnotationOrphan] == "true":
		return p.release(ctx, orphaned)
	case p.retains():
		return p.retain(ctx)
	case p.Settings.ReadOnly:
		return fault.Terminalf(v1alpha1.ReasonReadOnly,
			"the operator runs with --read-only and deletes nothing remote: run it without"+orphanHint)
	}
	if err := p.deleteRemote(ctx); err != nil {
		switch {
		case p.hopeless(err):
			return p.release(ctx, leftBehind)
		case p.vanished:
			return err
		}
		return hinted(err)
	}
	if err := p.removeUnowned(ctx); err != nil {
		return err
	}
	return p.release(ctx, nothing)
}

// retain lets the Agent go without its remote agent. Its Fluent Bit runs on, and needs the session at its next start.
func (p *pass) retain(ctx context.Context) error {
	status, names := &p.agent.Status, tokensecret.Names(p.agent)
	for _, ref := range []*v1alpha1.LocalSecretReference{status.TokenSecretRef, status.SessionSecretRef} {
		if ref != nil && !slices.Contains(names, ref.Name) {
			names = append(names, ref.Name) // Renamed, and not acted on.
		}
	}
	for _, name := range names {
		found, err := p.secrets.Disown(ctx, p.agent, name)
		if err == nil && !found {
			err = p.rescue(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	if len(status.DuplicatesToDelete) > 0 {
		p.tell(maybeOrphaned, p.machineID())
	}
	return p.release(ctx, retained)
}

// retains reports whether the remote agent outlives the Agent.
func (p *pass) retains() bool {
	spec := &p.agent.Spec
	switch {
	case spec.SyncPolicy == v1alpha1.SyncObserve || spec.DeletionPolicy == v1alpha1.DeletionRetain:
		return true
	case spec.DeletionPolicy == v1alpha1.DeletionDelete:
		return false
	default:
		return spec.AgentID != "" && p.agent.Status.Origin != v1alpha1.OriginRegistered
	}
}

// deleteRemote deletes the remote agent, and what an open registration may have made.
func (p *pass) deleteRemote(ctx context.Context) error {
	if err := p.findProject(ctx); err != nil {
		return err
	}
	standing, err := p.standing(ctx)
	if err != nil || standing.Access() == registration.AccessNone {
		return err
	}
	if err := p.connect(); err != nil {
		return err
	}
	// Without a type nothing was ever registered. A record alone entitles to nothing but the agent that it names.
	if p.open() && p.agent.Spec.Type != "" && (standing.Admitted || standing.IntentAuthentic) {
		if recorded, err := p.settleRegistration(ctx, false); err != nil || !recorded {
			return err
		}
		p.tellOlder()
	}
	for _, id := range p.agent.Status.DuplicatesToDelete {
		if err := p.deleteConfirmed(ctx, id); err != nil {
			return err
		}
	}
	if p.agent.Status.ID == "" {
		return nil
	}
	if p.memory.confirmed != p.agent.Status.ID || p.memory.confirmedAt != p.place {
		return p.deleteConfirmed(ctx, p.agent.Status.ID)
	}
	return p.deleteID(ctx, p.agent.Status.ID)
}

// tellOlder tells of an agent that an earlier attempt of a registration may have left, where only another request could
// tell the ID: what that one registered is new.
func (p *pass) tellOlder() {
	began, _ := p.intent().Began(p.Clock.Now())
	if made := p.agent.Status.Agent; p.registered && (made.CreatedAt == nil || !registration.CreatedBefore(made.CreatedAt.Time, began)) {
		p.tell(maybeOrphaned, p.machineID())
	}
}

// standing is what a deletion may ask of the CloudProject. Users can write the finalizer and the intent of any Agent:
// without a record and an authentic intent there is nothing that could be this Agent's, and no request is made for it.
func (p *pass) standing(ctx context.Context) (s registration.Standing, err error) {
	refused := p.admitted(ctx)
	if refused == nil {
		return registration.Standing{Admitted: true}, nil
	}
	if !classify(refused).is(v1alpha1.ReasonProjectNotAllowed) {
		return s, refused
	}
	if err := p.connect(); err != nil {
		shared := p.Projects.Lookup(p.cloudProject.UID)
		if shared == nil {
			return s, err // Its credentials are not read yet: they tell whose the intent is.
		}
		p.project, p.place = shared, shared.Endpoint()
	}
	s = registration.Standing{
		RecordedHere:    p.recordedHere(p.agent.Status.ID),
		IntentAuthentic: p.open() && p.authentic(),
	}
	if s.Access() == registration.AccessNone && p.agent.Status.ID != "" {
		return s, refused // It is recorded elsewhere, where it cannot be deleted from here.
	}
	return s, nil
}

// deleteConfirmed reads first: only what shows our machine ID, and is known to be ours, is deleted.
func (p *pass) deleteConfirmed(ctx context.Context, id string) error {
	remote, err := p.project.Get(ctx, p.caller(), id)
	if err != nil {
		if gone, err := p.provesGone(ctx, id, err); !gone {
			return err
		}
		return p.goneForGood(id)
	}
	switch {
	case remote.MachineID != p.machineID():
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"the remote agent %s shows another machine ID than this Agent's, so it is not deleted: check the CloudProject's url", id)
	case !p.entitled(remote, p.intent()):
		return p.notEntitled()
	}
	if id == p.agent.Status.ID { // The deletion may have to wait for its turn, which another look would cost.
		p.confirmed(id)
	}
	return p.deleteID(ctx, id)
}

// deleteID deletes what is nobody else's.
func (p *pass) deleteID(ctx context.Context, id string) error {
	err := p.unclaimed(ctx, &cloud.Agent{ID: id, MachineID: p.machineID()})
	if classify(err).is(v1alpha1.ReasonRemoteAlreadyManaged) {
		logger(ctx).Info("Left the remote agent to the Agent that has it", "id", id, "cause", err.Error())
		return nil
	} else if err != nil {
		return err
	}
	// Cut by a shutdown, it might be done all the same, and leave the next process to wonder where the agent is.
	err = p.project.Delete(context.WithoutCancel(ctx), p.caller(), id)
	if err != nil {
		if gone, err := p.provesGone(ctx, id, err); !gone {
			return err
		}
		return p.goneForGood(id)
	}
	p.tell(deleted, id)
	return nil
}

// goneForGood accepts that a remote agent is gone only where it is known to have been.
func (p *pass) goneForGood(id string) error {
	if p.project.Version() != p.placed {
		return p.outdated()
	}
	if p.proved() || id != p.agent.Status.ID {
		p.tell(goneAlready, id)
		return nil
	}
	status := &p.agent.Status
	return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
		"the service at %s does not have agent %s, which was seen last at %s in project %q: correct the CloudProject's url or token",
		p.place.URL, id, status.URL, status.ProjectID)
}

// release lets the Agent go, and tells how once it is gone. Its Secrets follow it: they are owned by it.
func (p *pass) release(ctx context.Context, how happening) error {
	write, cancel := detach(ctx)
	defer cancel()
	err := p.patchMeta(write, func(a *v1alpha1.Agent) { controllerutil.RemoveFinalizer(a, v1alpha1.AgentFinalizer) })
	if err != nil {
		return err
	}
	p.released, p.memory.released = true, true
	if how != nothing {
		p.tell(how, cmp.Or(p.agent.Status.ID, "with the machine ID "+p.machineID()))
	}
	return nil
}

// hinted adds the way out to a failure that holds a deletion back.
func hinted(err error) error {
	f := classify(err)
	if f.Quiet {
		return err
	}
	with := *f.Error
	with.Message += orphanHint
	return &with
}
