/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// mostMissed bounds what is known of missing agents: beyond it, the two checks of each begin again.
const mostMissed = 100

// Absence decides whether a remote agent is missing.
type Absence struct{ *Task }

// ConfirmsMissing reports whether the failure of a request confirms that a remote agent does not exist; only this method
// decides that. The API's own error about the agent is enough. A "not found" that names nothing may come from a gateway
// or a route: then a later snapshot has to lack the agent, too. Any other failure is returned.
func (s Absence) ConfirmsMissing(ctx context.Context, id string, failure error) (bool, error) {
	switch {
	case cloud.IsGone(failure):
		return true, nil
	case !cloud.MaybeGone(failure):
		return false, failure
	case (deletions{s.Task}).accepted(id): // That is the second source.
		return true, nil
	}
	a, unnamed := &s.Known.Absence, Whereabouts{id, s.Endpoint}
	if a.unnamed != unnamed {
		a.unnamed, a.unnamedAt = unnamed, s.Clock.Now()
	}
	lacks, listed, err := snapshots{s.Task}.lacks(ctx, id, a.unnamedAt)
	if err != nil {
		return false, err // A snapshot may take longer than a reconciliation: the next one asks for the same.
	}
	a.unnamed = Whereabouts{} // A second check needs a second snapshot.
	if listed && lacks {
		return true, nil
	}
	return false, fault.Retryablef(v1alpha1.ReasonInvalidResponse,
		"%v, which does not confirm that %s was deleted: check the CloudProject's url and what is between it and the operator",
		failure, Evidence{s.Task}.named("the agent", id)).Because(failure)
}

// read reads a remote agent. One that exists ends what earlier checks found missing.
func (s Absence) read(ctx context.Context, id string) (*cloud.Agent, error) {
	remote, err := s.Project.Get(ctx, s.Caller(), id)
	if a, seen := &s.Known.Absence, (Whereabouts{id, s.Endpoint}); err == nil {
		delete(a.missed, s.found(id, fault.RemoteMissing))
		if remote.MachineID == s.MachineID() {
			delete(a.missed, s.found(id, fault.RemoteMisnamed))
		}
		if a.unnamed == seen {
			a.unnamed = Whereabouts{}
		}
		if s.confirmed(id) {
			a.other = finding{}
		}
	}
	return remote, err
}

// confirmed reports whether candidate found that a remote agent does not exist, and no read showed it since.
func (s Absence) confirmed(id string) bool {
	return s.Known.Absence.other == s.found(id, fault.RemoteMissing)
}

// candidate reads a remote agent that a spec, a Secret, a snapshot or an odd response names. It is nil if two checks, some time apart,
// found that it does not exist: one wrong "not found" may come from a backend that lags behind.
func (s Absence) candidate(ctx context.Context, id string) (*cloud.Agent, error) {
	if s.Project.Missing(s.Caller(), id) {
		return nil, nil //nolint:nilnil // Documented: it does not exist.
	}
	a, named, known := &s.Known.Absence, Whereabouts{id, s.Endpoint}, s.confirmed(id)
	remote, err := s.read(ctx, id)
	switch {
	case err == nil:
		return remote, nil
	case known && cloud.MaybeGone(err): // Else each request to reconcile would cost a list.
		s.Project.ConfirmedMissing(s.Caller(), id)
		return nil, nil //nolint:nilnil // Documented: it does not exist.
	}
	if missing, err := s.ConfirmsMissing(ctx, id, err); !missing {
		return nil, err
	}
	if err := s.missedTwice(id, fault.Retryablef(v1alpha1.ReasonRemoteDeleted,
		"%s was not found; the operator continues once a second check confirms it", Evidence{s.Task}.named("the remote agent", id),
	)); err != nil && named != a.Lost {
		return nil, err
	}
	s.Project.Drop(id)
	a.other = s.found(id, fault.RemoteMissing)
	s.Project.ConfirmedMissing(s.Caller(), id)
	return nil, nil //nolint:nilnil // Documented: it does not exist.
}

// missedOnce reports whether a first check missed the agent at this endpoint.
func (s Absence) missedOnce(id string) bool {
	_, once := s.Known.Absence.missed[s.found(id, fault.RemoteMissing)]
	return once
}

