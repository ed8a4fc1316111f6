/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package version says which build of the operator this is. The linker fills it in.
package version

import "fmt"

// Set by -ldflags at build time.
var (
	// Version is the released version, or dev.
	Version = "dev"
	// Commit is the revision that was built.
	Commit = "unknown"
	// Date is the time of that commit.
	Date = "unknown"
)

// String returns the build in one line, as --version and the log print it.
func String() string {
	return fmt.Sprintf("%s (commit %s, %s)", Version, Commit, Date)
}
