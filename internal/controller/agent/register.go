/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/project"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// machineID is what the remote agent is known by.
func (p *pass) machineID() string {
	switch {
	case p.agent.Status.MachineID != "":
		return p.agent.Status.MachineID
	case p.agent.Spec.MachineID != "":
		return p.agent.Spec.MachineID
	default:
		return p.derived()
	}
}

// derived is the machine ID that is this Agent's alone, in any cluster that has its name.
func (p *pass) derived() string { return derivedMachineID(p.Settings.ClusterID, p.key()) }

// explicit reports whether somebody chose the machine ID, so that other agents may have it by right.
func (p *pass) explicit() bool { return p.machineID() != p.derived() }

// register makes sure that one remote agent is recorded as this Agent's own.
func (p *pass) register(ctx context.Context) error {
	repeat := false
	switch {
	case p.agent.Spec.AgentID != "":
		return p.adopt(ctx)
	case p.open():
		known, err := p.recover(ctx)
		if known || err != nil {
			return err
		}
		repeat = true
	case p.agent.Status.ID != "":
		return p.keepFinalizer(ctx)
	}
	return p.enlist(ctx, repeat)
}

// keepFinalizer puts the finalizer back if somebody took it.
func (p *pass) keepFinalizer(ctx context.Context) error {
	if controllerutil.ContainsFinalizer(p.agent, v1alpha1.AgentFinalizer) {
		return nil
	}
	return p.patchMeta(ctx, func(a *v1alpha1.Agent) { controllerutil.AddFinalizer(a, v1alpha1.AgentFinalizer) })
}

// enlist registers a new remote agent, unless the Agent turns out to have one. repeat says that an earlier
// try is known, or has to be taken, to have made nothing.
func (p *pass) enlist(ctx context.Context, repeat bool) error {
	if p.Settings.ReadOnly {
		return fault.Terminalf(v1alpha1.ReasonReadOnly,
			"the operator runs with --read-only and registers nothing: set spec.agentID, or run it without")
	}
	if err := p.project.RegistrationsClosed(); err != nil {
		return err
	}
	if err := p.machineIDFree(ctx); err != nil {
		return err
	}
	for _, found := range []func(context.Context) (bool, error){p.foundBySecret, p.foundByList, p.foundByCluster} {
		if known, err := found(ctx); known || err != nil {
			return err
		}
	}
	if err := p.sessionFree(ctx); err != nil {
		return err
	}
	return p.post(ctx, repeat)
}

// foundBySecret looks for the Agent's former life in its Secret, and refuses a Secret that is not its own
// before anything is registered.
func (p *pass) foundBySecret(ctx context.Context) (bool, error) {
	name := tokensecret.Name(p.agent)
	if p.version(ctx, "Secret", name) == "" {
		return false, nil // One that appears meanwhile is met when the token is stored.
	}
	secret, verdict, err := p.secrets.Find(ctx, p.agent, name)
	switch {
	case err != nil || verdict == tokensecret.Absent:
		return false, err
	case verdict == tokensecret.Foreign:
		return false, foreignSecret(name)
	}
	id := tokensecret.ID(secret)
	switch gone := id == p.memory.lost && p.place == p.memory.lostAt; {
	case id == "" || gone && verdict != tokensecret.Ownerless:
		return false, nil
	case gone:
		return false, foreignSecret(name)
	}
	remote, err := p.ours(ctx, id)
	if remote == nil {
		if err == nil && verdict == tokensecret.Ownerless {
			return false, foreignSecret(name)
		}
		return false, err
	}
	if !p.entitled(remote, registration.Intent{}) {
		return false, fault.Terminalf(v1alpha1.ReasonAdoptionNotAllowed,
			"Secret %q names agent %s, which this namespace may not adopt: "+
				"delete the Secret, or set spec.adoption of the CloudProject to Allowed",
			name, remote.ID)
	}
	return true, p.take(ctx, remote)
}

// foundByList looks for the machine ID among the remote agents, in a list not older than this process.
func (p *pass) foundByList(ctx context.Context) (bool, error) {
	entries, listed, err := p.project.FindByMachine(ctx, p.machineID(), p.started)
	if err != nil || !listed || len(entries) == 0 {
		return false, err
	}
	if p.explicit() {
		return false, p.machineIDTaken(entries[0].ID)
	}
	for _, entry := range entries {
		remote, err := p.ours(ctx, entry.ID)
		if err != nil {
			return false, err
		}
		if remote != nil {
			return true, p.take(ctx, remote)
		}
	}
	return false, nil
}

