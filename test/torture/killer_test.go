/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// killer runs the operator and kills it repeatedly.
type killer struct {
	*world
	rng   *rand.Rand
	kills int
	at    map[moment]int
	// planeDown is above zero while the API server restarts: then the operator may exit, as it would in a pod,
	// which is restarted.
	planeDown atomic.Int64
	gaveUp    int
}

// rampage kills until stop closes, but at least this often.
func (k *killer) rampage(ctx context.Context, stop <-chan struct{}, least int) error {
	for {
		select {
		case <-stop:
			if k.kills >= least {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if err := k.once(ctx); err != nil {
			return err
		}
	}
}

// once starts the operator and kills it: after a while, or at a moment of a registration.
func (k *killer) once(ctx context.Context) error {
	m := moment(k.rng.IntN(int(moments)))
	at := k.places[k.rng.IntN(len(k.places))].faults
	// Some are killed before their caches are filled, some make progress.
	life := time.Duration(float64(4*time.Second) * k.rng.ExpFloat64())
	life = min(max(life, 100*time.Millisecond), 15*time.Second)
	restarting := k.planeDown.Load() > 0
	c, err := k.launch("operator")
	if err != nil {
		return err
	}
	defer c.Kill()
	timer := time.NewTimer(life)
	defer timer.Stop()
	var set *trap
	var sprung <-chan struct{}
	select {
	case <-timer.C:
	case <-c.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	if m != anytime && !c.Ended() {
		set = at.set(m)
		sprung = set.sprung
		defer at.clear(set)
		timer.Reset(3 * time.Second)
		select {
		case <-sprung:
		case <-timer.C:
			m = anytime
		case <-c.Done():
		}
	}
	c.Kill()
	if err := c.exited(); err != nil {
		if !restarting && k.planeDown.Load() == 0 {
			return fmt.Errorf("the operator exited unexpectedly (%w): see %s", err, c.log)
		}
		k.gaveUp++
		return nil
	}
	k.kills++
	k.at[m]++
	return nil
}

// restartAPIServer kills the API server repeatedly.
func (k *killer) restartAPIServer(ctx context.Context, stop <-chan struct{}, rng *rand.Rand, every time.Duration) (int, error) {
	for restarts := 0; ; restarts++ {
		wait := time.Duration(float64(every) * (0.5 + rng.Float64()))
		quit, cancel := context.WithTimeout(ctx, wait)
		select {
		case <-stop:
			cancel()
			return restarts, nil
		case <-quit.Done():
			cancel()
		}
		if ctx.Err() != nil {
			return restarts, ctx.Err()
		}
		if err := k.restart(k.plane); err != nil {
			return restarts, err
		}
	}
}

func (k *killer) restart(plane *testenv.ControlPlane) error {
	k.planeDown.Add(1)
	err := plane.RestartAPIServer()
	// An operator that lost the API server a moment ago may still be about to exit.
	time.AfterFunc(5*time.Second, func() { k.planeDown.Add(-1) })
	return err
}

// chaos runs everything concurrently for a while. The first failure ends it.
func (k *killer) chaos(d time.Duration, leastKills int, runs ...func(context.Context, <-chan struct{}) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := make(chan struct{})
	defer time.AfterFunc(d, func() { close(stop) }).Stop()
	runs = append(runs, func(ctx context.Context, stop <-chan struct{}) error { return k.rampage(ctx, stop, leastKills) })
	failures := make(chan error, len(runs))
	for _, run := range runs {
		go func() {
			err := run(ctx, stop)
			if err != nil {
				cancel()
			}
			failures <- err
		}()
	}
	var all []error
	for range runs {
		if err := <-failures; err != nil && !errors.Is(err, context.Canceled) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}
