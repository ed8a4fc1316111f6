/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// Deleter deletes the remote agent of an Agent that is being deleted.
type Deleter struct{ *Task }

// DeleteRemote deletes the remote agent, and what a registration in doubt may have created.
func (d Deleter) DeleteRemote(ctx context.Context) error {
	if err := d.FindProject(ctx); err != nil {
		return err
	}
	standing, err := d.standing(ctx)
	if err != nil {
		return err
	}
	if standing.Access() == registration.AccessNone {
		if d.Open() { // Signed with a former token, or forged: the operator does not look for what it may have created.
			d.Record(MaybeOrphaned, d.MachineID())
		}
		return nil
	}
	if err := d.connect(ctx); err != nil {
		return err
	}
	// Without a type nothing was ever registered. A record alone entitles only to the agent that it names.
	if d.Open() && d.Agent.Spec.Type != "" && (standing.Allowed || standing.IntentAuthentic) {
		if recorded, err := newRegistrar(d.Task, false).settle(ctx); err != nil || !recorded {
			return err
		}
		d.recordOlder()
	}
	left, err := Another{d.Task}.record(ctx, standing.Allowed)
	if err == nil {
		err = d.deleteRecorded(ctx)
	}
	if err == nil && left {
		d.Record(otherMaybeLeft, d.MachineID())
	}
	return err
}

// deleteRecorded deletes the remote agents that the status records.
func (d Deleter) deleteRecorded(ctx context.Context) error {
	if err := d.deleteDuplicates(ctx); err != nil || d.Agent.Status.ID == "" {
		return err
	}
	id, a := d.Agent.Status.ID, Absence{d.Task}
	if !(Observer{d.Task}).shown() || a.missedOnce(id) || !a.knownHere(id) {
		return d.deleteConfirmed(ctx, id)
	}
	return d.deleteID(ctx, id)
}

func (d Deleter) deleteDuplicates(ctx context.Context) error {
	status := &d.Agent.Status
	for len(status.DuplicatesToDelete) > 0 {
		if err := d.deleteConfirmed(ctx, status.DuplicatesToDelete[0]); err != nil {
			return err
		}
		status.DuplicatesToDelete = status.DuplicatesToDelete[1:] // The next turn begins with the next.
	}
	return nil
}

// RemoveDuplicates deletes other remote agents that this Agent, which stays, registered. Those that are not its own, or that reported,
// are left. With a token that may be another project's they wait for the check that shows the Agent's own agent.
func (d Deleter) RemoveDuplicates(ctx context.Context) error {
	status := &d.Agent.Status
	if len(status.DuplicatesToDelete) > 0 && !(Absence{d.Task}).knownHere(status.ID) {
		return nil
	}
	for len(status.DuplicatesToDelete) > 0 && d.Agent.Spec.SyncPolicy != v1alpha1.SyncObserve {
		id := status.DuplicatesToDelete[0]
		superfluous, err := d.superfluous(ctx, id)
		if err == nil && superfluous {
			err = d.deleteID(ctx, id)
		}
		if fault.Is(err, fault.RemoteMissing) {
			return nil // The next check confirms it; the Agent itself is well.
		}
		if err != nil {
			return err
		}
		status.DuplicatesToDelete = status.DuplicatesToDelete[1:]
	}
	return nil
}

// Delayed records that only duplicates are left to delete: the remote agent is as declared, and is not read again for their sake.
func (d Deleter) Delayed() {
	d.Checked, d.Known.requested(d.Agent, d.Clock.Now()).checked = true, true
}

// superfluous reports whether a duplicate is to be deleted.
func (d Deleter) superfluous(ctx context.Context, id string) (bool, error) {
	if id == d.Agent.Status.ID || d.Settings.ReadOnly {
		return false, nil
	}
	if d.verified(ctx, id) {
		return true, nil
	}
	remote, err := Absence{d.Task}.candidate(ctx, id)
	switch {
	case err != nil, remote == nil:
		return false, err
	case remote.MachineID != d.MachineID(): // One odd response must not have a duplicate forgotten.
		return false, Absence{d.Task}.foundTwice(id, fault.Retryablef(v1alpha1.ReasonRemoteMismatch,
			"the duplicate %s shows another machine ID; it is left once a second check confirms that", id).Coded(fault.RemoteMisnamed))
	case remote.Reported():
		return false, nil
	}
	d.verify(id)
	return true, nil
}

// verified reports whether a read verified that a remote agent may be deleted, and only the rate limit has delayed the deletion since.
// Without that memory each turn would begin with the same read, and a rate limit of one request at a time would never permit the deletion.
func (d Deleter) verified(ctx context.Context, id string) bool {
	return d.Clock.Now().Sub(deletions{d.Task}.deletion(id).verifiedAt) < d.Interval(ctx)
}

