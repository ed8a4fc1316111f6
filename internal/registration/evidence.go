/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import "time"

// ClockTolerance is how far the clock of Calyptia Cloud may be behind or ahead of
// the operator's where a creation time is compared with an intent.
const ClockTolerance = 2 * time.Second

// Window is how long after an intent a remote agent may have been created by it.
type Window struct {
	// Post is how long after its intent the request may be sent.
	Post time.Duration
	// Slack is how long a server may take to commit what was sent.
	Slack time.Duration
}

// Covers reports whether a remote agent that was created then may come from the
// attempts of the intent.
func (w Window) Covers(intent Intent, createdAt time.Time) bool {
	return !intent.At.IsZero() &&
		!CreatedBefore(createdAt, intent.First) &&
		!createdAt.After(intent.At.Add(w.Post+w.Slack+ClockTolerance))
}

// Follows reports whether a remote agent with a derived machine ID may have been
// created by the attempts of the intent, or later. Nobody else is entitled to that
// machine ID, so the clock of Calyptia Cloud may be behind by the slack, and may
// show whole seconds only.
func (w Window) Follows(intent Intent, createdAt time.Time) bool {
	return !createdAt.Before(intent.First.Add(-w.Slack).Truncate(time.Second))
}

// CreatedBefore reports whether a remote agent existed before a time, allowing
// for ClockTolerance.
func CreatedBefore(createdAt, at time.Time) bool { return createdAt.Before(at.Add(-ClockTolerance)) }

// Evidence is what is known about an Agent and a remote agent that a read showed
// with the Agent's machine ID. Each field is a fact that the tenant cannot write.
type Evidence struct {
	// Derived: the machine ID is the one derived from cluster, namespace and name.
	Derived bool
	// MayAdopt: the CloudProject allows this namespace to adopt agents.
	MayAdopt bool
	// RecordedHere: the status records this remote agent at this endpoint.
	RecordedHere bool
	// Registered: an intent of this Agent, signed with this project's token, not
	// spent, covers the creation of the remote agent.
	Registered bool
	// Differs: the remote agent does not show the configuration that the registration of that intent sent.
	Differs bool
}

// Entitled reports whether the Agent may use, change and delete the remote agent.
// It is the only such rule; every path asks it before a remote agent is recorded
// or deleted at an endpoint where it was not recorded before.
func (e Evidence) Entitled() bool {
	return e.Derived || e.MayAdopt || e.RecordedHere || e.Registered && !e.Differs
}

// Access says which remote requests an Agent may cause at a CloudProject.
type Access int

const (
	// AccessNone: no request. The Agent owns nothing there that could be found.
	AccessNone Access = iota
	// AccessOwn: only requests about what is verified to be its own.
	AccessOwn
	// AccessFull: all that its spec asks for.
	AccessFull
)

// Standing are the facts that decide about the access of an Agent to a CloudProject.
type Standing struct {
	// Allowed: the CloudProject allows the namespace of the Agent.
	Allowed bool
	// RecordedHere: the status records a remote agent at this endpoint.
	RecordedHere bool
	// IntentAuthentic: an open intent was signed with this project's token.
	IntentAuthentic bool
}

// Access is asked on every path that uses the credentials of a project, deletion
// included. Finalizers and annotations that a tenant writes change nothing here.
func (s Standing) Access() Access {
	switch {
	case s.Allowed:
		return AccessFull
	case s.RecordedHere || s.IntentAuthentic:
		return AccessOwn
	default:
		return AccessNone
	}
}
