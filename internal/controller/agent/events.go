/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// happening is something that users are told of, once, by an event and a log line.
type happening struct {
	reason, action, note string
	warning              bool
}

// What can happen to an Agent.
var (
	nothing         = happening{}
	registeredAgent = happening{reason: "Registered", action: "Register", note: "registered as %s"}
	reregistered    = happening{reason: "Reregistered", action: "Register", warning: true,
		note: "the remote agent was gone; registered anew as %s"}
	recovered   = happening{reason: "Recovered", action: "Register", note: "found its remote agent %s again"}
	adopted     = happening{reason: "Adopted", action: "Adopt", note: "took over the remote agent %s"}
	updated     = happening{reason: "Updated", action: "Update", note: "sent %s"}
	corrected   = happening{reason: "DriftCorrected", action: "Update", note: "put back what somebody else changed: %s"}
	drifted     = happening{reason: "Drifted", action: "Observe", note: "somebody else changed %s; the sync policy lets it stand"}
	deleted     = happening{reason: "Deleted", action: "Delete", note: "deleted the remote agent %s"}
	goneAlready = happening{reason: "Deleted", action: "Delete", note: "the remote agent %s was gone already"}
	retained    = happening{reason: "Retained", action: "Delete",
		note: "left the remote agent %s and its Secrets, as the deletion policy says"}
	orphaned = happening{reason: "Orphaned", action: "Delete", warning: true,
		note: "left the remote agent %s behind, as the annotation says"}
	leftBehind = happening{reason: "Orphaned", action: "Delete", warning: true,
		note: "the Agent was removed while it was being registered; delete the remote agent %s in Calyptia Cloud"}
	maybeOrphaned = happening{reason: "MaybeOrphaned", action: "Delete", warning: true,
		note: "a registration was never answered; look for another agent with the machine ID %s in Calyptia Cloud"}
	withdrawn = happening{reason: "DuplicateDeleted", action: "Delete", note: "deleted the double %s", warning: true}
)

// happenings are all of them.
var happenings = []happening{
	registeredAgent, reregistered, recovered, adopted, updated, corrected, drifted, deleted, retained, orphaned, maybeOrphaned, withdrawn,
}

type happened struct {
	happening
	about string
}

func (p *pass) tell(h happening, about ...string) {
	p.events = append(p.events, happened{happening: h, about: strings.Join(about, ", ")})
}

// report emits what happened, after it was recorded.
func (p *pass) report(ctx context.Context) {
	p.told = len(p.events) > 0
	for _, e := range p.events {
		kind := corev1.EventTypeNormal
		if e.warning {
			kind = corev1.EventTypeWarning
		}
		if p.Recorder != nil {
			p.Recorder.Eventf(p.base, nil, kind, e.reason, e.action, e.note, clip(e.about))
		}
		p.count(ctx, e.reason)
		logger(ctx).Info(e.reason, "message", fmt.Sprintf(e.note, clip(e.about)))
	}
	p.events = nil
}

// count counts an event for the Agent's CloudProject, where that exists.
func (p *pass) count(ctx context.Context, reason string) {
	if p.cloudProject == nil {
		_ = p.findProject(ctx) // The cache's word is enough; a deletion may not have needed it.
	}
	p.Metrics.happened(p.cloudProject, reason)
}

// log tells of a failure once, and again when it changes. One that only a person can end is an event, too.
// What ails its CloudProject is that one's to tell, once for all Agents, and so is an outage, until its grace is over.
func (p *pass) log(ctx context.Context, f classed, grace bool, during string) {
	if f.Error == nil {
		if p.memory.logged != "" && !p.told {
			logger(ctx).Info("Goes on")
		}
		p.memory.logged = ""
		return
	}
	text := f.Reason + ": " + f.Message
	outage := grace && p.agent.Status.Applied.Generation == p.agent.Generation || f.is(v1alpha1.ReasonProjectNotReady) ||
		f.is(v1alpha1.ReasonRemoteDeleted) // The registration that follows is told.
	if f.Class == fault.Terminal && f.Message == p.stalled {
		p.memory.logged = text // By an earlier process, perhaps.
	}
	if f.Quiet || outage || text == p.memory.logged {
		logger(ctx).V(1).Info("Not done yet", "class", f.Class, "reason", f.Reason, "message", f.Message, "during", during)
		return
	}
	p.memory.logged = text
	logger(ctx).Info("Not done yet", "class", f.Class, "reason", f.Reason, "message", f.Message)
	if f.Class == fault.Terminal {
		if p.Recorder != nil {
			p.Recorder.Eventf(p.base, nil, corev1.EventTypeWarning, f.Reason, "Reconcile", "%s", bound(f.Message, maxNote))
		}
		p.count(ctx, f.Reason)
	}
}

// maxNote is the longest note that the API server takes in an event, in characters of up to four bytes.
const maxNote = 250

func logger(ctx context.Context) logr.Logger { return log.FromContext(ctx) }
