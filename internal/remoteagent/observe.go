/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/plan"
	"github.com/calyptia-agent-operator/operator/internal/registration"
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
	// Searching: a request to reconcile waits for the list in which duplicates are looked for.
	Searching error
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
	return snapshots{o.Task}.optional(ctx, o.findDuplicates(ctx))
}

// mustRead ignores a changed Secret: its keeper reads the API itself, because the cache may lag.
func (o Observer) mustRead() bool {
	asked := o.Reread || o.Known.Timers.Due(o.Clock.Now()) || !o.Handled() && !o.checked()
	return !o.verified() || asked && len(o.Known.Updates.Delayed) == 0
}

// checked reports whether the check that the pending request to reconcile asked for was made, and only duplicates are left.
func (o Observer) checked() bool {
	return len(o.Agent.Status.DuplicatesToDelete) > 0 && o.Known.request.checked &&
		o.Known.request.value == requestOf(o.Agent)
}

// verified reports whether this process saw the recorded agent to be ours at this endpoint, through this CloudProject: another one
// may only claim the project.
func (o Observer) verified() bool {
	status := &o.Agent.Status
	return o.Known.Identity.id == status.ID && o.Known.Identity.at == o.Endpoint && status.CloudProjectUID == string(o.CloudProject.UID)
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
	if err = (snapshots{o.Task}).current(err); err != nil { // A list is in progress: only the check waits for it.
		return true, snapshots{o.Task}.optional(ctx, err)
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
	remote, err := Absence{o.Task}.read(ctx, status.ID)
	if err != nil {
		if missing, err := (Absence{o.Task}).ConfirmsMissing(ctx, status.ID, err); !missing {
			return err
		}
		return loss{o.Task}.missing()
	}
	if remote.MachineID != status.MachineID {
		if neverShown(o.Agent) {
			return loss{o.Task}.misnamed(remote.MachineID)
		}
		return Absence{o.Task}.mismatched(status.ID, fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"the remote agent %s shows another machine ID than it was registered with: check spec.projectRef and the CloudProject's url",
			status.ID))
	}
	if err := ensureOurs(ctx, o.Task, remote); err != nil {
		o.Known.Identity.id = ""
		return err
	}
	if err := (rivals{o.Task}).unowned(ctx, remote); err != nil {
		return err
	}
	o.Put(remote.ID, remote.MachineID)
	at := o.Project.ReadAt(o.Caller(), remote.ID)
	o.Known.fruitless.lasts(ClosedIntent(o.Agent), at, o.Interval(ctx))
	o.SawRead(remote)
	inventory.Know(o.Project.Inventory, inventory.Entry{
		ID: remote.ID, MachineID: remote.MachineID, CreatedAt: remote.CreatedAt, Reported: remote.Reported(),
	}, at)
	o.Project.SeenAt(o.Agent.UID, remote.ID, at)
	return nil
}

// Lookup reads a remote agent whose ID came from a Secret, a snapshot or a spec. Only one that shows our machine ID is
// returned; nil means that it is missing, which two checks confirmed, or not ours. No request is made for an invalid ID.
func (o Observer) Lookup(ctx context.Context, id string) (*cloud.Agent, error) {
	if !cloud.ValidID(id) {
		return nil, nil //nolint:nilnil // Documented: it is not ours.
	}
	remote, err := Absence{o.Task}.candidate(ctx, id)
	if err != nil {
		return nil, err
	}
	if remote == nil || remote.MachineID != o.MachineID() {
		return nil, nil //nolint:nilnil // Documented: it is not ours.
	}
	return remote, nil
}

