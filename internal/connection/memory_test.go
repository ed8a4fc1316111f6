/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
)

// crowd is an API that lists pages of 9 MiB, and ends each page once all projects are asking, or after a second.
type crowd struct {
	page     []byte
	projects int32
	asking   atomic.Int32
	all      chan struct{}
}

func newCrowd(projects int) *crowd {
	var agents []string
	for i := range 9 {
		agents = append(agents, fmt.Sprintf(`{"id":"00000000-0000-4000-8000-%012d","machineID":"m","type":"fluentbit","rawConfig":"%s"}`,
			i, strings.Repeat("x", 1000<<10)))
	}
	return &crowd{page: []byte("[" + strings.Join(agents, ",") + "]"), projects: int32(projects), all: make(chan struct{})}
}

func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("last") == "1" { // The credential check.
		_, _ = w.Write([]byte(`[{"id":"00000000-0000-4000-8000-000000000001","machineID":"m","type":"fluentbit"}]`))
		return
	}
	if c.asking.Add(1) == c.projects {
		close(c.all)
	}
	_, _ = w.Write(c.page[:len(c.page)-1])
	select {
	case <-c.all:
	case <-time.After(time.Second):
	}
	_, _ = w.Write(c.page[len(c.page)-1:])
}

// All CloudProjects list at once after a start. However many a tenant makes, their pages take bounded memory.
func TestLists_OfManyCloudProjects_TakeBoundedMemory(t *testing.T) {
	const projects = 30
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	w := newWorld(t, cloudtest.Settings{})
	server := httptest.NewServer(newCrowd(projects))
	t.Cleanup(server.Close)
	w.cp.Spec.URL = server.URL
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all []*connection.Connection
	for i := range projects {
		cp := w.cp.DeepCopy()
		cp.UID, cp.Name = types.UID(fmt.Sprint("uid-", i)), fmt.Sprint("project-", i)
		c, err := w.registry.Configure(cp, connection.Credentials{Token: w.token})
		noError(t, err)
		c.Expect(map[string]int{"default": 1})
		noError(t, c.Verify(t.Context()))
		all = append(all, c)
	}
	peak, every := uint64(0), time.NewTicker(10*time.Millisecond)
	defer every.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-every.C {
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
		done := 0
		for _, c := range all {
			if !c.Newest(func(func(string) bool) {}).IsZero() {
				done++
			}
		}
		if done == projects {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d lists are complete", done, projects)
		}
	}
	if peak >>= 20; peak > 240 {
		t.Errorf("%d lists took %d MiB", projects, peak)
	}
}
