/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/fault"

	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
)

// emit emits the events.
func (f finisher) emit(ctx context.Context) {
	for _, e := range f.Events {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		if f.reconciler.Recorder != nil {
			f.reconciler.Recorder.Eventf(f.Base, nil, kind, e.Reason, e.Action, e.Note, agentstatus.Clip(e.About))
		}
		f.count(ctx, e.Reason)
		remoteagent.Logger(ctx).Info(e.Reason, "message", fmt.Sprintf(e.Note, agentstatus.Clip(e.About)))
	}
}

// count counts an event for the Agent's CloudProject, if it exists.
func (f finisher) count(ctx context.Context, reason string) {
	if f.CloudProject == nil {
		_ = f.FindProject(ctx) // The cache is enough; a deletion may not have read it.
	}
	f.reconciler.Metrics.Happened(ctx, f.CloudProject, f.Agent.Namespace, reason)
}

// log logs a failure once, and again when it changes. One that requires user action is also an event. A
// failure of the CloudProject is logged there, once for all Agents, and so is an outage within its grace period.
func (f finisher) log(ctx context.Context, failure *fault.Error, grace bool) {
	logged := &f.Known.Logged
	if failure == nil {
		if *logged != "" && len(f.Events) == 0 {
			remoteagent.Logger(ctx).Info("Reconciled after a failure")
		}
		*logged = ""
		return
	}
	text := failure.Reason + ": " + failure.Message
	outage := grace && f.Agent.Status.Applied.Generation == f.Agent.Generation || failure.Code == fault.ProjectNotReady ||
		failure.Code == fault.RemoteMissing // The registration that follows is an event.
	if failure.Class == fault.Terminal && failure.Message == f.stalled {
		*logged = text // By an earlier process, perhaps.
	}
	if failure.Quiet || outage || text == *logged {
		remoteagent.Logger(ctx).V(1).Info("Not reconciled yet", "class", failure.Class, "reason", failure.Reason, "message", failure.Message)
		return
	}
	*logged = text
	remoteagent.Logger(ctx).Info("Not reconciled yet", "class", failure.Class, "reason", failure.Reason, "message", failure.Message)
	if failure.Class == fault.Terminal {
		if f.reconciler.Recorder != nil {
			f.reconciler.Recorder.Eventf(f.Base, nil, corev1.EventTypeWarning, failure.Reason, "Reconcile", "%s",
				agentstatus.Bound(failure.Message, agentstatus.MaxNote))
		}
		f.count(ctx, failure.Reason)
	}
}
