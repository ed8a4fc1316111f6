/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// burstWindow is the time after a restart in which a burst would come.
const burstWindow = 10 * time.Second

// catchUp is how long a start may take; it is not part of the steady state.
const catchUp = 5 * time.Second

// lateApplies are made while the operator catches up.
const lateApplies = 5

// restart stops the operator and starts it again over its Agents, and applies a few meanwhile.
func (p *show) restart(ctx context.Context) error {
	p.stopOperator()
	if err := p.begin(ctx); err != nil {
		return err
	}
	before := p.processor()
	began := time.Now()
	ready, err := p.startOperator(ctx)
	if err != nil {
		return err
	}
	late := names("late", lateApplies)
	took, err := p.oneByOne(ctx, p.tracker, late, isReady, p.apply(benchNamespace))
	if err != nil {
		return err
	}
	if err := testenv.Pause(ctx, time.Until(began.Add(ready+burstWindow))); err != nil {
		return err
	}
	if err := p.collected(ctx); err != nil {
		return err
	}
	requests, err := p.fence(ctx)
	if err != nil {
		return err
	}
	r, err := p.end(ctx, "restart", timing{Count: p.N, Seconds: time.Since(began).Seconds()}, before, without(requests, "late-"))
	if err != nil {
		return err
	}
	r.figure("seconds until ready", ready.Seconds())
	r.figure("seconds of the slowest new apply", took.P99)
	r.figure("percent of the fleet that was called", 100*float64(fleetCalled(r.calls))/float64(p.N))
	_, err = p.batch(ctx, p.tracker, late, isGone, p.delete(benchNamespace))
	return err
}

// fleetCalled counts the earlier remote agents that were requested.
func fleetCalled(all []call) int {
	called, made := sets.New[string](), sets.New[string]()
	for _, c := range all {
		switch {
		case c.Method == http.MethodPost && c.Route == cloudtest.RouteAgents:
			made.Insert(c.AgentID)
		case c.Route == cloudtest.RouteAgent:
			called.Insert(c.AgentID)
		}
	}
	return called.Difference(made).Len()
}

// without leaves out the requests that concern Agents with this prefix; their Secrets and events are called after them.
func without(requests []request, prefix string) []request {
	return slices.DeleteFunc(requests, func(w request) bool { return strings.HasPrefix(w.Name, prefix) })
}

// steady gives the operator time to sync its Agents. Nothing changes.
func (p *show) steady(ctx context.Context) error {
	if err := p.setInterval(ctx, p.interval); err != nil {
		return err
	}
	// A new process knows only the new interval, and detects whether Calyptia Cloud lists agents.
	p.stopOperator()
	if _, err := p.startOperator(ctx); err != nil {
		return err
	}
	if err := testenv.Pause(ctx, catchUp); err != nil {
		return err
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	before, began := p.processor(), time.Now()
	if err := testenv.Pause(ctx, p.stretch); err != nil {
		return err
	}
	requests, err := p.fence(ctx)
	if err != nil {
		return err
	}
	r, err := p.end(ctx, "steady", timing{Count: p.N, Seconds: time.Since(began).Seconds()}, before, requests)
	if err != nil {
		return err
	}
	intervals := p.stretch.Seconds() / p.interval.Seconds()
	perHour := 3600 / p.stretch.Seconds() / float64(p.N)
	r.figure("GETs per Agent and interval", r.per(r.Calls[http.MethodGet])/intervals)
	r.figure("list pages per interval", float64(r.Pages)/intervals)
	r.figure("writes per Agent-hour", float64(r.Objects)*perHour)
	r.figure("calls per Agent-hour", float64(len(r.calls))*perHour)
	r.figure("CPU seconds per Agent-hour", r.Burnt["operator"]*perHour)
	r.histogram(began, p.interval, intervals)
	return nil
}

// histogram counts the reads of single agents in twelfths of the interval.
func (r *result) histogram(began time.Time, interval time.Duration, intervals float64) {
	r.Histogram = make([]int, int(math.Ceil(12*intervals)))
	for _, c := range r.calls {
		bucket := int(c.At.Sub(began) * 12 / interval)
		if c.Method == http.MethodGet && c.Route == cloudtest.RouteAgent && bucket >= 0 && bucket < len(r.Histogram) {
			r.Histogram[bucket]++
		}
	}
}
