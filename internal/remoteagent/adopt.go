/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Adopter records the remote agent that spec.agentID names. Without it, the registrar decides.
type Adopter struct{ *Task }

// Ensure makes sure that one remote agent is recorded as this Agent's own.
func (a Adopter) Ensure(ctx context.Context) error {
	if a.Agent.Spec.AgentID != "" {
		return a.adopt(ctx)
	}
	_, err := newRegistrar(a.Task, false).settle(ctx)
	return err
}

func (a Adopter) adopt(ctx context.Context) error {
	id, status := a.Agent.Spec.AgentID, &a.Agent.Status
	switch {
	case status.ID == id && !a.Open():
		return a.keepFinalizer(ctx)
	case status.ID != "" && status.ID != id:
		if err := a.superseded(ctx); err != nil {
			return err
		}
	}
	if !cloud.ValidID(id) { // An Agent older than the validation of the field. It is never sent.
		return fault.Terminalf(v1alpha1.ReasonInvalid,
			"spec.agentID: no agent can have the ID %q: delete this Agent and create it with the right agentID", id)
	}
	remote, err := Absence{a.Task}.candidate(ctx, id)
	if err != nil {
		return err
	}
	if remote == nil {
		return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
			"spec.agentID: the project has no agent %s: correct spec.projectRef, or delete this Agent and create it with the right agentID", id)
	}
	// An agent with our derived machine ID was registered by this Agent, which lost its record.
	own := remote.MachineID == a.derived()
	if err := a.adoptable(ctx, remote, own); err != nil {
		return err
	}
	if a.Open() && !own {
		// What a registration in doubt created must be found before another agent is adopted.
		if recorded, err := newRegistrar(a.Task, true).settle(ctx); err != nil {
			return err
		} else if status = &a.Agent.Status; recorded && status.ID != id {
			return a.anotherID()
		}
	}
	if err := a.keepFinalizer(ctx); err != nil {
		return err
	}
	status.Origin = v1alpha1.OriginAdopted
	if own && a.Open() {
		status.Origin = v1alpha1.OriginRegistered
	}
	Observer{a.Task}.Put(id, remote.MachineID)
	a.SawRead(remote)
	a.Record(adopted, id)
	return nil
}

func (a Adopter) anotherID() error {
	return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
		"spec.agentID is %s, but this Agent has the remote agent %s: delete it and create one with the agentID",
		a.Agent.Spec.AgentID, a.Agent.Status.ID)
}

// superseded allows spec.agentID to name another remote agent than the recorded one where the user ends a lost
// registration with it: one that was begun because the recorded agent is missing.
func (a Adopter) superseded(ctx context.Context) error {
	if a.Open() {
		o, id := Observer{a.Task}, a.Agent.Status.ID
		if remote, err := o.Lookup(ctx, id); err != nil || remote == nil && (Absence{a.Task}).knownHere(id) {
			return err
		}
	}
	return a.anotherID()
}

func (a Adopter) adoptable(ctx context.Context, remote *cloud.Agent, own bool) error {
	spec := &a.Agent.Spec
	switch {
	case !own && !a.mayAdopt():
		if waits := withCopy(a.Task); waits != nil {
			return waits
		}
		return fault.Terminalf(v1alpha1.ReasonAdoptionNotAllowed,
			"spec.agentID: CloudProject %s/%s allows only Agents in its namespace to adopt: set its spec.adoption to Allowed",
			a.CloudProject.Namespace, a.CloudProject.Name)
	case !cloud.ValidMachineID(remote.MachineID):
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"the machine ID of agent %s is not one that spec.machineID could have: delete that agent in Calyptia Cloud and register it again",
			remote.ID)
	case spec.Type != "" && string(spec.Type) != remote.Type:
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"spec.type is %s, but agent %s is of type %q: delete this Agent and create it without type, or with the agentID of another agent",
			spec.Type, remote.ID, cloud.RedactWhole(agentstatus.Show(remote.Type, Redactor{a.Task}.Hide), remote.Token))
	case spec.MachineID != "" && spec.MachineID != remote.MachineID:
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"spec.machineID is not that of agent %s: delete this Agent and create it without machineID, or with the agentID of another agent",
			remote.ID)
	}
	if _, err := (Evidence{a.Task}).entitled(ctx, remote, a.Intent()); err != nil { // The permission was asked above.
		return err
	}
	return rivals{a.Task}.unowned(ctx, remote)
}
