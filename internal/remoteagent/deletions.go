/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// endedFor is how long a confirmed deletion counts: Calyptia Cloud may be restored from a backup while the last write fails.
const endedFor = 10 * time.Minute

// deletions are what this process knows of the deletions of the Agent's remote agents.
type deletions struct{ *Task }

// deletion is how far the deletion of a remote agent came. There is one at a time.
func (s deletions) deletion(id string) *deletion {
	s.Known.Absence.deletion = s.begun(id)
	return &s.Known.Absence.deletion
}

// accepted reports whether the API accepted the deletion of a remote agent in this process.
func (s deletions) accepted(id string) bool { return s.begun(id).accepted }

// ended reports whether this process confirmed the deletion of an agent of an Agent that is being deleted: whoever writes that Agent all
// the time has the write after it conflict, and no request follows from that.
func (s deletions) ended(id string) bool {
	return s.Clock.Now().Before(s.Known.Absence.ended[s.deletionOf(id)].Add(endedFor))
}

// end records that a remote agent is deleted, also in the snapshots. While the Agent stays, a later list may show it again.
func (s deletions) end(id string) {
	s.Project.Drop(id)
	if !s.Deleting() {
		return
	}
	a := &s.Known.Absence
	if a.ended == nil || len(a.ended) >= mostMissed {
		a.ended = map[deletionOf]time.Time{}
	}
	a.ended[s.deletionOf(id)] = s.Clock.Now()
}

func (s deletions) deletionOf(id string) deletionOf {
	return deletionOf{Whereabouts{id, s.Endpoint}, s.CloudProject.UID, s.credential}
}

// begun is the deletion of a remote agent as far as it came.
func (s deletions) begun(id string) deletion {
	of := s.deletionOf(id)
	if d := s.Known.Absence.deletion; d.of == of {
		return d
	}
	return deletion{of: of}
}

// unread reports whether the API accepted the deletion of a remote agent, and the rate limit delays the read after it.
func (s deletions) unread(id string) bool { return s.accepted(id) && s.Known.Absence.deletion.unread }

// confirmDeleted reads a remote agent after a response that said it is deleted: a gateway or a portal may have responded in place of the
// API. If the read fails, the next reconciliation repeats the deletion, and its response shows that the agent does not exist. If the rate
// limit delays the read, the next begins with that: an API may accept each deletion.
func (s deletions) confirmDeleted(ctx context.Context, id string) error {
	d := s.deletion(id)
	_, err := Absence{s.Task}.read(ctx, id)
	d.accepted, d.unread = true, agentstatus.CodeOf(err) == fault.Throttled
	if err == nil {
		*d = deletion{of: d.of, shown: d.shown}
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
			"a response said that agent %s is deleted, and the agent still exists: check what is between the operator and Calyptia Cloud", id)
	}
	if missing, err := (Absence{s.Task}).ConfirmsMissing(ctx, id, err); !missing {
		return err
	}
	s.end(id)
	return nil
}
