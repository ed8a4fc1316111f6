/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/plan"
	"github.com/calyptia-agent-operator/operator/internal/schedule"
)

// observation is what a reconciliation saw of the remote agent. Only its methods write it.
type observation struct {
	Remote *cloud.Agent // as it was read
	Listed *cloud.Agent // as a snapshot showed it, without token and configuration
	Token  cloud.Token  // as the API showed it
	Seen   schedule.Seen
	SeenAt time.Time
	// Created: this reconciliation registered it.
	Created bool
	// Missing: it was found missing for good.
	Missing bool
}

func (o *observation) SawRead(remote *cloud.Agent) {
	o.Remote, o.Token, o.Seen, o.Created = remote, remote.Token, schedule.Read, false
}

func (o *observation) sawListed(remote *cloud.Agent, at time.Time) {
	o.Listed, o.Seen, o.SeenAt = remote, schedule.Listed, at
}

func (o *observation) sawCreated(token cloud.Token) {
	o.Token, o.Seen, o.Created = token, schedule.Created, true
}

func (o *observation) sawMissing() { o.Missing = true }

// Changed drops what an update has outdated.
func (o *observation) Changed() { o.Remote, o.Listed, o.Seen = nil, nil, schedule.NotSeen }

// Observer checks the remote agent and records what it saw. It creates and changes nothing.
type Observer struct{ *Task }

// Observe reads the remote agent when a check is due, or when something casts doubt on what is known of it.
func (o Observer) Observe(ctx context.Context) error {
	// The spec changed: a field that differed may now be as declared.
	outdated := len(o.Known.Updates.Delayed) > 0 && o.Known.Updates.DelayedFor != o.Agent.Generation
	if outdated {
		o.Known.Updates.Delayed = nil
	}
	if o.Created || o.Remote != nil || !outdated && !o.mustRead() {
		return nil
	}
	enough, err := false, error(nil)
	if !outdated {
		enough, err = o.find(ctx)
	}
	if err == nil && !enough {
		err = o.Read(ctx)
	}
	if err != nil {
		return err
	}
	return o.findDuplicates(ctx)
}

// mustRead ignores a changed Secret: its keeper reads the API itself, because the cache may lag.
func (o Observer) mustRead() bool {
	asked := o.Reread || o.Known.Timers.Due(o.Clock.Now()) || !o.Handled()
	return !o.verified() || asked && len(o.Known.Updates.Delayed) == 0
}

// verified reports whether this process saw the recorded agent to be ours at this endpoint.
func (o Observer) verified() bool {
	return o.Known.Identity.id == o.Agent.Status.ID && o.Known.Identity.at == o.Endpoint
}

// shown reports whether a read or a snapshot showed that the recorded agent is ours.
func (o Observer) shown() bool { return o.verified() && o.Known.Identity.shown }

// ConfirmOurs reads the remote agent before it is changed, unless this process saw it with its machine ID. The response to a registration
// may name another's agent.
func (o Observer) ConfirmOurs(ctx context.Context) error {
	if o.shown() {
		return nil
	}
	return o.Read(ctx)
}

// find looks for the remote agent in the snapshot that all Agents of the project share: one request per page instead of
// one for each of them. It is enough if all is as declared and no read is requested.
func (o Observer) find(ctx context.Context) (enough bool, err error) {
	k, status, now, interval := o.Known, &o.Agent.Status, o.Clock.Now(), o.Interval(ctx)
	sent := len(k.Updates.Sent) > 0
	checking := schedule.Checking{
		Verified: k.Secrets.Right && RecordedEndpoint(o.Agent) == o.Endpoint,
		Applied:  sent || status.Applied.Generation == o.Agent.Generation,
		Handled:  o.Handled(),
		Odd:      !k.Absence.firstAt.IsZero() || len(status.DriftedFields)+len(status.IgnoredFields)+len(status.DuplicatesToDelete) > 0,
		Read:     k.Timers.Read || o.Reread,
	}
	if k.Timers.Check.IsZero() || !k.Timers.Due(now) || !checking.SnapshotSuffices() {
		return false, nil
	}
	after := now.Add(-interval * 9 / 10)
	if sent && k.Updates.SentAt.After(after) {
		after = k.Updates.SentAt
	}
	seen, at, ok, err := o.Project.Lookup(status.ID, after)
	if err = o.current(err); err != nil {
		return false, err
	}
	if seen.ID == "" {
		k.Absence.unlistedAt = at
	}
	if !ok || seen.MachineID != status.MachineID || !o.asDeclared(seen) {
		return false, nil
	}
	if err := (rivals{o.Task}).unowned(ctx, seen.Remote); err != nil {
		return false, err
	}
	o.Put(seen.ID, seen.MachineID)
	k.fruitless.lasts(ClosedIntent(o.Agent), now, interval)
	o.sawListed(seen.Remote, at)
	o.Project.SeenAt(o.Agent.UID, seen.ID, at)
	return true, nil
}

