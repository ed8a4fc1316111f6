/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/time/rate"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// fat is an API that lists pages of one agent with long texts.
type fat struct {
	pages            int
	cursor           string
	machineID, fleet string
}

func (f fat) RoundTrip(r *http.Request) (*http.Response, error) {
	at := 0
	_, _ = fmt.Sscanf(r.URL.Query().Get("before"), "%d-", &at)
	header := http.Header{}
	if at+1 < f.pages {
		header.Set("Link", fmt.Sprintf(`</agents?before=%d-%s>; rel="next"`, at+1, f.cursor))
	}
	body := fmt.Sprintf(`[{"id":"00000000-0000-4000-8000-%012d","type":"fluentbit","machineID":%q,"fleetID":%q}]`, at, f.machineID, f.fleet)
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// What a server writes into a list is not kept at any length: a list of few agents takes little memory.
func TestAll_LongTexts_AreNotKept(t *testing.T) {
	const pages = 2000
	for name, service := range map[string]fat{
		"machine IDs": {pages: pages, machineID: strings.Repeat("m", 16<<10)},
		"fleets":      {pages: pages, machineID: "m", fleet: strings.Repeat("f", 16<<10)},
		"cursors":     {pages: pages, machineID: "m", cursor: strings.Repeat("c", 4000)},
	} {
		t.Run(name, func(t *testing.T) {
			p := reading(t, service, float64(rate.Inf))
			p.reader.most = 10 * pages
			heap := func() uint64 {
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before := heap()
			var last uint64
			if name == "cursors" {
				ahead := make(chan *fetched, pagesAhead)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go p.reader.fetchAll(ctx, nil, ahead)
				for range pages - 2 {
					<-(<-ahead).read
				}
				last = heap()
			} else {
				entries, err := p.reader.all(t.Context(), NewMemory(0).Charge(""))
				if err != nil || len(entries) != pages {
					t.Fatalf("%d entries, %v", len(entries), err)
				}
				last = heap()
				runtime.KeepAlive(entries)
			}
			if kept := (int64(last) - int64(before)) >> 20; kept > 4 {
				t.Errorf("%d MiB are kept of %d agents", kept, pages)
			}
		})
	}
}

// Small JSON values take many times their bytes once they are decoded.
func TestEntryOf_HugeMetadata_IsNotDecoded(t *testing.T) {
	raw := []byte(`{"machineID":"m","metadata":{"a":[` + strings.Repeat(`{},`, 1<<20) + `{}]}}`)
	var a cloud.Agent
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	entryOf(&a)
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 8 {
		t.Errorf("metadata of 3 MiB took %d MiB", took)
	}
}
