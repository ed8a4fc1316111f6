/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// sources reads what may name the remote agent.
type sources struct{ *registrar }

// names records the ID that a source names; an empty ID is none.
func (r sources) names(s registration.Source, id string) {
	r.named[s] = id
	r.facts.Found[s] = registration.None
	if id != "" {
		r.facts.Found[s] = registration.Named
	}
}

func (r sources) read(ctx context.Context, s registration.Source) error {
	switch s {
	case registration.Record:
		// Not from the cache: a stale one would register twice.
		if err := r.refresh(ctx); err != nil {
			return err
		}
		if err := (Fence{r.Task}).keepIntent(ctx); err != nil { // Pruned since it was cached.
			return err
		}
		r.names(s, r.Agent.Status.ID)
	case registration.Response:
		r.names(s, "")
		if sent := r.Writes.Sent; sent != nil && sent.UID == r.Agent.UID && IntentOf(sent) == r.Intent() {
			r.names(s, r.responded(sent))
		}
	case registration.SecretIntent:
		return r.readIntentSecret(ctx)
	case registration.Secret:
		return r.readSecret(ctx)
	case registration.Cluster:
		return r.readCluster(ctx)
	case registration.Snapshot:
	}
	return nil
}

// responded is the ID in the response to the registration of the open intent. It means nothing at another endpoint than the one that
// responded, which would learn it.
func (r sources) responded(sent *v1alpha1.Agent) string {
	named := r.Known.attempt.named
	if sent.Status.ID != "" {
		named = Whereabouts{sent.Status.ID, RecordedEndpoint(sent)}
	}
	if named.at != r.Endpoint {
		return ""
	}
	return named.ID
}

// readIntentSecret reads the ID that the registration in doubt left in the token Secret.
func (r sources) readIntentSecret(ctx context.Context) error {
	r.names(registration.SecretIntent, "")
	secret, verdict, err := r.Secrets.Find(ctx, r.Agent, tokensecret.Name(r.Agent))
	if err != nil || secret == nil || tokensecret.Registration(secret) != r.Intent().String() {
		return err
	}
	// The Secret of an Agent that retains has no owner. A read of the remote agent confirms the ID in any case.
	if verdict == tokensecret.Ours || verdict == tokensecret.Ownerless && tokensecret.Labelled(secret, r.Agent) {
		r.names(registration.SecretIntent, tokensecret.ID(secret))
	}
	return nil
}

// readSecret reads the ID in the token Secret, whatever registration it came from.
func (r sources) readSecret(ctx context.Context) error {
	r.names(registration.Secret, "")
	name := tokensecret.Name(r.Agent)
	if r.Version(ctx, r.Agent.Namespace, "Secret", name) == "" {
		return nil // A Secret that appears later is found when the token is stored.
	}
	secret, verdict, err := r.Secrets.Find(ctx, r.Agent, name)
	if err != nil || verdict == tokensecret.Absent {
		return err
	}
	id, held := tokensecret.ID(secret), r.facts.Now.Before(r.facts.HeldUntil) // While it waits, the lost agent may appear again.
	switch {
	case verdict == tokensecret.Foreign:
		r.taken(tokensecret.Conflict(name, TokenField))
	case id != "" && (r.Known.Absence.Lost != Whereabouts{id, r.Endpoint} || held):
		r.names(registration.Secret, id)
	case verdict == tokensecret.Ownerless:
		return r.ownerless((SecretPreflight{r.Task}).AllowOverwrite(ctx, secret, tokensecret.Conflict(name, TokenField)))
	}
	return nil
}

// taken records that the token Secret is somebody else's.
func (r sources) taken(conflict error) {
	r.why.secret, r.facts.Found[registration.Secret] = conflict, registration.Foreign
}

// ownerless records whether a Secret without an owner may be used; other failures are returned.
func (r sources) ownerless(conflict error) error {
	if !fault.Is(conflict, fault.SecretForeign) {
		return conflict
	}
	r.taken(conflict)
	return nil
}

// readCluster looks for another Agent of the cluster that recorded an agent with our derived machine ID: it chose a
// machine ID that is not its own, and yields. One of another project has nothing that could be ours.
func (r sources) readCluster(ctx context.Context) error {
	r.names(registration.Cluster, "")
	if r.explicit() {
		return nil
	}
	others, err := r.having(ctx, machineIndex, r.MachineID())
	if err != nil {
		return err
	}
	for i := range others {
		other := &others[i]
		if other.UID == r.Agent.UID || other.Status.ID == "" {
			continue
		}
		if (rivals{r.Task}).registeredHere(other) {
			r.names(registration.Cluster, other.Status.ID)
		}
	}
	return nil
}

