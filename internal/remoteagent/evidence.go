/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"slices"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// Evidence collects what shows that a remote agent is this Agent's. The rule itself is registration.Evidence.
type Evidence struct{ *Task }

// Subject is what an Agent's intents are bound to at a URL.
func Subject(a *v1alpha1.Agent, clusterID, url string) registration.Subject {
	return registration.Subject{UID: string(a.UID), URL: url, MachineID: machineID(a, clusterID), Derived: derived(a, clusterID)}
}

func (e Evidence) subject(url string) registration.Subject { return Subject(e.Agent, e.clusterID, url) }

// authentic reports whether this operator wrote the Agent's intent, with the current project token and URL.
func (e Evidence) authentic() bool {
	return e.Intent().Authentic(e.subject(e.Endpoint.URL), e.Project.Sign)
}

// entitled reports whether a remote agent that shows our machine ID is this Agent's, by its record, by the intent that may have created it,
// or by the permission to adopt. It fails where only that entitles to what a registration of another Agent in doubt may have created.
// Nobody else's can have created what was recorded before the url was changed.
func (e Evidence) entitled(ctx context.Context, remote *cloud.Agent, intent registration.Intent) (bool, error) {
	evidence := known(e, remote, intent)
	if !evidence.Entitled() {
		return false, nil
	}
	evidence.MayAdopt = false
	if evidence.Entitled() || remote.ID != "" && remote.ID == e.Agent.Status.ID && (rivals{e.Task}).has(e.Agent) {
		return true, nil
	}
	return true, rivals{e.Task}.unclaimed(ctx, remote)
}

// ensureOurs fails if a remote agent is not this Agent's.
func ensureOurs(ctx context.Context, t *Task, remote *cloud.Agent) error {
	e := Evidence{t}
	ours, err := e.entitled(ctx, remote, e.Intent())
	if err == nil && !ours {
		return e.notEntitled()
	}
	return err
}

func known(e Evidence, remote *cloud.Agent, intent registration.Intent) registration.Evidence {
	registered, differs := e.registeredBy(remote, intent)
	return registration.Evidence{
		Derived:      remote.MachineID == e.derived(),
		MayAdopt:     e.mayAdopt(),
		RecordedHere: e.recordedHere(remote.ID),
		Registered:   registered,
		Differs:      differs,
	}
}

// registeredBy reports whether an authentic intent covers the creation of a remote agent: one that is not spent yet,
// or the one that the status records with this agent, at the endpoint where it was recorded. It also reports whether an agent that is not
// recorded shows another configuration than was sent. A recorded agent may have been changed since.
func (e Evidence) registeredBy(remote *cloud.Agent, intent registration.Intent) (registered, differs bool) {
	url, closed, status := e.Endpoint.URL, ClosedIntent(e.Agent), &e.Agent.Status
	recorded := remote.ID != "" && remote.ID == status.ID && status.Origin == v1alpha1.OriginRegistered
	if recorded {
		intent, url = closed, status.URL
	} else if intent.Spent(closed) {
		return false, false
	}
	registered = remote.MachineID == e.MachineID() && intent.Authentic(e.subject(url), e.Project.Sign) &&
		e.window().Covers(intent, remote.CreatedAt)
	return registered, !recorded && !kept(e.Task, remote.ID, intent) && e.differs(remote, intent)
}

// carried is the closed intent of the record of an agent that moves to the current endpoint. If the current token signed it for the former
// URL, it is signed for the new one, so that it is evidence at the next move, too. Any other stays as it is: a server of the tenant may
// have named the agent since.
func carried(t *Task, id string) registration.Intent {
	closed, status, e := ClosedIntent(t.Agent), &t.Agent.Status, Evidence{t}
	if status.ID != id || status.Origin != v1alpha1.OriginRegistered {
		return closed
	}
	return closed.Moved(e.subject(status.URL), t.Endpoint.URL, t.Project.Sign)
}

// differs reports whether a remote agent as it was read shows another configuration than the registration of an intent sent.
func (e Evidence) differs(remote *cloud.Agent, intent registration.Intent) bool {
	return intent.Excludes(e.sent(remote.RawConfig))
}

// sent is the digest of a configuration for the intent of a registration with a chosen machine ID.
func (e Evidence) sent(config string) string {
	if !e.explicit() {
		return ""
	}
	return e.subject("").Digest(cloud.Hash(config), e.Project.Sign)
}

// kept reports whether this process recorded a remote agent for the open intent, and could not write that. It judged the agent then, and
// may have changed it since.
func kept(t *Task, id string, intent registration.Intent) bool {
	sent := t.Writes.Sent
	return sent != nil && sent.UID == t.Agent.UID && id != "" && sent.Status.ID == id && RecordedEndpoint(sent) == t.Endpoint &&
		IntentOf(sent) == intent
}

// Provisional reports whether only what the remote agent shows makes it this Agent's, because its record is not written yet: it must not
// be changed before that.
func Provisional(t *Task) bool {
	return t.explicit() && !t.mayAdopt() && t.Base.Status.ID != t.Agent.Status.ID
}

