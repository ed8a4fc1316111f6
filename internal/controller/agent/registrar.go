/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

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
	"github.com/calyptia-agent-operator/operator/internal/verification"
)

// registrar gathers the facts about one registration and executes what package registration decides. It is the only
// one that registers.
type registrar struct {
	*pass
	facts registration.Facts
	// named are the IDs that sources name, and remotes what lookups showed of them.
	named   map[registration.Source]string
	remotes map[registration.Source]*cloud.Agent
	// entries are the agents of the snapshot that were not looked up yet; others tells whether one of them is not ours.
	entries []inventory.Entry
	others  bool
	// resolveOnly creates nothing: it finds out what became of an open registration.
	resolveOnly              bool
	leaseAsked, sessionAsked bool
	// What is behind a fact, in words.
	lease, session, secret, failure error
}

// settleRegistration follows decisions until there is nothing to do about the registration. It reports whether a remote
// agent is recorded then.
func (p *pass) settleRegistration(ctx context.Context, resolveOnly bool) (recorded bool, err error) {
	r := &registrar{
		pass: p, resolveOnly: resolveOnly,
		named: map[registration.Source]string{}, remotes: map[registration.Source]*cloud.Agent{},
		facts: registration.Facts{SessionFree: true},
	}
	for range mostDecisions {
		if err := r.gather(ctx); err != nil {
			return false, err
		}
		a := registration.Decide(r.facts)
		switch a.Kind {
		case registration.Keep:
			return true, r.keepFinalizer(ctx)
		case registration.Adopt:
			return true, r.take(ctx, r.remotes[a.Source])
		case registration.Release:
			if a.Code == registration.MaybeOrphaned && !resolveOnly {
				r.tell(maybeOrphaned, r.machineID())
			}
			return false, nil
		case registration.Wait:
			return false, r.waits(a)
		case registration.Fail:
			return false, r.fails(a.Code)
		case registration.Read:
			err = r.read(ctx, a.Source)
		case registration.Lookup:
			err = r.lookup(ctx, a.Source)
		case registration.ReadInventory:
			err = r.list(ctx, a.NotBefore)
		case registration.CloseIntent:
			r.closeIntent()
		case registration.Create:
			if resolveOnly {
				return false, nil
			}
			err = r.create(ctx)
		}
		if err != nil {
			return false, err
		}
	}
	return false, fault.Retryablef(v1alpha1.ReasonInvalidResponse,
		"the API lists very many agents with machine ID %s that are not this Agent's: delete those that are not needed", r.machineID())
}

// mostDecisions is how many decisions one pass follows. Each changes a fact, but a server decides how many agents it lists.
const mostDecisions = 1000

// gather brings the facts up to date that may have changed.
func (r *registrar) gather(ctx context.Context) error {
	f, intent := &r.facts, r.intent()
	f.Now, f.Started = r.Clock.Now(), r.started
	f.Deleting = !r.agent.DeletionTimestamp.IsZero() || r.resolveOnly
	f.ReadOnly, f.Paused = r.Settings.ReadOnly, r.project.RegistrationPaused() != nil
	f.Explicit, f.MayAdopt = r.explicit(), r.mayAdopt()
	f.Open = r.open()
	f.Recorded = r.agent.Status.ID != "" && !f.Open
	f.Listing = listing(r.project.Result())
	if f.Listing == registration.ListingNo {
		f.Found[registration.Snapshot] = registration.None
	}
	if f.Open {
		f.Authentic = r.authentic()
		f.Repeated = f.Authentic && !intent.First.Equal(intent.At)
		f.Trusted = r.met().Add(r.Settings.Slack)
		if !r.memory.answered.IsZero() {
			f.Trusted = r.memory.answered.Add(r.Settings.AnsweredSlack)
		}
		f.Met = r.memory.nonceAt
	}
	if r.leaseAsked || f.Open && f.Now.Before(f.Trusted) || f.Recorded {
		return nil
	}
	r.leaseAsked = true
	r.lease = r.machineIDFree(ctx)
	if r.lease != nil {
		if !classify(r.lease).is(v1alpha1.ReasonMachineIDConflict) {
			return r.lease
		}
		f.Lease = registration.LeaseTaken
	}
	return nil
}

