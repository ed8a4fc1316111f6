/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"slices"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// intent is the registration intent on the Agent, open or closed. Whoever may write the Agent may write it.
func (p *pass) intent() registration.Intent { return intentOf(p.agent) }

func intentOf(a *v1alpha1.Agent) registration.Intent {
	return registration.ParseIntent(a.Annotations[v1alpha1.AnnotationRegistrationIntent])
}

// closed is the intent that was closed last. Only the operator writes it.
func (p *pass) closed() registration.Intent { return closedOf(p.agent) }

func closedOf(a *v1alpha1.Agent) registration.Intent {
	return registration.ParseIntent(a.Status.RegistrationIntent)
}

// open reports whether a registration was begun and its outcome is not recorded.
func (p *pass) open() bool { return registering(p.agent, p.Clock.Now()) }

func registering(a *v1alpha1.Agent, now time.Time) bool {
	intent := intentOf(a)
	return !intent.IsZero() && !intent.Spent(closedOf(a)) && intent.Plausible(now)
}

// closeIntent records that a registration made nothing. Its intent is spent from then on, whoever puts it back. If
// the status cannot be written, the next pass finds the same out.
func (p *pass) closeIntent() { p.agent.Status.RegistrationIntent = p.intent().String() }

// recall closes an intent again whose closing could not be written: this process knows that it made nothing.
func (p *pass) recall() {
	posted := p.memory.posted
	if posted != nil && posted.UID == p.agent.UID && posted.Status.ID == "" && !registering(posted, p.Clock.Now()) &&
		p.open() && intentOf(posted).String() == p.intent().String() {
		p.closeIntent()
	}
}

// subject is what intents of this Agent are bound to at a URL.
func (p *pass) subject(url string) registration.Subject {
	return registration.Subject{UID: string(p.agent.UID), URL: url}
}

// authentic reports whether this operator wrote the Agent's intent, with the project token and the URL of now.
func (p *pass) authentic() bool { return p.intent().Authentic(p.subject(p.place.URL), p.project.Sign) }

func (p *pass) window() registration.Window {
	return registration.Window{Post: p.Settings.PostWindow, Slack: p.Settings.Slack}
}

// entitled reports whether a remote agent that shows our machine ID is this Agent's, by its record, or by the intent
// that is said to have made it.
func (p *pass) entitled(remote *cloud.Agent, intent registration.Intent) bool {
	return registration.Evidence{
		Derived:      remote.MachineID == derivedMachineID(p.Settings.ClusterID, p.key()),
		MayAdopt:     p.mayAdopt(),
		RecordedHere: p.recordedHere(remote.ID),
		Registered:   p.registeredBy(remote, intent),
	}.Entitled()
}

// registeredBy reports whether an authentic intent covers the creation of a remote agent: one that is not spent yet,
// or the very one that the status records this agent with, at the endpoint where it was recorded.
func (p *pass) registeredBy(remote *cloud.Agent, intent registration.Intent) bool {
	url := p.place.URL
	if status := &p.agent.Status; remote.ID != "" && remote.ID == status.ID && status.Origin == v1alpha1.OriginRegistered {
		intent, url = p.closed(), status.URL
	} else if intent.Spent(p.closed()) {
		return false
	}
	return intent.Authentic(p.subject(url), p.project.Sign) && p.window().Covers(intent, remote.CreatedAt)
}

// recordedHere reports whether the status records this remote agent, as the Agent's own or as its duplicate, at the
// endpoint of now. A record counts only there: elsewhere the same ID is somebody else's to say.
func (p *pass) recordedHere(id string) bool {
	status := &p.agent.Status
	here := (connection.Endpoint{URL: status.URL, ProjectID: status.ProjectID}) == p.place
	return here && id != "" && (status.ID == id || slices.Contains(status.DuplicatesToDelete, id))
}

// registeredWith reports whether a remote agent with our machine ID may come from the registration of this intent.
func (p *pass) registeredWith(intent string, createdAt time.Time) bool {
	remote := &cloud.Agent{MachineID: p.machineID(), CreatedAt: createdAt}
	return p.entitled(remote, registration.ParseIntent(intent))
}

// met notes when this process met the nonce first, and returns when it was written.
func (p *pass) met() time.Time {
	now, intent := p.Clock.Now(), p.intent()
	if p.memory.nonce != intent.String() {
		p.memory.nonce, p.memory.nonceAt, p.memory.answered = intent.String(), now, time.Time{}
	}
	began, ok := intent.Began(now)
	if !ok || began.After(p.memory.nonceAt) {
		began = p.memory.nonceAt
	}
	return began
}