// window is when a registration may create its remote agent.
func (e Evidence) window() registration.Window {
	return registration.Window{Post: e.Settings.PostWindow, Slack: e.Settings.Slack}
}

// registeredWithThisToken reports whether the recorded agent, or the missing one that has left duplicates, comes from a registration with
// the current token. Unlike what this process saw, that outlasts it.
func (e Evidence) registeredWithThisToken() bool {
	status := &e.Agent.Status
	if status.ID == "" {
		return ClosedIntent(e.Agent).Authentic(e.subject(status.URL), e.Project.Sign)
	}
	if status.Origin != v1alpha1.OriginRegistered || status.Agent == nil || status.Agent.CreatedAt == nil {
		return false
	}
	recorded := &cloud.Agent{ID: status.ID, MachineID: e.MachineID(), CreatedAt: status.Agent.CreatedAt.Time}
	registered, _ := e.registeredBy(recorded, ClosedIntent(e.Agent))
	return registered
}

// recordedHere reports whether the status records this remote agent, as the Agent's own or as its duplicate, at the
// current endpoint. A record counts only there: elsewhere the same ID may be another agent.
func (e Evidence) recordedHere(id string) bool {
	status := &e.Agent.Status
	return e.records(e.Agent) && id != "" && (status.ID == id || slices.Contains(status.DuplicatesToDelete, id))
}

// ShowToken reads the token of the recorded remote agent, without a change of the record. There is none if a read does not show that the
// agent is this Agent's at this endpoint, and a failure if another Agent has it.
func (e Evidence) ShowToken(ctx context.Context) error {
	remote, err := Observer{e.Task}.Lookup(ctx, e.Agent.Status.ID)
	if err != nil || remote == nil {
		return err
	}
	if ours, err := e.entitled(ctx, remote, e.Intent()); err != nil || !ours {
		return err
	}
	if err := (rivals{e.Task}).unowned(ctx, remote); err != nil {
		return err
	}
	e.SawRead(remote)
	return nil
}

// HeldToken is the token of the recorded agent that a response at this endpoint showed, and that no Secret holds yet.
func (e Evidence) HeldToken() cloud.Token {
	if e.Writes.tokenOf != (Whereabouts{e.Agent.Status.ID, e.Endpoint}) {
		return cloud.Token{}
	}
	return e.Writes.token
}

// mayAdopt reports whether the CloudProject allows this namespace to adopt agents that others registered. While the token that the spec
// names is missing, it allows no other namespace that: the operator's copy may be of another project, for which nobody permitted it.
func (t *Task) mayAdopt() bool {
	return t.CloudProject.Namespace == t.Agent.Namespace ||
		t.CloudProject.Spec.Adoption == v1alpha1.AdoptionAllowed && !t.Known.Barred && (t.Project == nil || !connection.Borrows(t.Project))
}

// withCopy is why an adoption waits that mayAdopt refuses although the CloudProject permits it; nil if it does not.
func withCopy(t *Task) error {
	if t.CloudProject.Spec.Adoption != v1alpha1.AdoptionAllowed || t.Known.Barred {
		return nil
	}
	return fault.Waitingf(v1alpha1.ReasonProjectNotReady,
		"nothing is adopted while CloudProject %s/%s is used with the operator's copy of its token: see its conditions",
		t.CloudProject.Namespace, t.CloudProject.Name)
}

// awaitsToken has a deletion that would leave an agent behind wait for the token that the spec names, if the namespace may adopt with it,
// as long again as for a late response.
func awaitsToken(t *Task, from time.Time) error {
	if deleted := t.Agent.DeletionTimestamp.Time; deleted.After(from) {
		from = deleted
	}
	waits, permitted := fault.As(withCopy(t))
	left := t.Settings.Slack - t.Clock.Since(from)
	if t.mayAdopt() || !permitted || left <= 0 {
		return nil
	}
	return waits.After(left)
}

// mayName reports whether a condition may show the ID of a remote agent: if the namespace may adopt it, or the Agent's spec or status
// has the ID.
func (e Evidence) mayName(id string) bool {
	spec, status := &e.Agent.Spec, &e.Agent.Status
	return id == spec.AgentID || id == status.ID || slices.Contains(status.DuplicatesToDelete, id) || e.mayAdopt()
}

// named adds the ID of a remote agent to a text for a condition, if that may show it.
func (e Evidence) named(what, id string) string {
	if e.mayName(id) {
		return what + " " + id
	}
	return what
}

// notEntitled refuses a remote agent that nothing shows to be this Agent's at this endpoint.
func (e Evidence) notEntitled() error {
	if waits := withCopy(e.Task); waits != nil {
		return waits
	}
	return fault.Terminalf(v1alpha1.ReasonAdoptionNotAllowed,
		"the remote agent is not known to be this Agent's at CloudProject %s/%s, which does not allow this namespace to adopt agents: "+
			"correct spec.projectRef, or set spec.adoption of the CloudProject to Allowed",
		e.CloudProject.Namespace, e.CloudProject.Name)
}
