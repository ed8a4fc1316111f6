/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
)

// observe reads the remote agent when it is time to, or when something casts doubt on what is known of it.
func (p *pass) observe(ctx context.Context) error {
	if m := p.memory; len(m.resend) > 0 && m.resendFor != p.agent.Generation {
		m.resend, m.due = nil, p.Clock.Now() // By what is declared now it may be right.
	}
	if p.registered || p.remote != nil || !p.mustRead() {
		return nil
	}
	enough, err := p.glimpse(ctx)
	if err == nil && !enough {
		err = p.read(ctx)
	}
	if err != nil {
		return err
	}
	return p.findDoubles(ctx)
}

// glimpse looks for the remote agent in the list that all Agents of the project share: one call per page instead of
// one for each of them. It is enough where nobody asks for more and all is as declared.
func (p *pass) glimpse(ctx context.Context) (enough bool, err error) {
	status, now, interval := &p.agent.Status, p.Clock.Now(), p.interval(ctx)
	due := !p.memory.due.IsZero() && !now.Before(p.memory.due)
	sent := len(p.memory.sent) > 0
	plain := p.memory.verified && !p.memory.differs && p.memory.goneAt.IsZero() &&
		(sent || status.Applied.Generation == p.agent.Generation) &&
		len(status.DriftedFields)+len(status.IgnoredFields)+len(status.DuplicatesToDelete) == 0 &&
		status.LastHandledReconcileAt == p.agent.Annotations[v1alpha1.AnnotationReconcileAt]
	if !due || !plain || (connection.Endpoint{URL: status.URL, ProjectID: status.ProjectID}) != p.place {
		return false, nil
	}
	after := now.Add(-interval * 9 / 10)
	if sent && p.memory.sentAt.After(after) {
		after = p.memory.sentAt
	}
	seen, at, ok, err := p.project.Lookup(status.ID, after)
	if seen.ID == "" {
		p.memory.unlistedAt = at
	}
	if !ok || err != nil || seen.MachineID != status.MachineID || !p.asDeclared(seen) {
		return false, err
	}
	if err := p.unclaimed(ctx, seen.Remote); err != nil {
		return false, err
	}
	p.recorded(ctx, seen.ID, seen.MachineID)
	// Soon after the list of the next interval: then one list serves all.
	p.memory.due = at.Add(interval + rand.N(interval/10+1))
	p.sight = seen.Remote
	p.project.SeenAt(p.agent.UID, seen.ID, at)
	return true, nil
}

// asDeclared reports whether a list shows all declared fields as they are declared.
func (p *pass) asDeclared(seen inventory.Entry) bool {
	return !slices.ContainsFunc(declared(&p.agent.Spec, &p.config), func(f field) bool {
		switch f.name {
		case v1alpha1.FieldRawConfig:
			return f.hash != p.config.Key.Digest(seen.RawConfig)
		case "metadata":
			return f.hash != seen.Metadata
		default:
			return f.same != nil && !f.same(seen.Remote)
		}
	})
}

// findDoubles looks for other remote agents with our derived machine ID. Those that can only have come from
// a registration of ours that nobody knew of any more are withdrawn; others are left to a person.
func (p *pass) findDoubles(ctx context.Context) error {
	if p.remote == nil && p.sight == nil || p.explicit() || p.Settings.ReadOnly || p.agent.Status.Origin != v1alpha1.OriginRegistered {
		return nil
	}
	now, status := p.Clock.Now(), &p.agent.Status
	age := p.interval(ctx)
	if status.LastHandledReconcileAt != p.agent.Annotations[v1alpha1.AnnotationReconcileAt] {
		// Somebody asks. A younger list could only tell of agents that are too young to judge. The time of the question
		// counts, because a list may take longer than that.
		age = p.Settings.Slack + now.Sub(p.asked(now))
	}
	entries, _, err := p.project.FindByMachine(ctx, p.machineID(), now.Add(-age))
	if err != nil {
		return err
	}
	began, known := p.closed().Began(now)
	var left []string
	for _, entry := range entries {
		recent := now.Sub(entry.CreatedAt) < p.Settings.Slack // It may be on its way into a Secret.
		switch {
		case entry.ID == status.ID || recent || slices.Contains(status.DuplicatesToDelete, entry.ID):
		case known && p.agent.Spec.SyncPolicy != v1alpha1.SyncObserve && !entry.Reported &&
			!entry.CreatedAt.Before(began.Truncate(time.Second)):
			status.DuplicatesToDelete = append(status.DuplicatesToDelete, entry.ID)
		default:
			left = append(left, entry.ID)
		}
	}
	p.project.SetDuplicates(p.agent.UID, left)
	return nil
}

// asked is when this process met the request to reconcile that is to be answered.
func (p *pass) asked(now time.Time) time.Time {
	if request := p.agent.Annotations[v1alpha1.AnnotationReconcileAt]; p.memory.request != request || p.memory.requestAt.IsZero() {
		p.memory.request, p.memory.requestAt = request, now
	}
	return p.memory.requestAt
}