func listing(proof verification.Result) registration.Listing {
	switch {
	case proof.ListSupported == nil:
		return registration.ListingUnknown
	case *proof.ListSupported:
		return registration.ListingYes
	default:
		return registration.ListingNo
	}
}

// names notes what a source says; an empty ID is none.
func (r *registrar) names(s registration.Source, id string) {
	r.named[s] = id
	r.facts.Found[s] = registration.None
	if id != "" {
		r.facts.Found[s] = registration.Named
	}
}

func (r *registrar) read(ctx context.Context, s registration.Source) error {
	switch s {
	case registration.Record:
		// Past the cache: a stale one would register twice.
		if err := r.refresh(ctx); err != nil {
			return err
		}
		if err := r.keepIntent(ctx); err != nil { // Pruned since the cache heard of it.
			return err
		}
		r.names(s, r.agent.Status.ID)
	case registration.Response:
		r.names(s, "")
		if posted := r.memory.posted; posted != nil && posted.UID == r.agent.UID && intentOf(posted) == r.intent() {
			r.names(s, posted.Status.ID)
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

// readIntentSecret reads the ID that the token Secret got from the open registration.
func (r *registrar) readIntentSecret(ctx context.Context) error {
	r.names(registration.SecretIntent, "")
	secret, verdict, err := r.secrets.Find(ctx, r.agent, tokensecret.Name(r.agent))
	if err != nil || secret == nil || tokensecret.Registration(secret) != r.intent().String() {
		return err
	}
	// One of an Agent that retains has no owner: then a read of the remote agent has to confirm it, as it has to anyway.
	if verdict == tokensecret.Ours || verdict == tokensecret.Ownerless && tokensecret.Labelled(secret, r.agent) {
		r.names(registration.SecretIntent, tokensecret.ID(secret))
	}
	return nil
}

// readSecret reads the ID in the token Secret, whatever registration it came from.
func (r *registrar) readSecret(ctx context.Context) error {
	r.names(registration.Secret, "")
	name := tokensecret.Name(r.agent)
	if r.version(ctx, "Secret", name) == "" {
		return nil // One that appears meanwhile is met when the token is stored.
	}
	secret, verdict, err := r.secrets.Find(ctx, r.agent, name)
	if err != nil || verdict == tokensecret.Absent {
		return err
	}
	id := tokensecret.ID(secret)
	switch {
	case verdict == tokensecret.Foreign:
		r.taken(foreignSecret(name))
	case id != "" && (id != r.memory.lost || r.place != r.memory.lostAt):
		r.names(registration.Secret, id)
	case verdict == tokensecret.Ownerless:
		return r.ownerless(r.takeover(ctx, secret, foreignSecret(name)))
	}
	return nil
}

// taken notes that the token Secret is somebody else's.
func (r *registrar) taken(conflict error) {
	r.secret, r.facts.Found[registration.Secret] = conflict, registration.Foreign
}

// ownerless notes whether a Secret without an owner may be used; other failures are returned.
func (r *registrar) ownerless(conflict error) error {
	if !classify(conflict).is(v1alpha1.ReasonSecretConflict) {
		return conflict
	}
	r.taken(conflict)
	return nil
}

// readCluster looks for another Agent of the cluster that recorded an agent with our derived machine ID: it chose a
// machine ID that is not its own, and gives way.
func (r *registrar) readCluster(ctx context.Context) error {
	r.names(registration.Cluster, "")
	if r.explicit() {
		return nil
	}
	others, err := r.having(ctx, machineIndex, r.machineID())
	for i := range others {
		if other := &others[i]; other.UID != r.agent.UID && other.Status.ID != "" && other.Status.URL == r.place.URL {
			r.names(registration.Cluster, other.Status.ID)
		}
	}
	return err
}

// list gets a snapshot of the agents with our machine ID that was begun after a time, the oldest agent first.
func (r *registrar) list(ctx context.Context, notBefore time.Time) error {
	entries, _, err := r.project.FindByMachine(ctx, r.machineID(), notBefore)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b inventory.Entry) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	r.facts.SnapshotAt = notBefore.Add(1) // Or later.
	r.entries, r.others = entries, false
	r.nextEntry()
	return nil
}

// nextEntry takes the next agent of the snapshot that may be ours. With a chosen machine ID, one that was there before
// the registration is another's.
func (r *registrar) nextEntry() {
	for ; len(r.entries) > 0; r.entries = r.entries[1:] {
		entry := r.entries[0]
		if old := r.open() && r.explicit() && registration.CreatedBefore(entry.CreatedAt, r.first()); !old {
			r.names(registration.Snapshot, entry.ID)
			return
		}
		r.others, r.named[registration.Snapshot] = true, entry.ID
	}
	r.facts.Found[registration.Snapshot] = registration.None
	if r.others {
		r.facts.Found[registration.Snapshot] = registration.NotEntitled
	}
}

// first is when the first attempt of the open registration began, as far as that is to be believed.
func (r *registrar) first() time.Time {
	if r.authentic() {
		return r.intent().First
	}
	return r.met()
}

// lookup reads the remote agent that a source names.
func (r *registrar) lookup(ctx context.Context, s registration.Source) error {
	remote, err := r.ours(ctx, r.named[s])
	if err != nil {
		return err
	}
	intent := r.intent()
	if s == registration.Secret || s == registration.Cluster {
		intent = registration.Intent{}
	}
	finding := registration.None
	switch {
	case remote == nil && s == registration.Secret:
		return r.secretOfNone(ctx)
	case remote != nil && r.entitled(remote, intent):
		finding, r.remotes[s] = registration.Ours, remote
	case remote != nil:
		finding = registration.NotEntitled
	}
	r.facts.Found[s] = finding
	if s == registration.Snapshot && finding != registration.Ours {
		r.entries, r.others = r.entries[1:], r.others || remote != nil
		r.nextEntry()
	}
	return nil
}

// secretOfNone judges a token Secret whose remote agent does not exist, or is not ours.
func (r *registrar) secretOfNone(ctx context.Context) error {
	r.facts.Found[registration.Secret] = registration.None
	name := tokensecret.Name(r.agent)
	secret, verdict, err := r.secrets.Find(ctx, r.agent, name)
	if err != nil || verdict != tokensecret.Ownerless {
		return err
	}
	return r.ownerless(r.takeover(ctx, secret, foreignSecret(name)))
}

func (r *registrar) waits(a registration.Action) error {
	switch {
	case a.Code == registration.RegistrationPaused:
		if closed := r.project.RegistrationPaused(); closed != nil {
			return closed
		}
		return r.outdated() // They were opened just now.
	case r.failure != nil:
		return r.inDoubt(r.failure)
	default:
		return fault.Waitingf(v1alpha1.ReasonRegistrationOutcomeUnknown,
			"no response to the registration; checking whether it succeeded before retrying").After(a.Until.Sub(r.facts.Now))
	}
}

func (r *registrar) fails(code registration.Code) error {
	switch code {
	case registration.OperatorReadOnly:
		return fault.Terminalf(v1alpha1.ReasonReadOnly,
			"the operator runs with --read-only and registers nothing: set spec.agentID, or run it without")
	case registration.MachineIDLeased:
		return r.lease
	case registration.MachineIDTaken:
		return r.machineIDTaken(r.named[registration.Snapshot])
	case registration.SecretTaken:
		return r.secret
	case registration.SessionTaken:
		return r.session
	case registration.AdoptionNotAllowed:
		return fault.Terminalf(v1alpha1.ReasonAdoptionNotAllowed,
			"Secret %q names agent %s, which this namespace may not adopt: "+
				"delete the Secret, or set spec.adoption of the CloudProject to Allowed",
			tokensecret.Name(r.agent), r.named[registration.Secret])
	case registration.RecordedElsewhere:
		return r.notEntitled()
	case registration.IDUnknown:
		return fault.Terminalf(v1alpha1.ReasonRegistrationOutcomeUnknown,
			"the API holds an agent with machine ID %s, and does not tell its ID: find it in Calyptia Cloud and set spec.agentID to its ID",
			r.machineID()).Because(r.failure)
	default:
		return r.failure
	}
}
