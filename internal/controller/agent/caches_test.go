/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"fmt"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestCachesBelongToAnAgentNotToItsName(t *testing.T) {
	var m caches
	web, other := types.NamespacedName{Namespace: "shop", Name: "web"}, types.NamespacedName{Namespace: "stop", Name: "web"}
	first := m.of(web, "1")
	first.BackoffFor = "id"
	if m.of(web, "1") != first {
		t.Error("it forgot within one life")
	}
	if m.of(other, "2") == first {
		t.Error("two Agents share a memory")
	}
	if again := m.of(web, "3"); again == first || again.BackoffFor != "" {
		t.Error("a new Agent of the name remembers the former one")
	}
	if len(m.all) != 2 || len(m.uids) != 2 {
		t.Errorf("%d memories under %d names: the former one is kept", len(m.all), len(m.uids))
	}
	if uid, known := m.forget(web); uid != "3" || !known {
		t.Errorf("it forgot %q (%v)", uid, known)
	}
	if uid, known := m.forget(web); uid != "" || known {
		t.Errorf("it forgot %q (%v) twice", uid, known)
	}
	if len(m.all) != 1 || len(m.uids) != 1 {
		t.Errorf("%d memories under %d names are left, want the other Agent's", len(m.all), len(m.uids))
	}
}

func TestCachesMayBeAskedByAllWorkers(t *testing.T) {
	var m caches
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			for i := range 200 {
				key := types.NamespacedName{Namespace: fmt.Sprint(worker), Name: fmt.Sprint(i % 10)}
				m.of(key, types.UID(fmt.Sprint(worker, "-", i))).Timers.Failures++
				if i%3 == 0 {
					m.forget(key)
				}
			}
		})
	}
	workers.Wait()
	if len(m.all) != len(m.uids) {
		t.Errorf("%d memories under %d names", len(m.all), len(m.uids))
	}
}
