/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// timing is how long a batch of changes took.
type timing struct {
	Count     int
	Seconds   float64
	PerSecond float64
	P50, P99  float64 // seconds from apply to the expected state
	// Burnt is the processor time in seconds until all processes are idle, including garbage collection, by process.
	Burnt map[string]float64
}

// newTiming summarizes completed changes.
func newTiming(elapsed time.Duration, took []time.Duration) timing {
	slices.Sort(took)
	return timing{
		Count: len(took), Seconds: elapsed.Seconds(), PerSecond: float64(len(took)) / elapsed.Seconds(),
		P50: percentile(took, 50), P99: percentile(took, 99),
	}
}

// processor is the processor time of all processes together, for each change.
func (t *timing) processor() float64 {
	sum := 0.0
	for _, seconds := range t.Burnt {
		sum += seconds
	}
	return sum / float64(max(t.Count, 1))
}

func percentile(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Seconds()
}

// result is the result of one phase.
type result struct {
	cell
	Phase string
	timing
	// Floor is the bare client's; Ratio is the operator's rate over its rate; of phase
	// single, the operator's p99 over its p99.
	Floor *timing `json:",omitempty"`
	Ratio float64 `json:",omitempty"`
	// CPURatio is the floor's processor time for each Agent, of all processes, over the operator's. Where processors
	// are the bottleneck it comes near to what Ratio would be on a machine that has nothing else to do.
	CPURatio float64 `json:",omitempty"`
	// Calls of the fake cloud, by method and route; Pages are those of the list.
	Calls       map[string]int
	Pages       int
	Connections int64
	tally
	// RSS and PeakRSS are the operator's, in bytes; the peak is since its start. Live is its heap after its last garbage
	// collection.
	RSS, PeakRSS, Live int64
	// Figures of this phase alone.
	Figures map[string]float64 `json:",omitempty"`
	// Histogram of the reads over the phase, where they have to be spread.
	Histogram []int `json:",omitempty"`

	calls []call
}

// per is a count per Agent.
func (r *result) per(n int) float64 { return float64(n) / float64(max(r.Count, 1)) }

// measure runs a phase of the operator and counts its requests until everything is idle.
func (s *stage) measure(ctx context.Context, phase string, run func() (timing, error)) (*result, error) {
	if err := s.begin(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", phase, err)
	}
	before := s.processor()
	took, err := run()
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", phase, err, s.lastWords())
	}
	requests, err := s.settle(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", phase, err)
	}
	return s.end(ctx, phase, took, before, requests)
}

// begin resets the counters.
func (s *stage) begin(ctx context.Context) error {
	if _, err := s.fence(ctx); err != nil {
		return err
	}
	return s.cloud.reset(ctx)
}

// end reads the counters.
func (s *stage) end(ctx context.Context, phase string, took timing, before map[string]float64, requests []request) (*result, error) {
	took.Burnt = s.since(before)
	r := &result{
		cell: s.cell, Phase: phase, timing: took, Calls: map[string]int{},
		tally: count(requests, operatorAgent),
	}
	got, err := s.cloud.calls(ctx)
	if err != nil {
		return nil, err
	}
	r.calls, r.Connections = got.Calls, got.Connections
	for _, c := range got.Calls {
		switch {
		case c.Route == cloudtest.RouteList && isCredentialCheck(c.Query):
			r.Calls["credential check"]++
		case c.Route == cloudtest.RouteList:
			r.Pages++
		case c.Route == cloudtest.RouteFleets:
			r.Calls["fleets"]++
		default:
			r.Calls[c.Method]++
		}
	}
	if s.operator != nil {
		if r.RSS, r.PeakRSS, err = s.operator.memory(); err != nil {
			return nil, err
		}
		r.Live = s.live()
	}
	s.results = append(s.results, r)
	return r, nil
}

// isCredentialCheck distinguishes the request that verifies the token of a CloudProject from a page of its agents.
func isCredentialCheck(query string) bool { return query == "last=1" }

// settle waits until nobody writes anything and the operator is idle for a while. It returns all requests until
// then.
func (s *stage) settle(ctx context.Context) (all []request, err error) {
	const tick, quietTicks = 200 * time.Millisecond, 5
	quiet, burnt := 0, s.processor()["operator"]
	// The garbage collector deletes 10 to 20 Secrets a second.
	patience := 5*time.Minute + time.Duration(s.N)*100*time.Millisecond
	err = poll(ctx, patience, "nothing is written any more", func() (bool, error) {
		if err := testenv.Pause(ctx, tick); err != nil {
			return false, err
		}
		requests, err := s.fence(ctx)
		if err != nil {
			return false, err
		}
		now := s.processor()["operator"]
		all = append(all, requests...)
		t := count(requests, everybody)
		if quiet++; t.Objects+t.Events+t.Conflicts+t.Refused > 0 || now-burnt > tick.Seconds()/4 {
			quiet = 0
		}
		burnt = now
		return quiet >= quietTicks, nil
	})
	return all, err
}
