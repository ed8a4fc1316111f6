/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"errors"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Absence decides whether a remote agent is missing.
type Absence struct{ *Task }

// ConfirmsMissing reports whether the failure of a request confirms that a remote agent does not exist; only this method
// decides that. The API's own error about the agent is enough. A "not found" that names nothing may come from a gateway
// or a route: then a later snapshot has to lack the agent, too. Any other failure is returned.
func (o Absence) ConfirmsMissing(ctx context.Context, id string, failure error) (bool, error) {
	switch {
	case cloud.IsGone(failure):
		return true, nil
	case !cloud.MaybeGone(failure):
		return false, failure
	}
	a := &o.Known.Absence
	if a.unnamed != id {
		a.unnamed, a.unnamedAt = id, o.Clock.Now()
	}
	lacks, listed, err := o.Project.Lacks(ctx, id, a.unnamedAt)
	if err = (snapshots{o.Task}).current(err); err != nil {
		return false, err // A snapshot may take longer than a reconciliation: the next one asks for the same.
	}
	a.unnamed = "" // A second check needs a second snapshot.
	if listed && lacks {
		return true, nil
	}
	return false, fault.Retryablef(v1alpha1.ReasonInvalidResponse,
		"%v, which does not confirm that agent %s was deleted: "+
			"check the CloudProject's url and what is between it and the operator",
		failure, id).Because(failure)
}

// ConfirmDeleted reads a remote agent after a response that said it is deleted: a gateway or a portal may have responded in place of the
// API. If the read fails, the next reconciliation repeats the deletion, and its response shows that the agent does not exist. After a
// deletion that was accepted, a "not found" that names nothing is the second source.
func (o Absence) ConfirmDeleted(ctx context.Context, id string) error {
	o.Known.Absence.deleted = Whereabouts{id, o.Endpoint}
	switch _, err := o.Project.Get(ctx, o.Caller(), id); {
	case err == nil:
		o.Known.Absence.deleted = Whereabouts{}
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
			"a response said that agent %s is deleted, and the agent still exists: check what is between the operator and Calyptia Cloud", id)
	case cloud.IsGone(err), cloud.MaybeGone(err):
		return nil
	default:
		return err
	}
}

// knownHere reports whether a remote agent that is not found at this endpoint is known to have been there.
func (o Absence) knownHere() bool {
	if RecordedEndpoint(o.Agent) != o.Endpoint {
		return false
	}
	// A token that does not reveal its project may be another project's: then only what was seen with this token counts.
	return o.Project.Vouched() || (Observer{o.Task}).verified() && o.Known.Identity.by == o.credentialNow()
}

// ErrMissing sends a reconciliation back to the registration: the remote agent is missing for good.
var ErrMissing = errors.New("the remote agent is missing")

// neverShown reports whether only the response to a registration named the recorded agent: no read or snapshot showed it, in no
// process.
func neverShown(a *v1alpha1.Agent) bool {
	shown := a.Status.Agent
	return a.Status.Origin == v1alpha1.OriginRegistered && (shown == nil || shown.Status == "" && shown.UpdatedAt == nil)
}

// confirmMissing confirms in two checks that a remote agent was deleted, or never was this Agent's; until then it returns the failure.
func (o Absence) confirmMissing(until *fault.Error) error {
	status, a, now := &o.Agent.Status, &o.Known.Absence, o.Clock.Now()
	switch {
	case o.Project.Version() != o.EndpointVersion:
		return o.outdated()
	case !o.knownHere():
		return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
			"the API at %s does not have agent %s, which was last seen at %s in project %q: "+
				"correct the CloudProject's url or token, or spec.projectRef",
			o.Endpoint.URL, status.ID, status.URL, status.ProjectID)
	case status.Origin != v1alpha1.OriginRegistered || o.Agent.Spec.AgentID != "":
		return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
			"the adopted agent %s was deleted: delete this Agent, or replace it with one that registers", status.ID)
	case a.firstAt.IsZero():
		a.firstAt = now
		fallthrough
	case now.Sub(a.firstAt) < o.Settings.GoneDelay:
		return until.Coded(fault.RemoteMissing).After(o.Settings.GoneDelay)
	}
	since := a.firstAt
	if !a.unlistedAt.IsZero() {
		since = a.unlistedAt
	}
	// Another CloudProject may only claim the project: what other teams recorded through it is no loss of this one.
	if status.CloudProjectUID == string(o.CloudProject.UID) || o.Agent.Namespace == o.CloudProject.Namespace {
		if err := o.Project.Gone(o.Caller(), since); err != nil {
			return err
		}
	}
	a.Lost = Whereabouts{status.ID, o.Endpoint}
	o.Known.fruitless.lost(status.ID, now, occasionOf(o.Task))
	o.sawMissing()
	status.ID, status.Agent, status.Applied = "", nil, v1alpha1.AppliedState{}
	return ErrMissing
}