// mustRead leaves a changed Secret out: its keeper asks the service itself, and is not misled by a cache that lags.
func (p *pass) mustRead() bool {
	status, memory := &p.agent.Status, p.memory
	asked := !p.Clock.Now().Before(memory.due) || status.LastHandledReconcileAt != p.agent.Annotations[v1alpha1.AnnotationReconcileAt]
	return memory.confirmed != status.ID || memory.confirmedAt != p.place || asked && len(memory.resend) == 0
}

// read asks the service for the remote agent. One that is gone is registered anew where that is ours to do.
func (p *pass) read(ctx context.Context) error {
	status := &p.agent.Status
	remote, err := p.project.Get(ctx, p.caller(), status.ID)
	if err != nil {
		if gone, err := p.provesGone(ctx, status.ID, err); !gone {
			return err
		}
		return p.gone()
	}
	if remote.MachineID != status.MachineID {
		p.memory.confirmed = "" // Nothing is sent until a read shows that it is ours.
		return fault.Terminalf(v1alpha1.ReasonRemoteMismatch,
			"the remote agent %s shows another machine ID than it was registered with: check spec.projectRef and the CloudProject's url",
			status.ID)
	}
	if !p.entitled(remote, p.intent()) {
		p.memory.confirmed = ""
		return p.notEntitled()
	}
	if err := p.unclaimed(ctx, remote); err != nil {
		return err
	}
	p.recorded(ctx, remote.ID, remote.MachineID)
	p.remote, p.token = remote, remote.Token
	p.memory.differs = false
	p.project.Seen(p.agent.UID, remote.ID)
	return nil
}

// proved reports whether a remote agent that is not found in this place is known to have been there.
func (p *pass) proved() bool {
	status, place := &p.agent.Status, p.place
	if (connection.Endpoint{URL: status.URL, ProjectID: status.ProjectID}) != place {
		return false
	}
	// A token that does not tell its project may be another project's; then only what was seen with it counts.
	return p.project.Vouched() ||
		p.memory.confirmed == status.ID && p.memory.confirmedAt == place && p.memory.confirmedBy == p.credential()
}

// credential tells the project token of now from others.
func (p *pass) credential() string { return p.project.Sign("") }

// gone handles a remote agent that the service says it does not have.
func (p *pass) gone() error {
	status, now := &p.agent.Status, p.Clock.Now()
	switch {
	case p.project.Version() != p.placed:
		return p.outdated()
	case !p.proved():
		return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
			"the service at %s does not have agent %s, which was seen last at %s in project %q: "+
				"correct the CloudProject's url or token, or spec.projectRef",
			p.place.URL, status.ID, status.URL, status.ProjectID)
	case status.Origin != v1alpha1.OriginRegistered || p.agent.Spec.AgentID != "":
		return fault.Terminalf(v1alpha1.ReasonRemoteNotFound,
			"the agent %s that was taken over is no more: delete this Agent, or create one that registers", status.ID)
	case p.memory.goneAt.IsZero():
		p.memory.goneAt = now
		fallthrough
	case now.Sub(p.memory.goneAt) < p.Settings.GoneDelay:
		return fault.Retryablef(v1alpha1.ReasonRemoteDeleted,
			"the remote agent %s is gone; after a second look it is registered anew", status.ID).After(p.Settings.GoneDelay)
	}
	since := p.memory.goneAt
	if at := p.memory.unlistedAt; !at.IsZero() {
		since = at
	}
	if err := p.project.Gone(p.caller(), since); err != nil {
		return err
	}
	p.memory.lost, p.memory.lostAt = status.ID, p.place
	// The registration may have to wait, for the rate limit or a list.
	const words = "the remote agent is gone; it is registered anew"
	p.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRemoteDeleted, words)
	p.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonRemoteDeleted, words)
	status.ID, status.Agent, status.Applied = "", nil, v1alpha1.AppliedState{}
	return errMissing
}

// errMissing sends a pass back to its registration: the remote agent is gone for good, and nothing else registers.
var errMissing = errors.New("the remote agent is missing")

// withdraw deletes doubles that this Agent registered, once a read shows that they are just that.
func (p *pass) withdraw(ctx context.Context) error {
	status := &p.agent.Status
	for len(status.DuplicatesToDelete) > 0 && p.agent.Spec.SyncPolicy != v1alpha1.SyncObserve {
		id := status.DuplicatesToDelete[0]
		double, err := p.ours(ctx, id)
		if err != nil {
			return err
		}
		if double != nil && id != status.ID && double.FirstMetricsAddedAt == nil && !p.Settings.ReadOnly {
			if err := p.project.Delete(ctx, p.caller(), id); err != nil {
				if gone, err := p.provesGone(ctx, id, err); !gone {
					return err
				}
			}
			p.tell(withdrawn, id)
		}
		status.DuplicatesToDelete = status.DuplicatesToDelete[1:]
	}
	return nil
}
