/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package schedule

// Standing is what is known of an Agent without a request to Calyptia Cloud. It alone decides whether there is anything
// to do.
type Standing struct {
	// Ready: the status says so, for this generation.
	Ready bool
	// Registered: a remote agent is recorded, and no registration is in doubt.
	Registered bool
	// Fenced: the Agent has the finalizer.
	Fenced bool
	// Applied: this generation was applied, with the current configuration source.
	Applied bool
	// Handled: no request to reconcile is open.
	Handled bool
	// Written: the status shows the outcome of the last check.
	Written bool
	// Delayed: an update waits for the rate limit.
	Delayed bool
	// Duplicates are to be deleted.
	Duplicates bool
	// SecretsKept: the Secrets did not change since they were last found correct.
	SecretsKept bool
	// SameEndpoint: the remote agent was last seen at the CloudProject's current endpoint.
	SameEndpoint bool
}

// UpToDate reports whether there is nothing to do before the next check.
func (s Standing) UpToDate() bool {
	return s.Ready && s.Registered && s.Fenced && s.Applied && s.Handled && s.Written &&
		!s.Delayed && !s.Duplicates && s.SecretsKept && s.SameEndpoint
}

// Checking is what is known before a due check.
type Checking struct {
	// Verified: this process saw the recorded agent at this endpoint, and found the Secrets correct.
	Verified bool
	// Applied: this generation was applied, or sent.
	Applied bool
	// Handled: no request to reconcile is open.
	Handled bool
	// Odd: the last check found drift, ignored fields, duplicates, or that the agent is missing.
	Odd bool
	// Read: the timers ask for a read.
	Read bool
}

// SnapshotSuffices reports whether a snapshot that shows the agent as declared is enough.
func (c Checking) SnapshotSuffices() bool {
	return c.Verified && c.Applied && c.Handled && !c.Odd && !c.Read
}
