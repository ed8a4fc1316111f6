/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// nodeName is the name of one of many nodes.
func nodeName(generation, i int) string { return fmt.Sprintf("node-%d-%d", generation, i) }

// createNodes creates many nodes at once.
func createNodes(w *harness.World, generation, from, to int) {
	var group sync.WaitGroup
	next := make(chan int)
	for range 8 {
		group.Go(func() {
			for i := range next {
				w.NewNode(nodeName(generation, i))
			}
		})
	}
	for i := from; i < to; i++ {
		next <- i
	}
	close(next)
	group.Wait()
}

// secretWrites counts the writes of an operator to Secrets with sessions, and all its other writes.
func secretWrites(w *harness.World) (sessions, others, conflicts int) {
	writes, conflicts := w.API.Writes()
	for _, write := range writes {
		if strings.Contains(write.Path, "/secrets") && (write.Method == http.MethodPatch || strings.Contains(write.Path, "-sessions-")) {
			sessions++
		} else {
			others++
		}
	}
	return sessions, others, conflicts
}

// allReady waits until the sessions of this number of nodes are stored.
func allReady(b *testing.B, w *harness.World, count int) {
	for deadline := time.Now().Add(20 * time.Minute); ; {
		set := w.GetSet("logs")
		if s := set.Status; int(s.Desired) == count && s.Ready == s.Desired && s.UpToDate == s.Desired {
			if ids, strays := w.StoredSessions(set); len(ids) >= count && strays == 0 {
				return
			}
		}
		if time.Now().After(deadline) {
			b.Fatalf("status %+v", set.Status)
		}
		select {
		case <-b.Context().Done():
			b.Fatal("ended")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// BenchmarkAgentSet creates many nodes at once, and replaces a tenth of them. It takes minutes:
//
//	go test ./test/agentset -run '^$' -bench AgentSet/nodes=1000 -benchtime 1x -timeout 1h
func BenchmarkAgentSet(b *testing.B) {
	for _, size := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("nodes=%d", size), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				w := harness.New(b, cloudtest.Settings{})
				w.DaemonSet("fluent-bit")
				createNodes(w, 0, 0, size)
				before := heap()
				b.StartTimer()
				w.AgentSet("logs", "fluent-bit", delay(0), func(set *v1alpha1.AgentSet) {
					set.Spec.Sessions.Shards = int32(1 + size/900)
				})
				allReady(b, w, size)
				b.StopTimer()
				sessions, others, conflicts := secretWrites(w)
				b.ReportMetric(float64(sessions), "session-writes")
				b.ReportMetric(float64(others)/float64(size), "other-writes/node")
				b.ReportMetric(float64(conflicts), "conflicts")
				b.ReportMetric(float64(heap()-before)/float64(size)/1024, "KiB/node")
				b.ReportMetric(float64(w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents))/float64(size), "registrations/node")
				w.API.Reset()
				begun := time.Now()
				createNodes(w, 1, 0, size/10)
				for i := range size / 10 {
					w.RemoveNode(nodeName(0, i))
				}
				allReady(b, w, size)
				b.ReportMetric(time.Since(begun).Seconds(), "s/churn")
				if remote := len(w.Remote()); remote < size {
					b.Errorf("%d remote agents", remote)
				}
			}
		})
	}
}

// heap is the heap in use after a garbage collection.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
