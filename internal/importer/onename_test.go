/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Whoever may register an agent chooses its name. One that is what a long name of a node is shortened to does not take the node's place.
func TestInOrder_NameOfAShortenedNode_TwoAgentsHaveTwoNames(t *testing.T) {
	long := strings.Repeat("n", 50) + "." + strings.Repeat("d", 20) + ".example.com"
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	agents := []cloud.Agent{
		{ID: "11111111-7d1c-4b52-9c6e-3a4f7f0f9d11", Name: long, CreatedAt: began},
		{ID: "22222222-7d1c-4b52-9c6e-3a4f7f0f9d11", Name: agentset.Slot(long), CreatedAt: began.Add(time.Hour)},
	}
	o := &options{agentSet: "logs", naming: Naming{Agent: agentset.AgentName, Slot: agentset.Slot}}
	all := o.inOrder(agents)
	if all[0].object == all[1].object {
		t.Fatalf("both are %s", all[0].object)
	}
	at := slices.IndexFunc(all, func(n named) bool { return n.ID == agents[0].ID })
	if got := all[at]; got.object != agentset.AgentName("logs", long) || got.key != long {
		t.Errorf("the node's agent is %s for %q", got.object, got.key)
	}
}