// Put records whose the remote agent is and where it was seen.
func (o Observer) Put(id, machineID string) {
	status, at, k := &o.Agent.Status, o.Endpoint, o.Known
	if status.ID != id || RecordedEndpoint(o.Agent) != at {
		o.RecheckSecrets() // They contain the ID and the endpoint.
	}
	if len(status.DuplicatesToDelete) > 0 && RecordedEndpoint(o.Agent) != at && !(Evidence{o.Task}).recordedHere(id) {
		o.Record(MaybeOrphaned, o.MachineID())
		status.DuplicatesToDelete = nil // At this endpoint the same IDs are another's.
	}
	if k.Writes.tokenOf != (Whereabouts{id, at}) { // Else it is this agent's own, maybe from a status that could not be written.
		k.Writes.TokenStored()
	}
	if RecordedEndpoint(o.Agent).URL != at.URL { // What is on the way there may pass on what something on the former way dropped.
		k.Updates.Sent, k.Updates.Confirm = nil, nil
		// What was applied there is sent as if it had changed, unless it is here, too. What had drifted there stays.
		maps.DeleteFunc(status.Applied.Fields, func(field, _ string) bool {
			return !slices.Contains(status.DriftedFields, field) || slices.Contains(status.IgnoredFields, field)
		})
		status.IgnoredFields = nil
	}
	if status.ID != id {
		k.Updates.Sent, k.Updates.Confirm = nil, nil
		status.Applied = v1alpha1.AppliedState{}
		status.Agent = nil
		status.IgnoredFields, status.DriftedFields = nil, nil
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionReporting) // It was another agent's.
	}
	if recorded := status.ID == id && RecordedEndpoint(o.Agent) == at; !recorded || o.Project.Vouched() {
		status.ProjectClaimed = at.ProjectID != "" && !o.Project.Vouched()
	}
	status.RegistrationIntent = carried(o.Task, id).String()
	status.ID, status.MachineID = id, machineID
	status.URL, status.ProjectID, status.CloudProjectUID = at.URL, at.ProjectID, string(o.CloudProject.UID)
	if o.Open() { // Else the annotation may be missing or older: a closed intent stays closed.
		o.closeIntent()
	}
	o.verify(id)
	o.Project.Recorded(o.Agent.UID, id)
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

// findDuplicates looks for other remote agents with our machine ID. If that is derived, those that can only have come from a
// registration of ours that is no longer recorded are deleted; others are left to the user.
func (o Observer) findDuplicates(ctx context.Context) error {
	if o.Remote == nil && o.Listed == nil || o.Settings.ReadOnly || o.Agent.Status.Origin != v1alpha1.OriginRegistered {
		return nil
	}
	if o.Project.Result().ListSupported == nil {
		return nil // Only a registration has to wait until that is known.
	}
	now, status := o.Clock.Now(), &o.Agent.Status
	age := o.Interval(ctx)
	if !o.Handled() {
		// A check was requested. A newer snapshot could only add agents that are too young to judge. The age counts from
		// the request, because a snapshot may take longer than the slack.
		age = o.Settings.Slack + now.Sub(o.Known.requested(o.Agent, now).at)
	}
	entries, _, err := snapshots{o.Task}.withMachineID(ctx, now.Add(-age))
	if err != nil {
		return err
	}
	closed := ClosedIntent(o.Agent)
	var left []string
	for _, entry := range entries {
		recent := now.Sub(entry.CreatedAt) < o.Settings.Slack // It may be on its way into a Secret.
		switch {
		case entry.ID == status.ID || recent || slices.Contains(status.DuplicatesToDelete, entry.ID):
		case o.Agent.Spec.SyncPolicy != v1alpha1.SyncObserve && o.created(entry, closed):
			status.DuplicatesToDelete = append(status.DuplicatesToDelete, entry.ID)
		default:
			left = append(left, entry.ID)
		}
	}
	o.Project.SetDuplicates(o.Agent.UID, left)
	return nil
}

// created reports whether a duplicate can only have come from our registration, so that it may be deleted. Anybody may choose a machine ID.
func (o Observer) created(entry inventory.Entry, closed registration.Intent) bool {
	_, known := closed.Began(o.Clock.Now())
	return known && !o.explicit() && len(o.Agent.Status.DuplicatesToDelete) < mostDuplicates && !entry.Reported &&
		Evidence{o.Task}.window().Follows(closed, entry.CreatedAt)
}