func (d Deleter) verify(id string) {
	deletion := deletions{d.Task}.deletion(id)
	deletion.shown, deletion.verifiedAt = true, d.Project.ReadAt(d.Caller(), id)
}

// recordOlder records that an earlier attempt of a registration may have left an agent. This happens if only another
// request could reveal the ID, and that request registered a new agent.
func (d Deleter) recordOlder() {
	began, _ := d.Intent().Began(d.Clock.Now())
	if made := d.Agent.Status.Agent; d.Created && (made.CreatedAt == nil || !registration.CreatedBefore(made.CreatedAt.Time, began)) {
		d.Record(MaybeOrphaned, d.MachineID())
	}
}

// standing is what a deletion may ask of the CloudProject. Users can write the finalizer and the intent of any Agent:
// without a record or an authentic intent nothing remote can be this Agent's, and no request is made for it.
func (d Deleter) standing(ctx context.Context) (s registration.Standing, err error) {
	refused := d.allowed(ctx)
	if refused == nil {
		return registration.Standing{Allowed: true}, nil
	}
	if !fault.Is(refused, fault.ProjectNotAllowed) {
		return s, refused
	}
	if err := d.connect(ctx); err != nil {
		shared := d.Projects.Lookup(d.CloudProject.UID)
		if shared == nil {
			return s, err // Its credentials, which verify the intent, are not read yet.
		}
		left := d.Settings.Slack - d.Clock.Since(d.Agent.DeletionTimestamp.Time) // The new ones may never be of use.
		waits, _ := fault.As(err)
		if d.Open() && waits != nil && left > 0 && (!hasToken(ctx, d.Task, shared) || !connection.Serves(shared, d.CloudProject)) {
			return s, waits.After(min(left, time.Second))
		}
		d.Project, d.Endpoint = shared, shared.Endpoint()
	}
	// A duplicate is as much its own as the agent, which may be missing.
	status := &d.Agent.Status
	recorded := status.ID != "" || len(status.DuplicatesToDelete) > 0
	s = registration.Standing{
		RecordedHere:    d.Endpoint.RecordedBy(d.Agent, string(d.CloudProject.UID)),
		IntentAuthentic: d.Open() && Evidence{d.Task}.authentic(),
	}
	if s.Access() == registration.AccessNone && recorded {
		return s, refused // It is recorded elsewhere, where it cannot be deleted from here.
	}
	return s, nil
}

// deleteConfirmed reads first: only what shows our machine ID, and is known to be ours, is deleted, or what is withheld.
func (d Deleter) deleteConfirmed(ctx context.Context, id string) error {
	if (deletions{d.Task}).ended(id) {
		return d.deleteID(ctx, id)
	}
	if d.verified(ctx, id) {
		return d.deleteID(ctx, id)
	}
	remote, err := Absence{d.Task}.read(ctx, id)
	if err != nil {
		return deleteUnread(ctx, d, id, err)
	}
	switch {
	case remote.MachineID != d.MachineID() && id == d.Agent.Status.ID && neverShown(d.Agent) && (Absence{d.Task}).knownHere(id):
		return d.misnamed(ctx)
	case remote.MachineID != d.MachineID():
		return Absence{d.Task}.mismatched(id, fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"the remote agent %s shows another machine ID than this Agent's, so it is not deleted: check the CloudProject's url", id))
	}
	if err := ensureOurs(ctx, d.Task, remote); fault.Is(err, fault.RemoteOwned) {
		return leave(ctx, d, id, err)
	} else if err != nil {
		return err
	}
	d.Known.Absence.first = finding{} // Two checks in a row count.
	if id == d.Agent.Status.ID {      // The deletion may be delayed: verified now, it needs no second read.
		Observer{d.Task}.verify(id)
	}
	d.verify(id)
	return d.deleteID(ctx, id)
}

// deleteUnread deletes what is recorded and withheld once a second read is withheld, too, and ends the deletion of what does not exist.
// Another's stays another's until a read shows more: the condition says so to the next process.
func deleteUnread(ctx context.Context, d Deleter, id string, failure error) error {
	a := Absence{d.Task}
	switch blocked := withheld(d, id, failure); {
	case blocked && showedOther(a, id):
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"the remote agent %s shows another machine ID, as far as is known, and cannot be read now (%v), so it is not deleted: "+
				"check the CloudProject's url and what is between it and the operator", id, failure).Because(failure)
	case blocked:
		if err := a.twice(id, agentstatus.Classify(failure).Coded(fault.Unreachable)); err != nil {
			return err
		}
		return d.deleteID(ctx, id)
	}
	if missing, err := a.ConfirmsMissing(ctx, id, failure); !missing {
		return err
	}
	return d.gone(id)
}

