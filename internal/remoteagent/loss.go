/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"errors"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// ErrMissing sends a reconciliation back to the registration: the remote agent is missing for good.
var ErrMissing = errors.New("the remote agent is missing")

// loss is the absence of the recorded agent of an Agent that stays.
type loss struct{ *Task }

// notFound is the failure until a second check.
func (l loss) notFound() *fault.Error {
	id := l.Agent.Status.ID
	until := fault.Retryablef(v1alpha1.ReasonRemoteDeleted,
		"remote agent %s not found; it is re-registered once a second check confirms it", id)
	if l.final() != nil {
		until = fault.Retryablef(v1alpha1.ReasonRemoteDeleted,
			"remote agent %s not found; the operator continues once a second check confirms it", id)
	}
	return until.Coded(fault.RemoteMissing)
}

// final is the failure of an agent that is missing for good and is not registered again.
func (l loss) final() error {
	status := &l.Agent.Status
	switch {
	case !(Absence{l.Task}).knownHere(status.ID):
		return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
			"the API at %s does not have agent %s, which was last seen at %s in project %q: "+
				"correct the CloudProject's url or token, or spec.projectRef",
			l.Endpoint.URL, status.ID, status.URL, status.ProjectID)
	case status.Origin != v1alpha1.OriginRegistered || l.Agent.Spec.AgentID != "":
		return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
			"the adopted agent %s was deleted: delete this Agent, or replace it with one that registers", status.ID)
	}
	return nil
}

// missing confirms that the agent was deleted, drops it from the snapshots, and counts the loss.
func (l loss) missing() error {
	if err := l.confirm(l.notFound()); err != nil {
		return err
	}
	a := &l.Known.Absence
	l.Project.Drop(l.Agent.Status.ID)
	since := a.firstAt
	if !a.unlistedAt.IsZero() {
		since = a.unlistedAt
	}
	if l.countsHere() {
		if err := l.Project.Gone(l.Caller(), since); err != nil {
			return err
		}
	}
	return l.forget()
}

// misnamed confirms that the agent is another's, which a response named. It exists, so that the snapshots keep it. If the agents of two
// registrations in a row show the same other machine ID, it is changed on its way: a third would leave one more agent.
func (l loss) misnamed(shown string) error {
	id := l.Agent.Status.ID
	if err := l.confirm(misnamed(id)); err != nil {
		return err
	}
	if triesOf(l.Task).shown == shown {
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"two registrations in a row named agents that show the same other machine ID (last %s): correct what changes machine IDs "+
				"between the operator and Calyptia Cloud", id)
	}
	triesOf(l.Task).shown = shown
	return l.forget()
}

// confirm returns the failure until a second check, or if the Agent is not registered again. One wrong response stalls no Agent.
func (l loss) confirm(until *fault.Error) error {
	if l.Project.Version() != l.EndpointVersion {
		return l.outdated()
	}
	if err := (Absence{l.Task}).twice(l.Agent.Status.ID, until); err != nil {
		return err
	}
	return l.final()
}

// forget removes the agent from the status.
func (l loss) forget() error {
	status := &l.Agent.Status
	l.Known.Absence.Lost = Whereabouts{status.ID, l.Endpoint}
	triesOf(l.Task).lost(status.ID, l.Clock.Now(), occasionOf(l.Task))
	l.sawMissing()
	status.ID, status.Agent, status.Applied = "", nil, v1alpha1.AppliedState{}
	return ErrMissing
}

// countsHere reports whether a missing agent is a loss of this CloudProject. Another one may only claim the project: what other teams
// recorded through it is none. One that was created again has another UID, and the token that signed the registration.
func (l loss) countsHere() bool {
	return l.Agent.Namespace == l.CloudProject.Namespace ||
		(rivals{l.Task}).sameProject(types.UID(l.Agent.Status.CloudProjectUID)) || Evidence{l.Task}.registeredWithThisToken()
}
