/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"fmt"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

const (
	// freeTries is how many registrations in a row may come to nothing without a pause.
	freeTries = 3
	// firstPause is the first pause; it grows twofold up to longestPause.
	firstPause   = time.Minute
	longestPause = 4 * time.Hour
)

// fruitless are registrations in a row that came to nothing. Each may have left a remote agent that nothing shows: a filter may
// imitate the API's refusal, or name another ID. The registrar and the observer own it. Lost: a few registrations without a pause.
type fruitless struct {
	times int
	last  time.Time
	// throttled counts those in a row that the API asked to send later, also where it lists: something on the way may have sent them twice.
	throttled int
	// of is what the last registration depended on: a change of it allows the next at once.
	of  string
	why *fault.Error
	// shown is the machine ID of the agent that the response to the last one named, if that is not the Agent's.
	shown string
	at    connection.Endpoint
}

// triesOf is the row at the endpoint of the reconciliation: what another service refused says nothing of this one.
func triesOf(t *Task) *fruitless {
	f := &t.Known.fruitless
	if f.at != t.Endpoint {
		*f = fruitless{at: t.Endpoint}
	}
	return f
}

// add counts a registration that came to nothing.
func (f *fruitless) add(now time.Time, of string) {
	f.times, f.last, f.of, f.why = f.times+1, now, of, nil
}

// until is the end of the pause before the next registration; zero for none.
func (f *fruitless) until(of string) time.Time {
	if f.times <= freeTries || of != f.of {
		return time.Time{}
	}
	return f.last.Add(min(firstPause<<min(f.times-freeTries-1, 16), longestPause))
}

// occasionOf is a fingerprint of what a user can change to have a registration tried again at once.
func occasionOf(t *Task) string {
	config := ""
	if !t.Deleting() { // It may not be loaded then.
		config = t.Config.Digest() // Its ConfigMap may change for other reasons.
	}
	return cloud.Hash(fmt.Sprint(t.Agent.Generation, " ", t.Deleting(), " ", config, " ", requestOf(t.Agent), " ", t.Endpoint,
		" ", t.credentialNow()))
}

// refusedUnseen counts a refusal in the API's form where no list shows whether it is true.
func (r creation) refusedUnseen(ctx context.Context) {
	if r.facts.Listing == registration.ListingYes {
		return
	}
	f, failure := triesOf(r.Task), *Redactor{r.Task}.Redacted(ctx, agentstatus.Classify(r.why.failure))
	f.add(r.Clock.Now(), occasionOf(r.Task))
	// To wait is asked often, and of all Agents at once.
	if f.times > freeTries || f.times > 1 && failure.Code != fault.Throttled {
		failure.Message += fmt.Sprintf("; refused %d times: check that Calyptia Cloud has no agents with machine ID %s, "+
			"because something in between may refuse what it registered", f.times, r.MachineID())
		if f.times > freeTries {
			failure.Message += "; to register now, give the annotation " + v1alpha1.AnnotationReconcileAt + " a new value"
		}
		r.why.failure = &failure
	}
	f.why = failure.Because(nil) // A later reconciliation may not know what it has to redact.
}

// older refuses an agent that is older than its registration. Where no list shows it before the next, it is counted: it may have been
// registered just now, by a clock that is behind that of the response.
func (r creation) older(id string) error {
	taken := rivals{r.Task}.machineIDTaken(id)
	if r.facts.Listing != registration.ListingYes {
		tries := triesOf(r.Task)
		tries.add(r.Clock.Now(), occasionOf(r.Task))
		tries.why = taken
	}
	return taken
}

// lost counts a registered agent that was found missing.
func (f *fruitless) lost(id string, now time.Time, of string) {
	f.add(now, of)
	f.why = fault.Waitingf(v1alpha1.ReasonRemoteDeleted,
		"the registered agent was soon missing %d times in a row (last %s), so the next registration waits: check what deletes it, and what "+
			"is between the operator and Calyptia Cloud; to register now, give the annotation %s a new value",
		f.times, id, v1alpha1.AnnotationReconcileAt).Coded(fault.RemoteMissing)
}

// lasts ends the row if the registered agent still exists after an interval.
func (f *fruitless) lasts(registered registration.Intent, now time.Time, interval time.Duration) {
	if began, known := registered.Began(now); !known || now.Sub(began) >= interval {
		*f = fruitless{at: f.at}
	}
}