// missedTwice returns the failure until a second check, some time after the first, misses an agent that was named or is to be deleted.
func (s Absence) missedTwice(id string, until *fault.Error) error {
	return s.foundTwice(id, until.Coded(fault.RemoteMissing))
}

// foundTwice returns the failure until a second check, some time after the first, finds the same of an agent other than the recorded one.
func (s Absence) foundTwice(id string, until *fault.Error) error {
	a, found := &s.Known.Absence, s.found(id, until.Code)
	if _, before := a.missed[found]; !before {
		if a.missed == nil || len(a.missed) >= mostMissed {
			a.missed = map[finding]time.Time{}
		}
		a.missed[found] = s.Clock.Now()
	}
	return s.again(a.missed[found], until)
}

// knownHere reports whether a remote agent that is not found at this endpoint is known to have been there: the Agent's own, or a
// duplicate, which is in the same project.
func (s Absence) knownHere(id string) bool {
	verified, by := s.Agent.Status.ID != "" && (Observer{s.Task}).verified(), s.Known.Identity.by
	if verified && by == s.credentialNow() || (deletions{s.Task}).begun(id).shown { // By this process, with this token.
		return true // Also after the token was replaced by one that contains the project, or no longer does.
	}
	// A token that does not reveal its project may be another project's: then only what was registered with this token counts.
	// Nor may the token then have been this project's, unless a list showed that later.
	shown := s.Project.Vouched() && (!s.Agent.Status.ProjectClaimed || verified && connection.VouchedFor(s.Project, by))
	return RecordedEndpoint(s.Agent) == s.Endpoint && (shown || Evidence{s.Task}.registeredWithThisToken())
}

// neverShown reports whether only the response to a registration named the recorded agent: no read or snapshot showed it, in no
// process.
func neverShown(a *v1alpha1.Agent) bool {
	shown := a.Status.Agent
	return a.Status.Origin == v1alpha1.OriginRegistered && (shown == nil || shown.Status == "" && shown.UpdatedAt == nil)
}

// twice returns the failure until a second check of an agent finds the same.
func (s Absence) twice(id string, until *fault.Error) error {
	a, found := &s.Known.Absence, s.found(id, until.Code)
	if a.firstAt.IsZero() || a.first != found {
		a.first, a.firstAt = found, s.Clock.Now()
	}
	return s.again(a.firstAt, until)
}

// showedOther reports whether the last response about the recorded agent showed another machine ID: in this process, or, by the condition,
// in a former one.
func showedOther(s Absence, id string) bool {
	a, other := &s.Known.Absence, s.found(id, fault.RemoteMisnamed)
	ready := meta.FindStatusCondition(s.Agent.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil && ready.Reason == v1alpha1.ReasonRemoteMismatch && strings.HasPrefix(ready.Message, othersBegin(id)) {
		a.first = other // Also once the condition shows another failure.
	}
	return a.first == other
}

// othersBegin is how the messages about a remote agent that shows another machine ID begin.
func othersBegin(id string) string { return "the remote agent " + id + " shows another machine ID" }

// mismatched returns the failure of a remote agent that shows another machine ID: the final one once a second check finds the same.
func (s Absence) mismatched(id string, final *fault.Error) error {
	if id == s.Agent.Status.ID {
		s.Known.Identity.id = "" // Nothing is sent until a read verifies that it is ours.
	}
	if err := s.twice(id, fault.Retryablef(v1alpha1.ReasonRemoteMismatch,
		"the remote agent %s shows another machine ID; nothing is changed until a second check", id).Coded(fault.RemoteMisnamed)); err != nil {
		return err
	}
	return final
}

// again returns the failure until a second check, some time after the first.
func (s Absence) again(first time.Time, until *fault.Error) error {
	if s.Clock.Now().Sub(first) < s.Settings.GoneDelay {
		return until.Coded(fault.RemoteMissing).After(s.Settings.GoneDelay)
	}
	return nil
}

// misnamed is the failure of a record that only the response to a registration made, and that a read contradicts.
func misnamed(id string) *fault.Error {
	return fault.Retryablef(v1alpha1.ReasonRemoteMismatch,
		"the response to the registration named agent %s, which shows another machine ID; "+
			"the Agent's own is looked for once a second check confirms that", id).Coded(fault.RemoteMisnamed)
}
