/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

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