// withheld reports whether something between the operator and the API does not pass on what the Agent's own agent holds. That it is ours
// was shown before, and is recorded here: the deletion needs no body.
func withheld(d Deleter, id string, err error) bool {
	e, ok := cloud.AsError(err)
	return ok && !e.API && !e.NotSent && id == d.Agent.Status.ID && !neverShown(d.Agent) && (Absence{d.Task}).knownHere(id)
}

// misnamed deletes the Agent's own agent after the response to its registration named another's. Two reads have to show that.
func (d Deleter) misnamed(ctx context.Context) error {
	status := &d.Agent.Status
	if err := (Absence{d.Task}).twice(status.ID, misnamed(status.ID)); err != nil {
		return err
	}
	own, lists, err := snapshots{d.Task}.withMachineID(ctx, d.Known.Absence.firstAt)
	if err != nil {
		return err
	}
	status.ID = ""
	if !lists || d.explicit() {
		d.Record(MaybeOrphaned, d.MachineID())
		return nil
	}
	for _, entry := range own[:min(len(own), mostDuplicates)] {
		status.DuplicatesToDelete = append(status.DuplicatesToDelete, entry.ID)
	}
	return d.deleteDuplicates(ctx)
}

// deleteID deletes what is nobody else's. It has to be known to be at this endpoint: else neither a success nor a "not found" shows
// that it is deleted.
func (d Deleter) deleteID(ctx context.Context, id string) error {
	if (deletions{d.Task}).ended(id) {
		d.record(Deleted, id)
		return nil
	}
	err := (rivals{d.Task}).unowned(ctx, &cloud.Agent{ID: id, MachineID: d.MachineID()})
	if fault.Is(err, fault.RemoteOwned) {
		return leave(ctx, d, id, err)
	} else if err != nil {
		return err
	}
	if !(deletions{d.Task}).unread(id) {
		// A shutdown must not interrupt it: the next process could not know whether the agent was deleted.
		err = d.Project.Delete(context.WithoutCancel(ctx), d.Caller(), id)
	}
	if err != nil {
		if agentstatus.CodeOf(err) != fault.Throttled {
			// A read decides again: the agent may have begun to report, or the token may not delete it.
			deletions{d.Task}.deletion(id).verifiedAt = time.Time{}
		}
		if missing, err := (Absence{d.Task}).ConfirmsMissing(ctx, id, err); !missing {
			return err
		}
		return d.gone(id)
	}
	if err := (deletions{d.Task}).confirmDeleted(ctx, id); err != nil {
		return err
	}
	d.record(Deleted, id)
	return nil
}

// leave ends a deletion of what is another Agent's. What only may be another's is named.
func leave(ctx context.Context, d Deleter, id string, why error) error {
	if owned, ok := fault.As(why); ok && owned.Class == fault.Waiting {
		d.Record(MaybeOrphaned, d.MachineID())
	}
	Logger(ctx).Info("Left the remote agent to the Agent that has it", "agent", d.Key(), "id", id, "cause", why.Error())
	return nil
}

// record adds the event of a deletion, which is that of a duplicate while the Agent stays.
func (d Deleter) record(e Event, id string) {
	if !d.Deleting() {
		e = DuplicateDeleted
	}
	d.Record(e, id)
}

// gone accepts that a remote agent is missing only at an endpoint where it is known to have been. If no deletion was accepted, a second
// check has to miss it, too: a backend that lags behind may not have it yet.
func (d Deleter) gone(id string) error {
	status, how, a := &d.Agent.Status, Deleted, Absence{d.Task}
	if !(deletions{d.Task}).accepted(id) { // Only what is known to be here is deleted.
		how = goneAlready
		if d.Project.Version() != d.EndpointVersion {
			return d.outdated()
		}
		if err := a.missedTwice(id, fault.Retryablef(v1alpha1.ReasonRemoteDeleted,
			"remote agent %s not found; the operator continues once a second check confirms it", id)); err != nil {
			return err
		}
		if !a.knownHere(id) {
			return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
				"the API at %s does not have agent %s, which was last seen at %s in project %q: correct the CloudProject's url or token",
				d.Endpoint.URL, id, status.URL, status.ProjectID)
		}
	}
	deletions{d.Task}.end(id)
	d.record(how, id)
	return nil
}
