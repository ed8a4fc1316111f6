/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/schedule"
)

// Settings of the controller. Zero times take their defaults.
type Settings struct {
	// DefaultProject is used by Agents without a projectRef; empty for none.
	DefaultProject types.NamespacedName
	// ClusterID makes the derived machine IDs of this cluster its own.
	ClusterID string
	// Shard is what this operator manages.
	Shard projectref.Shard
	// ReadOnly keeps the operator from writing anything remote.
	ReadOnly bool
	// Namespaces that the operator watches; all if empty.
	Namespaces []string
	// Times of the controller.
	Times
}

// Times of the controller.
type Times struct {
	// PostWindow is the time after its intent in which a registration may be under way. Default 20 s.
	PostWindow time.Duration
	// Slack is the time after an intent was written, or first seen by another process, until an empty snapshot is trusted. Default 80 s.
	Slack time.Duration
	// ErrorSlack is the same after the API's own error response. Default 5 s.
	ErrorSlack time.Duration
	// GoneDelay is the time between the two checks that find a remote agent missing. Default 5 s.
	GoneDelay time.Duration
	// OutageGrace is how long an outage leaves an applied Agent Ready. Default 15 min.
	OutageGrace time.Duration
	// VolatileInterval is how often the counters in the status are written. Default 1 h.
	VolatileInterval time.Duration
	// BackoffMin and BackoffMax bound the time between two attempts. Default 1 s and 5 min.
	BackoffMin, BackoffMax time.Duration
}

func (s Settings) withDefaults() Settings {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&s.PostWindow, 20*time.Second)
	set(&s.Slack, 80*time.Second)
	set(&s.ErrorSlack, 5*time.Second)
	set(&s.GoneDelay, 5*time.Second)
	set(&s.OutageGrace, 15*time.Minute)
	set(&s.VolatileInterval, time.Hour)
	set(&s.BackoffMin, time.Second)
	set(&s.BackoffMax, 5*time.Minute)
	return s
}

// Limits are the times that package schedule needs.
func (s Settings) Limits() schedule.Limits {
	return schedule.Limits{BackoffMin: s.BackoffMin, BackoffMax: s.BackoffMax, OutageGrace: s.OutageGrace}
}