// asDeclared reports whether a snapshot shows all declared fields as they are declared.
func (o Observer) asDeclared(seen inventory.Entry) bool {
	return plan.AsDeclared(plan.Compare(o.Declared(), plan.View{
		Agent: seen.Remote, Snapshot: &plan.Hashes{RawConfig: seen.RawConfig, Metadata: seen.Metadata},
	}))
}

// Read reads the remote agent.
func (o Observer) Read(ctx context.Context) error {
	status := &o.Agent.Status
	remote, err := o.Project.Get(ctx, o.Caller(), status.ID)
	if err != nil {
		if missing, err := o.ConfirmsMissing(ctx, status.ID, err); !missing {
			return err
		}
		return o.confirmMissing(fault.Retryablef(v1alpha1.ReasonRemoteDeleted,
			"remote agent %s not found; it is re-registered once a second check confirms it", status.ID))
	}
	if remote.MachineID != status.MachineID {
		if neverShown(o.Agent) {
			return o.confirmMissing(fault.Retryablef(v1alpha1.ReasonRemoteMismatch,
				"the response to the registration named agent %s, which shows another machine ID; "+
					"the Agent's own is looked for once a second check confirms that", status.ID))
		}
		o.Known.Identity.id = "" // Nothing is sent until a read verifies that it is ours.
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"the remote agent %s shows another machine ID than it was registered with: check spec.projectRef and the CloudProject's url",
			status.ID)
	}
	if e := (Evidence{o.Task}); !e.entitled(remote, o.Intent()) {
		o.Known.Identity.id = ""
		return e.notEntitled()
	}
	if err := (rivals{o.Task}).unowned(ctx, remote); err != nil {
		return err
	}
	o.Put(remote.ID, remote.MachineID)
	o.Known.fruitless.lasts(ClosedIntent(o.Agent), o.Clock.Now(), o.Interval(ctx))
	o.SawRead(remote)
	o.Project.Seen(o.Agent.UID, remote.ID)
	return nil
}

// Lookup reads a remote agent whose ID came from a Secret, a snapshot or a spec. Only one that shows our machine ID is
// returned; nil means that it is missing or not ours. No request is made for an invalid ID.
func (o Observer) Lookup(ctx context.Context, id string) (*cloud.Agent, error) {
	if !cloud.ValidID(id) {
		return nil, nil //nolint:nilnil // Documented: it is not ours.
	}
	remote, err := o.Project.Get(ctx, o.Caller(), id)
	if err != nil {
		missing, err := o.ConfirmsMissing(ctx, id, err)
		if missing {
			o.Known.Absence.other = Whereabouts{id, o.Endpoint}
		}
		return nil, err
	}
	if remote.MachineID != o.MachineID() {
		return nil, nil //nolint:nilnil // Documented: it is not ours.
	}
	return remote, nil
}

