/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// show is the run of one cell.
type show struct {
	*stage
	tracker *tracker
	fleet   []string
	floor   *floor // nil without one
}

// play runs the selected phases.
func (s *stage) play(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &show{stage: s, fleet: names("agent", s.N), tracker: watch(ctx, s.api, benchNamespace)}
	if s.phases["floor"] {
		p.floor = s.startFloor(ctx, cancel)
	}
	if _, err := s.startOperator(ctx); err != nil {
		return err
	}
	if err := s.projectShows(ctx, "True", ""); err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"register", p.register}, {"update", p.update}, {"drift", p.drift}, {"single", p.single}, {"wake", p.wake},
		{"restart", p.restart}, {"steady", p.steady}, {"delete", p.remove}, {"nodes", p.nodes},
	} {
		if !s.phases[phase.name] {
			continue
		}
		if err := phase.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// paced measures the floor and then the operator in a phase: on a busy machine, only measurements close in time
// compare.
func (p *show) paced(ctx context.Context, phase string, run func() (timing, error)) error {
	var floor *timing
	if p.floor != nil {
		took, err := p.floor.run(ctx, phase)
		if err != nil {
			return err
		}
		floor = &took
	}
	r, err := p.measure(ctx, phase, run)
	if err != nil {
		return err
	}
	if floor != nil {
		r.Floor, r.Ratio = floor, r.PerSecond/floor.PerSecond
		if phase == "single" {
			r.Ratio = r.P99 / floor.P99
		}
		r.CPURatio = floor.processor() / r.timing.processor()
	}
	if p.RateLimit > 0 && phase != "single" {
		r.rateLimit()
	}
	return nil
}

func (p *show) register(ctx context.Context) error {
	err := p.paced(ctx, "register", func() (timing, error) {
		return p.batch(ctx, p.tracker, p.fleet, isReady, p.apply(benchNamespace))
	})
	if err != nil {
		return err
	}
	if p.floor != nil {
		bare, err := p.floor.bare(ctx)
		p.results[len(p.results)-1].figure("floor without applying, per second", bare.PerSecond)
		if err != nil {
			return err
		}
	}
	// Not measured: the first sync, which is hours away here. A change before it reads the agent first.
	mark := p.mark()
	_, err = p.batch(ctx, p.tracker, p.fleet, isHandled(mark), p.poke(benchNamespace, mark))
	return err
}

func (p *show) update(ctx context.Context) error {
	return p.paced(ctx, "update", func() (timing, error) {
		if !p.fromConfigMap {
			return p.batch(ctx, p.tracker, p.fleet, isUpdated, p.change(benchNamespace, 1))
		}
		// One write changes all Agents.
		r, began := p.tracker.round(p.N), time.Now()
		for _, name := range p.fleet {
			p.tracker.expect(r, name, isSourced)
		}
		body, err := json.Marshal(map[string]any{"data": map[string]string{sourceKey: configText(p.rawConfig, 1)}})
		if err != nil {
			return timing{}, err
		}
		path := configMapsPath(benchNamespace) + "/" + sourceName
		if err := p.api.Patch(types.MergePatchType).AbsPath(path).Body(body).Do(ctx).Error(); err != nil {
			return timing{}, err
		}
		if err := p.tracker.wait(ctx, r); err != nil {
			return timing{}, err
		}
		return newTiming(r.last.Sub(began), r.took), nil
	})
}

// drift changes all remote agents externally and requests a sync of each.
func (p *show) drift(ctx context.Context) error {
	if err := p.cloud.drift(ctx, operatorProject); err != nil {
		return err
	}
	mark := p.mark()
	return p.paced(ctx, "drift", func() (timing, error) {
		return p.batch(ctx, p.tracker, p.fleet, isHandled(mark), p.poke(benchNamespace, mark))
	})
}

// single applies one Agent at a time while the operator is otherwise idle.
func (p *show) single(ctx context.Context) error {
	some := names("single", p.singles)
	err := p.paced(ctx, "single", func() (timing, error) {
		return p.oneByOne(ctx, p.tracker, some, isReady, p.apply(benchNamespace))
	})
	if err == nil {
		_, err = p.batch(ctx, p.tracker, some, isGone, p.delete(benchNamespace))
	}
	return err
}

// wake changes the interval of the CloudProject, which all Agents share.
func (p *show) wake(ctx context.Context) error {
	_, err := p.measure(ctx, "wake", func() (timing, error) {
		began := time.Now()
		err := p.setInterval(ctx, 10*time.Minute)
		return timing{Count: p.N, Seconds: time.Since(began).Seconds()}, err
	})
	return err
}

func (p *show) remove(ctx context.Context) error {
	return p.paced(ctx, "delete", func() (timing, error) {
		return p.batch(ctx, p.tracker, p.fleet, isGone, p.delete(benchNamespace))
	})
}

// setInterval changes the interval and waits until it is in force.
func (s *stage) setInterval(ctx context.Context, interval time.Duration) error {
	body := fmt.Appendf(nil, `{"spec":{"resyncInterval":%q}}`, interval)
	if err := s.api.Patch(types.MergePatchType).AbsPath(projectsPath + "/" + projectName).Body(body).Do(ctx).Error(); err != nil {
		return err
	}
	return s.projectShows(ctx, "True", interval.String())
}

// projectShows waits until the CloudProject has this status of Ready and, unless it is empty, this interval.
func (s *stage) projectShows(ctx context.Context, ready, interval string) error {
	return poll(ctx, time.Minute, "the CloudProject is Ready="+ready+" "+interval, func() (bool, error) {
		raw, err := s.api.Get().AbsPath(projectsPath + "/" + projectName).Do(ctx).Raw()
		if err != nil {
			return false, err
		}
		var project struct {
			Status struct {
				ResyncInterval string
				Conditions     []struct{ Type, Status string }
			}
		}
		if err := json.Unmarshal(raw, &project); err != nil {
			return false, err
		}
		for _, c := range project.Status.Conditions {
			if c.Type == "Ready" && c.Status == ready {
				return interval == "" || project.Status.ResyncInterval == interval, nil
			}
		}
		return false, nil
	})
}

func (r *result) figure(name string, value float64) {
	if r.Figures == nil {
		r.Figures = map[string]float64{}
	}
	r.Figures[name] = value
}

// rateLimit compares the calls with what the rate limit permits: the share that was used while there was work, and by
// how many requests it was exceeded. Network and scheduler may cause an excess of one or two.
func (r *result) rateLimit() {
	tokens, least := float64(rateBurst), 0.0
	var before time.Time
	var first, last time.Time
	counted := 0
	for _, c := range r.calls {
		if c.Route == cloudtest.RouteUnknown {
			continue
		}
		if !before.IsZero() {
			tokens = min(rateBurst, tokens+c.At.Sub(before).Seconds()*float64(r.RateLimit))
		}
		before = c.At
		tokens--
		least = min(least, tokens)
		if counted++; counted == rateBurst+1 {
			first = c.At
		}
		last = c.At
	}
	r.figure("calls beyond the rate limit", math.Ceil(math.Abs(least)))
	if counted > rateBurst+1 {
		used := float64(counted-rateBurst-1) / last.Sub(first).Seconds()
		r.figure("share of the permitted rate", used/float64(r.RateLimit))
	}
}