// foundByCluster looks for a remote agent with our derived machine ID that another Agent of the cluster has recorded: it
// chose a machine ID that is not its own, and gives way.
func (p *pass) foundByCluster(ctx context.Context) (bool, error) {
	if p.explicit() {
		return false, nil
	}
	others, err := p.having(ctx, machineIndex, p.machineID())
	if err != nil {
		return false, err
	}
	for i := range others {
		if other := &others[i]; other.UID != p.agent.UID && other.Status.ID != "" && other.Status.URL == p.place.URL {
			if remote, err := p.ours(ctx, other.Status.ID); err != nil || remote != nil {
				if err == nil {
					err = p.take(ctx, remote)
				}
				return err == nil, err
			}
		}
	}
	return false, nil
}

// ours reads a remote agent whose ID came from a Secret, a list or a spec. Only one that shows our machine
// ID is returned; nil says that it is gone or not ours.
func (p *pass) ours(ctx context.Context, id string) (*cloud.Agent, error) {
	remote, err := p.project.Get(ctx, p.caller(), id)
	if err != nil {
		_, err = p.provesGone(ctx, id, err)
		return nil, err
	}
	if remote.MachineID != p.machineID() {
		return nil, nil
	}
	return remote, nil
}

// take records a remote agent that is already there as this Agent's own.
func (p *pass) take(ctx context.Context, remote *cloud.Agent) error {
	if !p.entitled(remote, p.intent()) {
		return p.notEntitled()
	}
	if err := p.unclaimed(ctx, remote); err != nil {
		return err
	}
	if err := p.keepFinalizer(ctx); err != nil {
		return err
	}
	p.agent.Status.RegisteredByUs = true
	p.recorded(ctx, remote.ID, remote.MachineID)
	p.remote = remote
	p.token = remote.Token
	p.tell(recovered, remote.ID)
	return nil
}

// recorded writes down whose the remote agent is and where it was seen.
func (p *pass) recorded(ctx context.Context, id, machineID string) {
	status, place := &p.agent.Status, p.place
	if status.ID != id || status.URL != place.URL {
		p.doubtSecrets() // They tell both.
	}
	if len(status.Withdraw) > 0 && (project.Place{URL: status.URL, ProjectID: status.ProjectID}) != place {
		p.tell(maybeOrphaned, p.machineID())
		status.Withdraw = nil // At this endpoint the same IDs are another's.
	}
	if status.ID != id {
		if p.memory.confirmed != id { // Else it is this agent's own, from a status that could not be written.
			p.memory.unstored = cloud.Token{}
		}
		status.Applied = v1alpha1.AppliedState{}
		status.Agent = nil
		status.NotHonoured, status.Drift = nil, nil
		p.unset(v1alpha1.ConditionReporting) // It was another agent's.
	}
	status.ID, status.MachineID = id, machineID
	status.URL, status.ProjectID = place.URL, place.ProjectID
	status.Registration = p.intent().String()
	p.confirmed(id)
	p.memory.goneAt, p.memory.unlistedAt = time.Time{}, time.Time{}
	p.observed(ctx)
}

// confirmed notes that a remote agent is ours, and there.
func (p *pass) confirmed(id string) {
	p.memory.confirmed, p.memory.confirmedAt, p.memory.confirmedBy = id, p.place, ""
	if now := p.credential(); now == p.shown {
		p.memory.confirmedBy = now
	}
}

// writeAhead records that a registration is about to begin, and keeps the Agent from going without it.
func (p *pass) writeAhead(ctx context.Context, began, first time.Time) (intent registration.Intent, err error) {
	fenced := controllerutil.ContainsFinalizer(p.agent, v1alpha1.AgentFinalizer)
	intent, err = registration.NewIntent(began, first, p.closed(), p.subject(p.place.URL), p.project.Sign)
	if err != nil {
		return intent, err
	}
	err = p.patchMeta(ctx, func(a *v1alpha1.Agent) {
		controllerutil.AddFinalizer(a, v1alpha1.AgentFinalizer)
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistering, intent.String())
	})
	if err == nil && !fenced {
		err = p.stillThere(ctx)
	}
	return intent, err
}

