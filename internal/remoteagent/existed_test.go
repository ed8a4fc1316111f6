/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// An agent is older than the registration only if no clock of the API explains its time: the one that the response shows, or one within
// the slack.
func TestExisted_ByBothClocks(t *testing.T) {
	task := taskFor()
	task.Settings = task.Settings.withDefaults()
	now := task.Clock.Now()
	for _, row := range []struct {
		name               string
		created, responded time.Duration // from now
		undated, want      bool
	}{
		{"registered just now", 0, 0, false, false},
		{"registered before the intent", -10 * time.Second, 0, false, true},
		{"registered just now, by a clock that is behind", -10 * time.Second, -10 * time.Second, false, false},
		{"registered before the intent, by a clock that is ahead", -5 * time.Second, 5 * time.Second, false, true},
		{"perhaps by a clock that is behind", -10 * time.Second, 0, true, false},
		{"registered just now, by a clock that is an hour behind", -time.Hour, -time.Hour, false, false},
		{"long ago", -time.Hour, 0, false, true},
		{"long ago, by a clock that is not shown", -time.Hour, 0, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			made := &cloud.Registered{CreatedAt: now.Add(row.created), RespondedAt: now.Add(row.responded)}
			if row.undated {
				made.RespondedAt = time.Time{}
			}
			if got := (creation{newRegistrar(task, false)}).existed(made, registration.Intent{At: now, First: now}); got != row.want {
				t.Errorf("existed is %v", got)
			}
		})
	}
}