// ConfirmsMissing reports whether the failure of a request confirms that a remote agent does not exist; only this method
// decides that. The API's own error about the agent is enough. A "not found" that names nothing may come from a gateway
// or a route: then a later snapshot has to lack the agent, too. Any other failure is returned.
func (o Observer) ConfirmsMissing(ctx context.Context, id string, failure error) (bool, error) {
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
	if err = o.current(err); err != nil {
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
func (o Observer) ConfirmDeleted(ctx context.Context, id string) error {
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
func (o Observer) knownHere() bool {
	if RecordedEndpoint(o.Agent) != o.Endpoint {
		return false
	}
	// A token that does not reveal its project may be another project's: then only what was seen with this token counts.
	return o.Project.Vouched() || o.verified() && o.Known.Identity.by == o.credentialNow()
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
func (o Observer) confirmMissing(until *fault.Error) error {
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

// Put records whose the remote agent is and where it was seen.
func (o Observer) Put(id, machineID string) {
	status, at, k := &o.Agent.Status, o.Endpoint, o.Known
	if status.ID != id || RecordedEndpoint(o.Agent) != at {
		o.RecheckSecrets() // They contain the ID and the endpoint.
	}
	if len(status.DuplicatesToDelete) > 0 && RecordedEndpoint(o.Agent) != at {
		o.Record(MaybeOrphaned, o.MachineID())
		status.DuplicatesToDelete = nil // At this endpoint the same IDs are another's.
	}
	if status.ID != id {
		if k.Identity.id != id { // Else it is this agent's own, from a status that could not be written.
			k.Writes.Token = cloud.Token{}
		}
		k.Updates.Sent, k.Updates.Confirm = nil, nil
		status.Applied = v1alpha1.AppliedState{}
		status.Agent = nil
		status.IgnoredFields, status.DriftedFields = nil, nil
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionReporting) // It was another agent's.
	}
	status.ID, status.MachineID = id, machineID
	status.URL, status.ProjectID, status.CloudProjectUID = at.URL, at.ProjectID, string(o.CloudProject.UID)
	if o.Open() { // Else the annotation may be missing or older: a closed intent stays closed.
		o.closeIntent()
	}
	o.verify(id)
	k.Absence.firstAt, k.Absence.unlistedAt = time.Time{}, time.Time{}
}

// putRegistered records the remote agent that the response to a registration names.
func (o Observer) putRegistered(id, machineID string) {
	o.Put(id, machineID)
	o.Known.Identity.shown = false
}

// verify records that the remote agent is verified at this endpoint.
func (o Observer) verify(id string) {
	o.Known.Identity = identity{id: id, at: o.Endpoint, shown: true}
	if now := o.credentialNow(); now == o.credential {
		o.Known.Identity.by = now
	}
}

// mostDuplicates bounds the duplicates in the status; the rest wait for the next check.
const mostDuplicates = 100

// findDuplicates looks for other remote agents with our derived machine ID. Those that can only have come from a
// registration of ours that is no longer recorded are deleted; others are left to the user.
func (o Observer) findDuplicates(ctx context.Context) error {
	if o.Remote == nil && o.Listed == nil || o.explicit() || o.Settings.ReadOnly || o.Agent.Status.Origin != v1alpha1.OriginRegistered {
		return nil
	}
	now, status := o.Clock.Now(), &o.Agent.Status
	age := o.Interval(ctx)
	if !o.Handled() {
		// A check was requested. A newer snapshot could only add agents that are too young to judge. The age counts from
		// the request, because a snapshot may take longer than the slack.
		age = o.Settings.Slack + now.Sub(o.requested(now))
	}
	entries, _, err := o.withMachineID(ctx, now.Add(-age))
	if err != nil {
		return err
	}
	closed := ClosedIntent(o.Agent)
	_, known := closed.Began(now)
	var left []string
	for _, entry := range entries {
		recent := now.Sub(entry.CreatedAt) < o.Settings.Slack // It may be on its way into a Secret.
		switch {
		case entry.ID == status.ID || recent || slices.Contains(status.DuplicatesToDelete, entry.ID):
		case known && len(status.DuplicatesToDelete) < mostDuplicates && o.Agent.Spec.SyncPolicy != v1alpha1.SyncObserve && !entry.Reported &&
			!entry.CreatedAt.Before(closed.First.Truncate(time.Second)):
			status.DuplicatesToDelete = append(status.DuplicatesToDelete, entry.ID)
		default:
			left = append(left, entry.ID)
		}
	}
	o.Project.SetDuplicates(o.Agent.UID, left)
	return nil
}

// requested is when this process first saw the pending request to reconcile.
func (o Observer) requested(now time.Time) time.Time {
	if value := o.Agent.Annotations[v1alpha1.AnnotationReconcileAt]; o.Known.request.value != value || o.Known.request.at.IsZero() {
		o.Known.request = request{value, now}
	}
	return o.Known.request.at
}
