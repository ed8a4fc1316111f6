/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// lookupPatience is how long a name may take that was missing: the operator looks it up every 30 seconds.
const lookupPatience = patience + 30*time.Second

// fleetStep declares an Agent of a fleet that is created afterwards. The operator finds it while the show goes on.
func (s *show) fleetStep(ctx context.Context) {
	s.sh(ctx, namedAgent)
	s.sh(ctx, `kubectl wait agent store-logs --for=jsonpath='{.status.conditions[?(@.type=="Ready")].reason}'=NameNotFound `+
		fmt.Sprintf("\\\n    --timeout=%v", patience))
	message := s.sh(ctx, `kubectl get agent store-logs -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}{"\n"}'`)
	s.check("it waits, and the message lists the fleets that exist", func() error {
		return errors.Join(contains(message, `no fleet named "stores"`, `"edge"`), equal(s.agent(ctx, "store-logs").Status.ID, ""), s.err)
	})
	if s.err != nil {
		return
	}
	s.say("Somebody creates the fleet in Calyptia Cloud. The operator looks for it every 30 seconds, so the show goes on.")
	s.storesFleet = s.fake.AddNamed(projectID, cloud.Fleets, "stores")
}

func (s *show) fleetFoundStep(ctx context.Context) {
	s.sh(ctx, fmt.Sprintf("kubectl wait agent store-logs --for=condition=Ready --timeout=%v", lookupPatience))
	s.sh(ctx, `kubectl get agent store-logs -o jsonpath='{.status.agent.fleetName}{"  "}{.status.agent.fleetID}{"\n"}'`)
	agent := s.agent(ctx, "store-logs")
	s.check("store-logs is registered, in the fleet with that name", func() error {
		if s.err != nil {
			return s.err
		}
		remote, found := s.fake.Agent(agent.Status.ID)
		if !found || remote.FleetID == nil {
			return errors.New("its remote agent is in no fleet")
		}
		return equal(*remote.FleetID, s.storesFleet)
	})
}
