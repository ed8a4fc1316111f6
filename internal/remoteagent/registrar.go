/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"cmp"
	"context"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/internal/verification"
)

// registrar gathers the facts about one registration and executes what package registration decides. Only it calls
// creation, which registers.
type registrar struct {
	*Task
	facts registration.Facts
	// named are the IDs that sources name, and remotes what lookups showed of them.
	named   map[registration.Source]string
	remotes map[registration.Source]*cloud.Agent
	listed  listed
	// resolveOnly creates nothing: it finds the outcome of a registration in doubt.
	resolveOnly              bool
	leaseAsked, sessionAsked bool
	// why holds the errors behind the facts.
	why causes
}

// listed are the agents of the snapshot with the Agent's machine ID.
type listed struct {
	entries []inventory.Entry // those that were not looked up yet
	older   []string          // IDs of those that can only be another's, because they are older than the registration
	aged    bool              // the one that the snapshot names now is one of these
	others  string            // ID of one that a lookup showed not to be ours
}

// causes are the errors behind the facts.
type causes struct{ lease, session, secret, failure error }

func newRegistrar(t *Task, resolveOnly bool) *registrar {
	return &registrar{
		Task: t, resolveOnly: resolveOnly,
		named: map[registration.Source]string{}, remotes: map[registration.Source]*cloud.Agent{},
		facts: registration.Facts{SessionFree: true},
	}
}

// settle follows decisions until there is nothing to do about the registration. It reports whether a remote
// agent is recorded then.
func (r *registrar) settle(ctx context.Context) (recorded bool, err error) {
	for range mostDecisions {
		if err := r.gather(ctx); err != nil {
			return false, err
		}
		a := registration.Decide(r.facts)
		switch a.Kind {
		case registration.Keep:
			return true, r.keepFinalizer(ctx)
		case registration.Adopt:
			return true, r.adopt(ctx, r.remotes[a.Source])
		case registration.Release:
			if a.Code == registration.MaybeOrphaned && !r.resolveOnly {
				if waits := awaitsToken(r.Task, r.facts.Trusted); waits != nil {
					return false, waits
				}
				r.Record(MaybeOrphaned, r.MachineID())
			}
			return false, nil
		case registration.Wait:
			return false, r.waits(ctx, a)
		case registration.Fail:
			return false, r.fails(a.Code)
		case registration.Read:
			err = sources{r}.read(ctx, a.Source)
		case registration.Lookup:
			err = sources{r}.lookup(ctx, a.Source)
		case registration.ReadInventory:
			err = sources{r}.list(ctx, a.NotBefore)
		case registration.CloseIntent:
			r.closeIntent()
		case registration.Create:
			if r.resolveOnly {
				return false, nil
			}
			err = creation{r}.create(ctx)
		}
		if err != nil {
			return false, err
		}
	}
	return false, fault.Retryablef(v1alpha1.ReasonInvalidResponse,
		"the API lists too many agents with machine ID %s that are not this Agent's: delete those that are not needed", r.MachineID())
}

// mostDecisions is how many decisions one pass follows. Each changes a fact, but a server decides how many agents it lists.
const mostDecisions = 1000

// gather brings the facts up to date that may have changed.
func (r *registrar) gather(ctx context.Context) error {
	f, intent := &r.facts, r.Intent()
	f.Now, f.Started = r.Clock.Now(), r.looksFrom()
	f.Deleting = r.Deleting() || r.resolveOnly
	f.ReadOnly, f.Paused = r.Settings.ReadOnly, r.Project.RegistrationPaused() != nil
	f.Explicit, f.MayAdopt, f.Barred = r.explicit(), r.mayAdopt(), r.Known.Barred
	f.HeldUntil = time.Time{}
	if tries := triesOf(r.Task); tries.times > freeTries {
		f.HeldUntil = tries.until(occasionOf(r.Task))
	}
	f.Open = r.Open()
	f.Recorded = r.Agent.Status.ID != "" && !f.Open
	f.Listing = listing(r.Project.Result())
	if f.Listing == registration.ListingNo {
		f.Found[registration.Snapshot] = registration.None
	}
	if f.Open {
		f.Authentic = Evidence{r.Task}.authentic()
		f.Repeated = f.Authentic && !intent.First.Equal(intent.At)
		a := r.attempted()
		f.Met, f.Trusted = a.met, cmp.Or(a.began, a.met).Add(r.Settings.Slack)
		if !a.responded.IsZero() {
			f.Trusted = a.responded.Add(r.Settings.ErrorSlack)
		}
	}
	if r.leaseAsked || f.Open && f.Now.Before(f.Trusted) || f.Recorded {
		return nil
	}
	r.leaseAsked = true
	if r.why.lease = (rivals{r.Task}).machineIDFree(ctx); r.why.lease != nil {
		if !fault.Is(r.why.lease, fault.MachineIDLeased) {
			return r.why.lease
		}
		f.Lease = registration.LeaseTaken
	}
	return nil
}

// looksFrom is the earliest start of a snapshot that is trusted before anything is registered: the start of this process, or
// the last refusal in the API's form or the first sight of the agent's absence if that is later. A filter may imitate the API
// and have let the request pass, or have replaced the ID in the response. See also takenFrom.
func (r *registrar) looksFrom() time.Time {
	from, a := r.started, &r.Known.Absence
	absent := a.firstAt
	if listed := a.unlistedAt; !listed.IsZero() && listed.Before(absent) {
		absent = listed.Add(-1) // The snapshot that showed the absence is late enough.
	}
	for _, doubt := range []time.Time{r.Known.attempt.refused, absent, r.takenFrom()} {
		if doubt.After(from) {
			from = doubt
		}
	}
	return from
}

