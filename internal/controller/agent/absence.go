/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// provesGone reports whether the failure of a request proves that a remote agent does not exist. It is the only place
// that says so. The API's own words about the agent are proof. A "not found" that names nothing may come from a gateway
// or a route: then a snapshot that was begun afterwards has to lack the agent, too. Any other failure is returned.
func (p *pass) provesGone(ctx context.Context, id string, failure error) (bool, error) {
	switch {
	case cloud.IsGone(failure):
		return true, nil
	case !cloud.MaybeGone(failure):
		return false, failure
	}
	m := p.memory
	if m.unnamed != id {
		m.unnamed, m.unnamedAt = id, p.Clock.Now()
	}
	lacks, listed, err := p.project.Lacks(ctx, id, m.unnamedAt)
	if err != nil {
		return false, err // A snapshot may take longer than a pass: the next one asks for the same.
	}
	m.unnamed = "" // A second look wants a second snapshot.
	if listed && lacks {
		return true, nil
	}
	return false, fault.Retryablef(v1alpha1.ReasonInvalidResponse,
		"%v, which does not say that agent %s is gone, and nothing else does: "+
			"check the CloudProject's url and what is between it and the operator",
		failure, id).Because(failure)
}
