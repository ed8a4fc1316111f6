/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
)

// Field indexes of the cached Agents; their values are buckets.
const (
	remoteIndex  = "status.id"
	machineIndex = "status.machineID"
)

// adopt takes over the remote agent that spec.agentID names.
func (p *pass) adopt(ctx context.Context) error {
	id, status := p.agent.Spec.AgentID, &p.agent.Status
	switch {
	case status.ID == id && !p.open():
		return p.keepFinalizer(ctx)
	case status.ID != "" && status.ID != id:
		if err := p.superseded(ctx); err != nil {
			return err
		}
	}
	remote, err := p.project.Get(ctx, p.caller(), id)
	if cloud.IsGone(err) {
		return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
			"spec.agentID: the project holds no agent %s: correct spec.projectRef, or delete this Agent and create it with the right agentID", id)
	} else if err != nil {
		return err
	}
	// An agent with our derived machine ID is one that this Agent registered and lost sight of.
	own := remote.MachineID == p.derived()
	if err := p.adoptable(ctx, remote, own); err != nil {
		return err
	}
	if p.open() && !own {
		// What a lost registration made must not be forgotten for another agent.
		if recorded, err := p.settleRegistration(ctx, true); err != nil {
			return err
		} else if status = &p.agent.Status; recorded && status.ID != id {
			return p.anotherID()
		}
	}
	if err := p.keepFinalizer(ctx); err != nil {
		return err
	}
	status.Origin = v1alpha1.OriginAdopted
	if own && p.open() {
		status.Origin = v1alpha1.OriginRegistered
	}
	p.recorded(ctx, id, remote.MachineID)
	p.remote, p.token = remote, remote.Token
	p.tell(adopted, id)
	return nil
}

func (p *pass) anotherID() error {
	return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
		"spec.agentID is %s, but this Agent has the remote agent %s: delete it and create one with the agentID",
		p.agent.Spec.AgentID, p.agent.Status.ID)
}

// superseded lets spec.agentID name another remote agent than the recorded one where a person ends a lost
// registration with it: one that was begun anew because the recorded agent is gone.
func (p *pass) superseded(ctx context.Context) error {
	if p.open() {
		if remote, err := p.ours(ctx, p.agent.Status.ID); err != nil || remote == nil && p.proved() {
			return err
		}
	}
	return p.anotherID()
}

func (p *pass) adoptable(ctx context.Context, remote *cloud.Agent, own bool) error {
	spec := &p.agent.Spec
	switch {
	case !own && !p.mayAdopt():
		return fault.Terminalf(v1alpha1.ReasonAdoptionNotAllowed,
			"spec.agentID: CloudProject %s/%s lets only Agents of its own namespace take over agents: set its spec.adoption to Allowed",
			p.cloudProject.Namespace, p.cloudProject.Name)
	case !cloud.ValidMachineID(remote.MachineID):
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"the machine ID of agent %s is not one that spec.machineID could have: delete that agent in Calyptia Cloud and register it again",
			remote.ID)
	case spec.Type != "" && string(spec.Type) != remote.Type:
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"spec.type is %s, but agent %s is of type %q: delete this Agent and create it without type, or with the agentID of another agent",
			spec.Type, remote.ID, clip(remote.Type))
	case spec.MachineID != "" && spec.MachineID != remote.MachineID:
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"spec.machineID is not that of agent %s: delete this Agent and create it without machineID, or with the agentID of another agent",
			remote.ID)
	}
	return p.unclaimed(ctx, remote)
}

// mayAdopt reports whether the CloudProject lets this namespace take over agents that others registered.
func (p *pass) mayAdopt() bool {
	return p.cloudProject.Namespace == p.agent.Namespace || p.cloudProject.Spec.Adoption == v1alpha1.AdoptionAllowed
}

// unclaimed refuses a remote agent that belongs to another Agent: the one whose name the machine ID is
// derived from, else the one that has it recorded, the older first.
func (p *pass) unclaimed(ctx context.Context, remote *cloud.Agent) error {
	own := remote.MachineID == p.derived()
	if own {
		return nil
	}
	others, err := p.having(ctx, remoteIndex, remote.ID)
	if err != nil {
		return err
	}
	recordedHere := p.agent.Status.ID == remote.ID && p.agent.Status.URL == p.place.URL
	for i := range others {
		other := &others[i]
		if other.UID == p.agent.UID || other.Status.URL != p.place.URL { // An ID means something only at its endpoint.
			continue
		}
		theirs := remote.MachineID == derivedMachineID(p.Settings.ClusterID, client.ObjectKeyFromObject(other))
		if recordedHere && !theirs && older(p.agent, other) {
			continue
		}
		return p.claimedBy(other, remote.ID)
	}
	if recordedHere {
		return nil
	}
	holder, mine := p.memories.claim(claim{place: connection.Endpoint{URL: p.place.URL}, agent: remote.ID}, p.key())
	if mine {
		return nil
	}
	return p.claimedBy(p.other(ctx, holder), remote.ID)
}