// list gets a snapshot of the agents with our machine ID that was begun after a time, the oldest agent first.
func (r sources) list(ctx context.Context, notBefore time.Time) error {
	find := snapshots{r.Task}.withMachineID
	if r.facts.Outcome == registration.OutcomeConflict { // The next reconciliation would register again to learn it.
		find = snapshots{r.Task}.withMachineIDAtOnce
	}
	entries, _, err := find(ctx, notBefore)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b inventory.Entry) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	r.facts.SnapshotAt = notBefore.Add(1) // Or later.
	r.listed = listed{entries: entries}
	r.nextEntry()
	return nil
}

// nextEntry takes the next agent of the snapshot that may be ours. With a chosen machine ID, an agent that is older than the registration
// is another's; those come last.
func (r sources) nextEntry() {
	for len(r.listed.entries) > 0 {
		entry := r.listed.entries[0]
		r.listed.entries = r.listed.entries[1:]
		if r.Open() && r.explicit() && registration.CreatedBefore(entry.CreatedAt, r.first()) {
			r.listed.older = append(r.listed.older, entry.ID)
			continue
		}
		r.names(registration.Snapshot, entry.ID)
		return
	}
	switch {
	case r.listed.others != "":
		r.named[registration.Snapshot], r.facts.Found[registration.Snapshot] = r.listed.others, registration.NotEntitled
	case len(r.listed.older) > 0:
		r.names(registration.Snapshot, r.listed.older[0])
		r.listed.older, r.listed.aged = r.listed.older[1:], true
	default:
		r.facts.Found[registration.Snapshot] = registration.None
	}
}

// first is when the first attempt of the registration in doubt began, if its intent is authentic.
func (r sources) first() time.Time {
	if (Evidence{r.Task}).authentic() {
		return r.Intent().First
	}
	met := r.attempted().met
	if began, known := r.Intent().Began(r.Clock.Now()); known && began.Before(met) {
		return began
	}
	return met
}

// lookup reads the remote agent that a source names.
func (r sources) lookup(ctx context.Context, s registration.Source) error {
	if s == registration.Snapshot && r.explicit() && (!r.Open() || r.listed.aged) {
		return r.lookupOther(ctx)
	}
	remote, err := (Observer{r.Task}).Lookup(ctx, r.named[s])
	if err != nil {
		return err
	}
	intent := r.Intent()
	if s == registration.Secret || s == registration.Cluster {
		intent = registration.Intent{}
	}
	finding, ours, claimed := registration.None, false, error(nil)
	if remote != nil {
		ours, claimed = Evidence{r.Task}.entitled(ctx, remote, intent)
	}
	switch {
	case remote == nil && s == registration.Secret:
		return r.secretOfNone(ctx)
	case ours:
		if leaves, err := r.leaves(ctx, s, remote, claimed); err != nil {
			return err
		} else if !leaves {
			finding, r.remotes[s] = registration.Ours, remote
		}
	case remote != nil:
		finding = registration.NotEntitled
	}
	r.facts.Found[s] = finding
	if s == registration.Snapshot && finding != registration.Ours {
		if remote != nil {
			r.listed.others = remote.ID
		}
		r.nextEntry()
	}
	return nil
}

// leaves reports whether an Agent that is being deleted leaves a remote agent to the Agent that has it, and stays, or whose registration in
// doubt may have created it. What the status records is left when it would be deleted.
func (r sources) leaves(ctx context.Context, s registration.Source, remote *cloud.Agent, claimed error) (bool, error) {
	if r.Deleting() && fault.Is(claimed, fault.RemoteOwned) {
		return true, nil
	}
	if claimed != nil || !r.Deleting() || s == registration.Record {
		return false, claimed
	}
	err := (rivals{r.Task}).unowned(ctx, remote)
	if owned, ok := fault.As(err); ok && owned.Code == fault.RemoteOwned && owned.Class == fault.Terminal {
		return true, nil
	}
	return false, err
}

// lookupOther reads an agent of the snapshot that can only be another's. While it exists, it has the machine ID that the snapshot shows.
func (r sources) lookupOther(ctx context.Context) error {
	id := r.named[registration.Snapshot]
	if !cloud.ValidID(id) { // It cannot be read.
		r.facts.Found[registration.Snapshot] = registration.NotEntitled
		return nil
	}
	remote, err := Absence{r.Task}.candidate(ctx, id)
	switch {
	case err != nil:
		return err
	case remote != nil:
		r.facts.Found[registration.Snapshot] = registration.NotEntitled
	default: // The snapshot is older than its deletion, and may be the newest for long.
		r.nextEntry()
	}
	return nil
}

// secretOfNone judges a token Secret whose remote agent does not exist, or is not ours.
func (r sources) secretOfNone(ctx context.Context) error {
	r.facts.Found[registration.Secret] = registration.None
	name := tokensecret.Name(r.Agent)
	secret, verdict, err := r.Secrets.Find(ctx, r.Agent, name)
	if err != nil || verdict != tokensecret.Ownerless {
		return err
	}
	return r.ownerless((SecretPreflight{r.Task}).AllowOverwrite(ctx, secret, tokensecret.Conflict(name, TokenField)))
}