// guest reports whether the Agent may have no agent but the one that it registers.
func (r *registrar) guest() bool { return r.explicit() && !r.mayAdopt() }

// takenFrom is the earliest start of a snapshot that shows whether a chosen machine ID is taken: an API that upserts would change the
// agent that has it, and only spec.agentID asks for that. It is when this process first saw the Agent want it, and not long ago: whoever
// has another reason to wait, such as a missing ConfigMap, may remove that when somebody registered the machine ID. So it is for a derived
// one while only spec.projectID shows the project: what is registered through another CloudProject of it is not in this one's snapshot.
func (r *registrar) takenFrom() time.Time {
	if claimed := r.Project.Result().Lists() && !r.Project.Vouched(); !r.explicit() && !claimed {
		return time.Time{}
	}
	w := &r.Known.wanted
	if w.machineID != r.MachineID() || w.at != r.Endpoint {
		*w = wanted{r.MachineID(), r.Endpoint, r.began}
	}
	recent := r.began.Add(-max(r.Settings.Slack, longLists*inventory.ListLasted(r.Project.Inventory)))
	if recent.After(w.since) {
		return recent
	}
	return w.since
}

// longLists is how many times as long as a list takes its snapshot can be used, at least: otherwise that of a long list would never do.
const longLists = 4

func listing(check verification.Result) registration.Listing {
	switch {
	case check.ListSupported == nil:
		return registration.ListingUnknown
	case *check.ListSupported:
		return registration.ListingYes
	default:
		return registration.ListingNo
	}
}

func (r *registrar) waits(ctx context.Context, a registration.Action) error {
	switch {
	case a.Code == registration.RegistrationPaused:
		if closed := r.Project.RegistrationPaused(); closed != nil {
			return closed
		}
		return r.outdated() // Registration was resumed just now.
	case a.Code == registration.Fruitless:
		// Meanwhile the agent may appear.
		return r.Known.fruitless.why.After(min(a.Until.Sub(r.facts.Now), r.Interval(ctx)))
	case r.why.failure != nil:
		return creation{r}.inDoubt(r.why.failure)
	default:
		return fault.Waitingf(v1alpha1.ReasonRegistrationOutcomeUnknown,
			"no response to the registration; checking whether it succeeded before retrying").After(a.Until.Sub(r.facts.Now))
	}
}

func (r *registrar) fails(code registration.Code) error {
	switch code {
	case registration.OperatorReadOnly:
		return fault.Terminalf(v1alpha1.ReasonReadOnly,
			"the operator runs with --read-only and registers nothing: set spec.agentID, or run the operator without --read-only")
	case registration.MachineIDLeased:
		return r.why.lease
	case registration.MachineIDTaken:
		return rivals{r.Task}.machineIDTaken(r.named[registration.Snapshot])
	case registration.SecretTaken:
		return r.why.secret
	case registration.SessionTaken:
		return r.why.session
	case registration.AdoptionNotAllowed:
		if waits := withCopy(r.Task); waits != nil {
			return waits
		}
		return fault.Terminalf(v1alpha1.ReasonAdoptionNotAllowed,
			"Secret %q names agent %s, which this namespace may not adopt: "+
				"delete the Secret, or set spec.adoption of the CloudProject to Allowed",
			tokensecret.Name(r.Agent), r.named[registration.Secret])
	case registration.RecordedElsewhere:
		return Evidence{r.Task}.notEntitled()
	case registration.IDUnknown:
		return fault.Terminalf(v1alpha1.ReasonRegistrationOutcomeUnknown,
			"the API has an agent with machine ID %s and does not reveal its ID: find it in Calyptia Cloud and set spec.agentID to its ID",
			r.MachineID()).Because(r.why.failure)
	default:
		return r.why.failure
	}
}

// attempted is what this process knows of the open intent. Its times are by the clock of this process: the slack has to pass, and the
// clock of the replica that wrote the intent may have been behind.
func (r *registrar) attempted() *attempt {
	a, intent := &r.Known.attempt, r.Intent().String()
	if a.intent != intent {
		*a = attempt{intent: intent}
	}
	if a.met.IsZero() {
		a.met = r.Clock.Now()
	}
	return a
}

// adopt records an existing remote agent as this Agent's.
func (r *registrar) adopt(ctx context.Context, remote *cloud.Agent) error {
	if err := ensureOurs(ctx, r.Task, remote); err != nil {
		return err
	}
	if err := r.typeFits(remote); err != nil {
		return err
	}
	if err := (rivals{r.Task}).unowned(ctx, remote); err != nil {
		return err
	}
	if err := r.keepFinalizer(ctx); err != nil {
		return err
	}
	r.Agent.Status.Origin = v1alpha1.OriginRegistered
	Observer{r.Task}.Put(remote.ID, remote.MachineID)
	r.SawRead(remote)
	r.Record(recovered, remote.ID)
	return nil
}

// typeFits refuses an agent of the other type, as one that was retained may be: a type cannot be changed. What is to be deleted may
// have either.
func (r *registrar) typeFits(remote *cloud.Agent) error {
	declared, shown := r.Agent.Spec.Type, v1alpha1.AgentType(remote.Type)
	known := shown == v1alpha1.AgentTypeFluentBit || shown == v1alpha1.AgentTypeFluentd
	if r.facts.Deleting || declared == "" || !known || shown == declared {
		return nil
	}
	return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
		"spec.type is %s, but the remote agent %s of this Agent is of type %s: delete that agent in Calyptia Cloud, "+
			"or delete this Agent and create it with that type", declared, remote.ID, shown)
}
