/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// Another is another remote agent than the recorded one, which the Agent's own token Secret names: a leader that had unknowingly lost its
// lease may have registered it. Whoever writes Secrets may write any ID.
type Another struct{ *Task }

// named is the ID of the other agent; empty if there is none.
func (a Another) named(secret *corev1.Secret, verdict tokensecret.Verdict) string {
	if verdict != tokensecret.Ours || a.Agent.Spec.AgentID != "" {
		return ""
	}
	if id := tokensecret.ID(secret); cloud.ValidID(id) && id != a.Agent.Status.ID && a.Known.Absence.Lost != (Whereabouts{id, a.Endpoint}) {
		return id
	}
	return ""
}

// Own reads the other agent. It is nil if that is not this Agent's.
func (a Another) Own(ctx context.Context, secret *corev1.Secret, verdict tokensecret.Verdict) (*cloud.Agent, error) {
	remote, err := Observer{a.Task}.Lookup(ctx, a.named(secret, verdict)) // No request without an ID.
	if err != nil || remote == nil {
		return nil, err
	}
	// Nothing recorded counts for it.
	unrecorded := &cloud.Agent{MachineID: a.MachineID(), RawConfig: remote.RawConfig, CreatedAt: remote.CreatedAt}
	intent := registration.ParseIntent(tokensecret.Registration(secret))
	ours, err := Evidence{a.Task}.entitled(ctx, unrecorded, intent)
	if err == nil && !ours {
		return nil, nil //nolint:nilnil // Documented: it is not ours.
	}
	if err == nil {
		err = rivals{a.Task}.unowned(ctx, remote)
	}
	if fault.Is(err, fault.RemoteOwned) {
		return nil, nil //nolint:nilnil // Documented: another Agent has it.
	} else if err != nil {
		return nil, err
	}
	return remote, nil
}

// RecordFirst ends a turn: the remote agents that the status names now are recorded before any is changed or deleted, so that the next
// process knows them.
func RecordFirst() *fault.Error {
	return fault.Waitingf(v1alpha1.ReasonProgressing, "a remote agent was found, and is recorded before anything is changed or deleted").
		After(time.Millisecond).Coded(fault.Unrecorded)
}

// record records the other agent of an Agent that is being deleted, before anything is deleted, so that both are deleted whatever ends
// meanwhile. A Secret that is as it was last found right names none, and is not read. It reports whether such an agent may be left,
// because the API or the CloudProject does not allow reading it.
func (a Another) record(ctx context.Context, allowed bool) (left bool, err error) {
	status, name := &a.Agent.Status, tokensecret.Name(a.Agent)
	version := a.Version(ctx, a.Agent.Namespace, "Secret", name)
	if a.Removed || version == "" || version == status.Applied.TokenSecretResourceVersion || !a.records(a.Agent) {
		return false, nil
	}
	secret, verdict, err := a.Secrets.Find(ctx, a.Agent, name)
	if err != nil {
		return false, err
	}
	id := a.named(secret, verdict)
	if id == "" || slices.Contains(status.DuplicatesToDelete, id) {
		return false, nil
	}
	if !allowed {
		return true, nil
	}
	remote, err := a.Own(ctx, secret, verdict)
	switch failure := agentstatus.Classify(err); {
	case failure != nil && failure.Class == fault.Terminal: // Of that agent. It must not keep the Agent.
		return true, nil
	case err != nil || remote == nil:
		return false, err
	}
	status.DuplicatesToDelete = append(status.DuplicatesToDelete, remote.ID)
	recorded, before := Whereabouts{remote.ID, a.Endpoint}, a.Known.Absence.recorded
	if a.Known.Absence.recorded = recorded; recorded == before && a.Known.Timers.Unwritten == 0 {
		return false, fault.Retryablef(v1alpha1.ReasonAPIServer, "the API server accepted and did not store status.duplicatesToDelete, "+
			"which names another remote agent to delete: update the CustomResourceDefinition, or correct the policy that removes the field")
	}
	return false, RecordFirst().Quietly()
}
