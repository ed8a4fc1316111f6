/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
)

func TestLeases_OfAnAgentThatIsForgotten_AreFree(t *testing.T) {
	var l leases
	web, other := types.NamespacedName{Namespace: "shop", Name: "web"}, types.NamespacedName{Namespace: "shop", Name: "other"}
	machine, agent := leaseOn(connection.Endpoint{}, "machine", "1"), leaseOn(connection.Endpoint{}, "agent", "1")
	for _, what := range []lease{machine, agent, machine} {
		if owner := l.take(what, web); owner != web {
			t.Fatalf("%+v is not its own", what)
		}
	}
	if owner := l.take(machine, other); owner != web {
		t.Errorf("two have it: %v", owner)
	}
	l.drop(web)
	if len(l.owners)+len(l.owned) != 0 {
		t.Errorf("left: %v, %v", l.owners, l.owned)
	}
	if owner := l.take(machine, other); owner != other {
		t.Error("no Agent can get the lease any more")
	}
	l.drop(web) // It must not take what is another's now.
	if owner := l.take(machine, web); owner != other {
		t.Error("the other Agent lost its lease")
	}
	l.seize(machine, web)
	if owner := l.take(machine, other); owner != web {
		t.Error("the rightful owner does not have it")
	}
	l.drop(other)
	if owner := l.take(machine, other); owner != web {
		t.Error("a lease that was seized is dropped with its former owner")
	}
}

// A tenant changes the URL or project of its CloudProject again and again: each change is another endpoint.
func TestLeases_AtManyEndpoints_AreFew(t *testing.T) {
	var l leases
	web := types.NamespacedName{Namespace: "shop", Name: "web"}
	kept := leaseOn(connection.Endpoint{}, "machine", "kept")
	for i := range 10_000 {
		l.take(kept, web)
		l.seize(leaseOn(connection.Endpoint{URL: fmt.Sprint("https://", i)}, "machine", "1"), web)
	}
	if len(l.owners) > mostLeases || len(l.owned[web]) > mostLeases {
		t.Errorf("%d leases, %d of the Agent", len(l.owners), len(l.owned[web]))
	}
	if owner := l.take(kept, types.NamespacedName{Name: "other"}); owner != web {
		t.Error("a lease that is in use was dropped")
	}
}

// Of two Agents with records of one remote agent, the one that has it at this url keeps it, else the older: each pair has one order.
func TestPrecedes_ThisURLFirst_ThenTheOlder(t *testing.T) {
	const here, elsewhere = "https://here.example.com", "https://elsewhere.example.com"
	agent := func(uid types.UID, url string, created time.Time) *v1alpha1.Agent {
		return &v1alpha1.Agent{
			ObjectMeta: metav1.ObjectMeta{UID: uid, CreationTimestamp: metav1.NewTime(created)}, Status: v1alpha1.AgentStatus{URL: url},
		}
	}
	for name, row := range map[string][2]*v1alpha1.Agent{ // The first keeps it.
		"both here":                {agent("b", here, noon), agent("a", here, noon.Add(time.Second))},
		"the younger is here":      {agent("b", here, noon.Add(time.Second)), agent("a", elsewhere, noon)},
		"both elsewhere":           {agent("b", elsewhere, noon), agent("a", elsewhere, noon.Add(time.Second))},
		"created at the same time": {agent("a", here, noon), agent("b", here, noon)},
	} {
		if !precedes(row[0], row[1], here) || precedes(row[1], row[0], here) {
			t.Errorf("%s: they are not in order", name)
		}
	}
}
