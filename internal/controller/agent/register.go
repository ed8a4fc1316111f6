/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
)

// machineID is what the remote agent is known by.
func (p *pass) machineID() string {
	switch {
	case p.agent.Status.MachineID != "":
		return p.agent.Status.MachineID
	case p.agent.Spec.MachineID != "":
		return p.agent.Spec.MachineID
	default:
		return p.derived()
	}
}

// derived is the machine ID that is this Agent's alone, in any cluster that has its name.
func (p *pass) derived() string { return derivedMachineID(p.Settings.ClusterID, p.key()) }

// explicit reports whether somebody chose the machine ID, so that other agents may have it by right.
func (p *pass) explicit() bool { return p.machineID() != p.derived() }

// register makes sure that one remote agent is recorded as this Agent's own.
func (p *pass) register(ctx context.Context) error {
	if p.agent.Spec.AgentID != "" {
		return p.adopt(ctx)
	}
	_, err := p.settleRegistration(ctx, false)
	return err
}

// keepFinalizer puts the finalizer back if somebody took it.
func (p *pass) keepFinalizer(ctx context.Context) error {
	if controllerutil.ContainsFinalizer(p.agent, v1alpha1.AgentFinalizer) {
		return nil
	}
	return p.patchMeta(ctx, func(a *v1alpha1.Agent) { controllerutil.AddFinalizer(a, v1alpha1.AgentFinalizer) })
}

// ours reads a remote agent whose ID came from a Secret, a list or a spec. Only one that shows our machine
// ID is returned; nil says that it is gone or not ours.
func (p *pass) ours(ctx context.Context, id string) (*cloud.Agent, error) {
	remote, err := p.project.Get(ctx, p.caller(), id)
	if err != nil {
		gone, err := p.provesGone(ctx, id, err)
		if gone {
			p.memory.absent, p.memory.absentAt = id, p.place
		}
		return nil, err
	}
	if remote.MachineID != p.machineID() {
		return nil, nil
	}
	return remote, nil
}

// take records a remote agent that is already there as this Agent's own.
func (p *pass) take(ctx context.Context, remote *cloud.Agent) error {
	if !p.entitled(remote, p.intent()) {
		return p.notEntitled()
	}
	if err := p.unclaimed(ctx, remote); err != nil {
		return err
	}
	if err := p.keepFinalizer(ctx); err != nil {
		return err
	}
	p.agent.Status.Origin = v1alpha1.OriginRegistered
	p.recorded(ctx, remote.ID, remote.MachineID)
	p.remote = remote
	p.token = remote.Token
	p.tell(recovered, remote.ID)
	return nil
}

// recorded writes down whose the remote agent is and where it was seen.
func (p *pass) recorded(ctx context.Context, id, machineID string) {
	status, place := &p.agent.Status, p.place
	if status.ID != id || status.URL != place.URL {
		p.doubtSecrets() // They tell both.
	}
	if len(status.DuplicatesToDelete) > 0 && (connection.Endpoint{URL: status.URL, ProjectID: status.ProjectID}) != place {
		p.tell(maybeOrphaned, p.machineID())
		status.DuplicatesToDelete = nil // At this endpoint the same IDs are another's.
	}
	if status.ID != id {
		if p.memory.confirmed != id { // Else it is this agent's own, from a status that could not be written.
			p.memory.unstored = cloud.Token{}
		}
		p.memory.sent, p.memory.doubted = nil, nil
		status.Applied = v1alpha1.AppliedState{}
		status.Agent = nil
		status.IgnoredFields, status.DriftedFields = nil, nil
		p.unset(v1alpha1.ConditionReporting) // It was another agent's.
	}
	status.ID, status.MachineID = id, machineID
	status.URL, status.ProjectID = place.URL, place.ProjectID
	if p.open() { // Else the annotation may be gone, or be an older one: what was closed stays closed.
		p.closeIntent()
	}
	p.confirmed(id)
	p.memory.goneAt, p.memory.unlistedAt = time.Time{}, time.Time{}
	p.observed(ctx)
}

// confirmed notes that a remote agent is ours, and there.
func (p *pass) confirmed(id string) {
	p.memory.confirmed, p.memory.confirmedAt, p.memory.confirmedBy = id, p.place, ""
	if now := p.credential(); now == p.shown {
		p.memory.confirmedBy = now
	}
}
