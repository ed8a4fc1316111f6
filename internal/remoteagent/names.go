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

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/catalog"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/names"
	"github.com/calyptia-agent-operator/operator/internal/plan"
)

// Names resolves the fleet and the environment that the spec names, from the lists that all Agents of the project share.
type Names struct{ *Task }

// mostReads bounds how often one reconciliation asks for a list: another caller's list may be too old.
const mostReads = 3

// busyDelay is how long an Agent waits while another one's reconciliation reads the list.
const busyDelay = 500 * time.Millisecond

func (n Names) refs() (fleet, environment names.Ref) {
	if ref := n.Agent.Spec.Fleet; ref != nil {
		fleet = names.Ref(*ref)
	}
	if ref := n.Agent.Spec.Environment; ref != nil {
		environment = names.Ref(*ref)
	}
	return fleet, environment
}

// Resolve finds the IDs of the names.
func (n Names) Resolve(ctx context.Context) error {
	fleet, environment := n.refs()
	n.Targets = plan.Targets{}
	found, err := n.resolve(ctx, names.Fleet, fleet)
	if err != nil {
		return err
	}
	n.Targets.FleetID = found.ID
	if found, err = n.resolve(ctx, names.Environment, environment); err != nil {
		return err
	}
	n.Targets.EnvironmentID, n.Targets.EnvironmentName = found.ID, environment.Name
	listed := n.Project.Catalog(n.EndpointVersion, names.Environment)
	n.Targets.EnvironmentListed = func(name string) bool { return listed.ID(name) != "" }
	return nil
}

// resolve follows decisions until there is an ID, or a reason why there is none.
func (n Names) resolve(ctx context.Context, kind names.Kind, ref names.Ref) (names.Entry, error) {
	// One time for all decisions: a list that was just read is new enough, however long it took.
	now, limits := n.Clock.Now(), names.Limits{Missing: catalog.MissingInterval, Resync: n.Interval(ctx)}
	if !n.Handled() { // Somebody asks. A list that was begun since then is enough: the rate limit may delay what follows it.
		asked := now.Sub(n.Known.requested(n.Agent, now).at)
		limits.Resync = min(limits.Resync, max(limits.Missing, asked+1))
	}
	for range mostReads {
		known := n.Project.Catalog(n.EndpointVersion, kind)
		d := names.Resolve(ref, known, now, limits)
		switch d.Outcome {
		case names.Read:
			if n.Endpoint.ProjectID == "" {
				return names.Entry{}, fault.Terminalf(v1alpha1.ReasonInvalid,
					"spec.%s.name: the token of the CloudProject does not reveal its project, so the name %q cannot be resolved: "+
						"set spec.projectID of the CloudProject, or set spec.%s.id", kind, ref.Name, kind)
			}
			err := n.Project.ReadCatalog(ctx, n.Caller(), n.EndpointVersion, kind, d.NotBefore)
			if err == nil {
				continue
			}
			// What was listed before is better than nothing.
			if last := names.Resolve(ref, known, known.At, limits); last.Outcome == names.Resolved {
				return last.Entry, nil
			}
			return names.Entry{}, n.unread(kind, err)
		case names.Unmanaged, names.Resolved:
			return d.Entry, nil
		case names.Refused:
			if n.has(kind, d.Entry.ID) { // Another Agent was refused; this one has what it declares.
				return d.Entry, nil
			}
			return names.Entry{}, n.unresolved(kind, ref.Name, d, now)
		default:
			return names.Entry{}, n.unresolved(kind, ref.Name, d, now)
		}
	}
	return names.Entry{}, n.unread(kind, catalog.ErrBusy)
}

// has reports whether the remote agent was last seen with a fleet or environment.
func (n Names) has(kind names.Kind, id string) bool {
	shown := n.Agent.Status.Agent
	if shown == nil {
		return false
	}
	return id == map[names.Kind]string{names.Fleet: shown.FleetID, names.Environment: shown.EnvironmentID}[kind]
}