// post writes the nonce ahead and sends the one POST that it permits.
func (p *pass) post(ctx context.Context, repeat bool) error {
	if err := p.wholeConfig(ctx); err != nil {
		return err
	}
	ticket, err := p.project.Admit(p.caller())
	if err != nil {
		return err
	}
	if ticket.Version() != p.placed {
		ticket.Release()
		return p.outdated()
	}
	began := p.Clock.Now()
	elsewhere := p.open() && !p.authentic()
	first := time.Time{}
	if p.open() && !elsewhere {
		first = p.intent().First // What an earlier attempt made may be what the API answers with.
	}
	intent, err := p.writeAhead(ctx, began, first)
	left := p.Settings.PostWindow - p.Clock.Since(began)
	if err == nil && left <= 0 {
		err = fault.Retryablef(v1alpha1.ReasonAPIServer, "the API server took too long to record the registration")
	}
	if err != nil {
		ticket.Release()
		return err
	}
	// A shutdown must not cut the call whose outcome counts most.
	if elsewhere { // Nobody looks there any more.
		p.tell(maybeOrphaned, p.machineID())
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), left)
	defer cancel()
	machineID := p.machineID()
	p.memory.posted = p.agent
	send := ticket.Register
	if !p.agent.DeletionTimestamp.IsZero() {
		send = ticket.Repeat // The CloudProject waits for this Agent.
	}
	made, err := send(call, registrationBody(p.agent, p.config, machineID))
	if err != nil {
		return p.notRegistered(call, err, repeat)
	}
	// A server that upserts may answer with an agent of somebody else.
	if p.explicit() && !p.mayAdopt() && !made.CreatedAt.IsZero() && made.CreatedAt.Before(intent.First.Add(-p.Settings.Slack)) {
		p.closeIntent()
		return p.machineIDTaken(made.ID)
	}
	if err := p.misdirected(ctx, made.ID, machineID); err != nil {
		// What it made, if anything, is still to be found out.
		return fault.Retryablef(v1alpha1.ReasonRegistrationUnknown, "the service answered the registration with another's agent: %v", err).
			After(p.Settings.BackoffMin).Because(err)
	}
	p.agent.Status.RegisteredByUs = true
	p.recorded(ctx, made.ID, machineID)
	p.memory.due = began.Add(p.interval(ctx) / 10) // The answer does not tell its health.
	p.agent.Status.Agent = registeredStatus(made, p.agent, p.config)
	p.registered, p.token, p.memory.unstored, p.memory.refused = true, made.Token, made.Token, ""
	if p.memory.lost != "" {
		p.tell(reRegistered, made.ID)
	} else {
		p.tell(registeredAgent, made.ID)
	}
	return nil
}

// misdirected refuses an answer that names the remote agent of another Agent.
func (p *pass) misdirected(ctx context.Context, id, machineID string) error {
	others, err := p.having(ctx, remoteIndex, id)
	if err != nil {
		return err
	}
	for i := range others {
		// One with our machine ID took over what is ours by derivation.
		if other := &others[i]; other.UID != p.agent.UID && other.Status.URL == p.place.URL && other.Status.MachineID != machineID {
			return p.claimedBy(other, id)
		}
	}
	return p.unclaimed(ctx, &cloud.Agent{ID: id, MachineID: machineID})
}

// notRegistered draws the conclusions from a POST that failed: what proves that nothing was made closes
// the registration, all else leaves it open to be recovered.
func (p *pass) notRegistered(ctx context.Context, err error, repeat bool) error {
	e, ok := cloud.AsError(err)
	if !ok {
		return err
	}
	if e.Reason == cloud.ReasonConflict && e.Status != 0 {
		return p.conflicted(ctx, err, repeat)
	}
	// Where nothing is listed, an earlier try may still have made something that this one knows nothing of.
	if e.NothingMade() && (!repeat || p.lists()) {
		p.closeIntent()
		return err
	}
	if e.API {
		p.memory.nonce, p.memory.nonceAt, p.memory.answered = p.intent().String(), p.Clock.Now(), p.Clock.Now()
	}
	if refused, stalls := fault.As(p.contentRefused(err)); stalls {
		return refused
	}
	return p.inDoubt(err)
}

// inDoubt leaves a registration open: the next pass checks what became of it.
func (p *pass) inDoubt(cause error) error {
	return fault.Retryablef(v1alpha1.ReasonRegistrationUnknown,
		"the outcome of the registration is unknown (%v); checking whether it succeeded before retrying", cause).
		After(p.Settings.BackoffMin).Because(cause)
}

// conflicted handles a machine ID that the service says is taken: if it is ours by derivation the agent is
// found again, else a person has to choose.
func (p *pass) conflicted(ctx context.Context, cause error, repeat bool) error {
	e, _ := cloud.AsError(cause)
	if p.explicit() && !repeat && e.API {
		p.closeIntent()
		return p.machineIDTaken("")
	}
	entries, listed, err := p.project.FindByMachine(ctx, p.machineID(), p.Clock.Now())
	switch {
	case err != nil:
		return err
	case listed && p.explicit() && e.API:
		p.closeIntent()
		return p.machineIDTaken("")
	case listed && p.explicit(): // Something in between says so: the API may have registered it all the same.
		return p.inDoubt(cause)
	case listed:
		for _, entry := range entries {
			remote, err := p.ours(ctx, entry.ID)
			if err != nil {
				return err
			}
			if remote != nil {
				return p.take(ctx, remote)
			}
		}
	}
	return fault.Terminalf(v1alpha1.ReasonRegistrationUnknown,
		"the service holds an agent with machine ID %s, and does not tell its ID: find it in Calyptia Cloud and set spec.agentID to its ID",
		p.machineID()).Because(cause)
}

func (p *pass) lists() bool {
	listed := p.project.Proof().ListSupported
	return listed != nil && *listed
}