// claimedBy waits for an Agent that is about to let the remote agent go, and refuses it while its holder lives.
func (p *pass) claimedBy(other *v1alpha1.Agent, id string) error {
	if !other.DeletionTimestamp.IsZero() {
		return fault.Retryablef(v1alpha1.ReasonRemoteAlreadyManaged,
			"the remote agent %s belongs to %s, which is being deleted", id, p.called(other))
	}
	return fault.Terminalf(v1alpha1.ReasonRemoteAlreadyManaged,
		"the remote agent %s belongs to %s: delete one of the two Agents (this one touches nothing remote)", id, p.called(other))
}

// called names another Agent; to a namespace that may not adopt, not one of another namespace.
func (p *pass) called(other *v1alpha1.Agent) string {
	if other.Namespace != p.agent.Namespace && !p.mayAdopt() {
		return "an Agent of another namespace"
	}
	return "Agent " + other.Namespace + "/" + other.Name
}

// other is another Agent as the cache has it. One that the cache does not have any more is as good as deleted.
func (p *pass) other(ctx context.Context, key types.NamespacedName) *v1alpha1.Agent {
	var other v1alpha1.Agent
	if p.Client.Get(ctx, key, &other) != nil {
		other.Namespace, other.Name, other.DeletionTimestamp = key.Namespace, key.Name, new(metav1.Now())
	}
	return &other
}

func older(a, b *v1alpha1.Agent) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// notEntitled refuses a remote agent that nothing shows to be this Agent's at this endpoint.
func (p *pass) notEntitled() error {
	return fault.Terminalf(v1alpha1.ReasonAdoptionNotAllowed,
		"the remote agent is not known to be this Agent's at CloudProject %s/%s, which does not allow this namespace to adopt agents: "+
			"correct spec.projectRef, or set spec.adoption of the CloudProject to Allowed",
		p.cloudProject.Namespace, p.cloudProject.Name)
}

// machineIDFree refuses to register a machine ID that another Agent of the cluster has in the same project. The owner
// by derivation is refused nothing: whoever else has its machine ID gives way.
func (p *pass) machineIDFree(ctx context.Context) error {
	if !p.explicit() {
		p.memories.seize(p.machineClaim(), p.key())
		return nil
	}
	others, err := p.having(ctx, machineIndex, p.machineID())
	if err != nil {
		return err
	}
	for i := range others {
		if other := &others[i]; other.UID != p.agent.UID && other.Status.ID != "" && p.sharesProject(ctx, other) {
			return p.machineIDOf(other)
		}
	}
	holder, mine := p.memories.claim(p.machineClaim(), p.key())
	if mine {
		return nil
	}
	return p.machineIDOf(p.other(ctx, holder))
}

// sharesProject reports whether another Agent's record is of the same project. What spec.projectID says of a token is
// only somebody's word: of another CloudProject it counts only where its token or its lists bear it out.
func (p *pass) sharesProject(ctx context.Context, other *v1alpha1.Agent) bool {
	if (connection.Endpoint{URL: other.Status.URL, ProjectID: other.Status.ProjectID}) != p.place {
		return false
	}
	ref, named := projectref.Ref(other, p.Settings.DefaultProject)
	if named && ref == client.ObjectKeyFromObject(p.cloudProject) {
		return true
	}
	var cp v1alpha1.CloudProject
	if !named || p.Client.Get(ctx, ref, &cp, client.UnsafeDisableDeepCopy) != nil {
		return false
	}
	shared := p.Projects.Lookup(cp.UID)
	return shared != nil && shared.Vouched()
}

// machineClaim is on the machine ID in the project; where only spec.projectID names that, in this CloudProject's alone.
func (p *pass) machineClaim() claim {
	place := p.place
	if !p.project.Vouched() {
		place.ProjectID += " of " + string(p.cloudProject.UID)
	}
	return claim{place: place, machineID: p.machineID()}
}

// machineIDOf waits for an Agent with the same machine ID that is about to go, and is refused by one that lives.
func (p *pass) machineIDOf(other *v1alpha1.Agent) error {
	if !other.DeletionTimestamp.IsZero() {
		return fault.Retryablef(v1alpha1.ReasonMachineIDConflict,
			"spec.machineID: %s has the machine ID %q and is being deleted", p.called(other), p.machineID())
	}
	return fault.Terminalf(v1alpha1.ReasonMachineIDConflict,
		"spec.machineID: %s has the machine ID %q already: delete this Agent and create it with another machineID, or without one",
		p.called(other), p.machineID())
}

// takeOver is what to do about a machine ID that another agent holds.
const takeOver = "set spec.agentID to adopt that agent, or delete this Agent and create it with another spec.machineID"

// machineIDTaken tells the ID of the other agent only to who may adopt it.
func (p *pass) machineIDTaken(id string) error {
	which := "another agent of the project"
	if id != "" && p.mayAdopt() {
		which = "agent " + id + " of the project"
	}
	return fault.Terminalf(v1alpha1.ReasonMachineIDConflict,
		"spec.machineID: %s holds the machine ID %q: "+takeOver, which, p.machineID())
}