// unresolved says what to do about a name without a match, or with more than one. Other names of the project may be those of
// other teams, so only a namespace that may adopt their agents sees them.
func (n Names) unresolved(kind names.Kind, name string, d names.Decision, now time.Time) error {
	again := fault.Spread(max(d.Retry.Sub(now), time.Second))
	d.Choices = Redactor{n.Task}.Hide(d.Choices)
	switch d.Outcome {
	case names.Ambiguous:
		return fault.Terminalf(v1alpha1.ReasonInvalid,
			"spec.%s.name: the project has more than one %s named %q: set spec.%s.id to one of %s", kind, kind, name, kind, d.Choices)
	case names.NeedsID:
		return fault.Terminalf(v1alpha1.ReasonInvalid,
			"spec.%s.name: the API does not list %ss, so the name %q cannot be resolved: set spec.%s.id", kind, kind, name, kind)
	case names.Refused:
		return fault.Waitingf(v1alpha1.ReasonNameNotFound,
			"spec.%s.name: the API lists the %s %q and does not know its ID %s: waiting to read the list again",
			kind, kind, name, agentstatus.Show(d.Entry.ID, Redactor{n.Task}.Hide)).After(again)
	default:
		choices := ""
		if n.mayAdopt() {
			choices = " (" + cmp.Or(d.Choices, "there is none") + ")"
		}
		return fault.Waitingf(v1alpha1.ReasonNameNotFound,
			"spec.%s.name: the project has no %s named %q: create it, or use a name that exists%s", kind, kind, name, choices).After(again)
	}
}

// unread says what to do about a list that could not be read.
func (n Names) unread(kind names.Kind, err error) error {
	e, asked := cloud.AsError(err)
	switch {
	case errors.Is(err, catalog.ErrBusy):
		return fault.Retryablef(v1alpha1.ReasonProgressing, "the %ss of the project are being listed", kind).
			Quietly().After(fault.Spread(busyDelay))
	case errors.Is(err, catalog.ErrTooLong):
		return fault.Terminalf(v1alpha1.ReasonInvalid, "spec.%s.name: the API lists too many %ss: set spec.%s.id", kind, kind, kind)
	case errors.Is(err, catalog.ErrListGone):
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
			"spec.%s.name: the API listed %ss before and does not now: check what is between the operator and the API, or set spec.%s.id",
			kind, kind, kind)
	case asked && e.Reason == cloud.ReasonForbidden:
		return fault.Terminalf(v1alpha1.ReasonForbidden,
			"spec.%s.name: %v: set spec.%s.id, or use a token that may list %ss", kind, err, kind, kind).Because(err)
	}
	return err
}

// Refused deals with a request that the API refused because it does not know a fleet or environment that it listed: it
// was deleted meanwhile. The name is looked up again.
func (n Names) Refused(err error) error {
	fleet, environment := n.refs()
	kind, ref, id := names.Fleet, fleet, n.Targets.FleetID
	e, asked := cloud.AsError(err)
	if asked && e.Reason == cloud.ReasonEnvironmentNotFound {
		kind, ref, id = names.Environment, environment, n.Targets.EnvironmentID
	} else if !asked || e.Reason != cloud.ReasonFleetNotFound {
		return err
	}
	if ref.Name == "" {
		return err
	}
	n.Project.RefuseName(n.EndpointVersion, kind, id)
	return fault.Waitingf(v1alpha1.ReasonNameNotFound, "%v: waiting to look up spec.%s.name again", err, kind).
		After(fault.Spread(catalog.MissingInterval)).Because(err)
}

// Recall finds the IDs without a request, from what the status shows. It reports whether it found all.
func (n Names) Recall() bool {
	fleet, environment := n.refs()
	shown := n.Agent.Status.Agent
	if shown == nil {
		shown = &v1alpha1.RemoteAgent{}
	}
	n.Targets = plan.Targets{FleetID: fleet.ID, EnvironmentID: environment.ID, EnvironmentName: environment.Name}
	if fleet.Name != "" && fleet.Name == shown.FleetName {
		n.Targets.FleetID = shown.FleetID
	}
	if environment.Name != "" && environment.Name == shown.EnvironmentName {
		n.Targets.EnvironmentID = shown.EnvironmentID
	}
	return (fleet.IsZero() || n.Targets.FleetID != "") && (environment.IsZero() || n.Targets.EnvironmentID != "")
}

// Show adds to the status what the API does not say of an agent itself: the name of its fleet, and the ID of its
// environment. Where no list is known, what the status had stays.
func (n Names) Show() {
	shown, before := n.Agent.Status.Agent, n.Base.Status.Agent
	if shown == nil || n.Project == nil {
		return
	}
	hide := Redactor{n.Task}.Hide
	shown.FleetName = agentstatus.Show(n.Project.Catalog(n.EndpointVersion, names.Fleet).Name(shown.FleetID), hide)
	shown.EnvironmentID = agentstatus.Show(n.Project.Catalog(n.EndpointVersion, names.Environment).ID(shown.EnvironmentName), hide)
	if before == nil || n.Agent.Status.ID != n.Base.Status.ID {
		return
	}
	if shown.FleetName == "" && shown.FleetID == before.FleetID {
		shown.FleetName = before.FleetName
	}
	if shown.EnvironmentID == "" && shown.EnvironmentName == before.EnvironmentName {
		shown.EnvironmentID = before.EnvironmentID
	}
}
