/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package schedule

// Standing is what is known of an Agent without asking Calyptia Cloud. It says whether there is anything to do, and
// nothing else does.
type Standing struct {
	// Ready: the status says so, of this generation.
	Ready bool
	// Registered: a remote agent is recorded, and no registration is in doubt.
	Registered bool
	// Fenced: the finalizer is there.
	Fenced bool
	// Applied: this generation, with the configuration's source as it is now.
	Applied bool
	// Handled: no request to reconcile waits.
	Handled bool
	// Written: the status tells what the last check came to.
	Written bool
	// Delayed: an update waits for the rate limit.
	Delayed bool
	// Duplicates are to be deleted.
	Duplicates bool
	// SecretsKept: the Secrets are as they were last found right.
	SecretsKept bool
	// SameEndpoint: the CloudProject still leads to where the remote agent was seen last.
	SameEndpoint bool
}

// UpToDate reports whether there is nothing to do before the next check.
func (s Standing) UpToDate() bool {
	return s.Ready && s.Registered && s.Fenced && s.Applied && s.Handled && s.Written &&
		!s.Delayed && !s.Duplicates && s.SecretsKept && s.SameEndpoint
}

// Checking is what is known when a check is due.
type Checking struct {
	// Verified: this process saw the recorded agent at this endpoint, and found the Secrets right.
	Verified bool
	// Applied: this generation was applied, or sent.
	Applied bool
	// Handled: no request to reconcile waits.
	Handled bool
	// Odd: something about it was found otherwise: drift, ignored fields, duplicates, or that it is missing.
	Odd bool
	// Read: the timers ask for a read.
	Read bool
}

// SnapshotSuffices reports whether a snapshot that shows the agent as declared is enough: nobody asks for more.
func (c Checking) SnapshotSuffices() bool {
	return c.Verified && c.Applied && c.Handled && !c.Odd && !c.Read
}
