/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package version

import (
	"runtime/debug"
	"testing"
)

func TestWhatGoKnowsOfABuild(t *testing.T) {
	for _, row := range []struct {
		name string
		info debug.BuildInfo
		want [3]string
	}{
		{"nothing", debug.BuildInfo{}, [3]string{"dev", "unknown", "unknown"}},
		{"a build of a directory", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, [3]string{"dev", "unknown", "unknown"}},
		{"go install", debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, [3]string{"v1.2.3", "unknown", "unknown"}},
		{"a build of a repository", debug.BuildInfo{Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
		}}, [3]string{"dev", "0123", "2026-01-02T03:04:05Z"}},
	} {
		version, commit, date := of(&row.info, "dev", "unknown", "unknown")
		if got := [3]string{version, commit, date}; got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}
