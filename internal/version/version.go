/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package version says which build of the operator this is. The linker fills it in; a build without it, such as by
// go install, is asked what Go knows of it.
package version

import (
	"fmt"
	"runtime/debug"
)

// Set by -ldflags at build time.
var (
	// Version is the released version, or dev.
	Version = "dev"
	// Commit is the revision that was built.
	Commit = "unknown"
	// Date is the time of that commit.
	Date = "unknown"
)

func init() {
	if info, ok := debug.ReadBuildInfo(); ok && Version == "dev" {
		Version, Commit, Date = of(info, Version, Commit, Date)
	}
}

// of is what Go knows of a build, and else what is given.
func of(info *debug.BuildInfo, version, commit, date string) (string, string, string) {
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			commit = setting.Value
		case "vcs.time":
			date = setting.Value
		}
	}
	return version, commit, date
}

// String returns the build in one line, as --version and the log print it.
func String() string {
	return fmt.Sprintf("%s (commit %s, %s)", Version, Commit, Date)
}
