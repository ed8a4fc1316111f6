/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/time/rate"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// whole is an API that lists all of its tiny agents in one page, whatever it is asked for.
type whole struct{ agents int }

func (w whole) RoundTrip(*http.Request) (*http.Response, error) {
	var body strings.Builder
	for n := range w.agents {
		fmt.Fprintf(&body, `,{"id":"00000000-0000-4000-8000-%012d","machineID":"m","type":"t"}`, n)
	}
	page := "[" + strings.TrimPrefix(body.String(), ",") + "]"
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(page))}, nil
}

// Some thousands of agents in one page are read. Of more than there is memory for, no more is kept than that.
func TestAll_OnePageOfTinyAgents_TakesTheMemoryThatItMay(t *testing.T) {
	list := func(agents int) ([]Entry, error) {
		return reading(t, whole{agents}, float64(rate.Inf)).reader.all(t.Context(), NewMemory(16<<20).Charge(""))
	}
	if entries, err := list(5000); err != nil || len(entries) != 5000 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := list(120_000)
	runtime.ReadMemStats(&after)
	if f, ok := fault.As(err); !ok || f.Reason != v1alpha1.ReasonListTooLarge {
		t.Errorf("got %v", err)
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 150 {
		t.Errorf("a page of 120,000 agents took %d MiB", took)
	}
}
