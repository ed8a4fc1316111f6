/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// leads waits until the operator has renewed its lease after a given time, and returns the holder.
func (c *child) leads(after time.Time) string {
	c.Helper()
	var lease coordinationv1.Lease
	c.Eventually("the lease is renewed", func() error {
		select {
		case <-c.Done():
			c.Fatalf("the operator ended:\n%s", c.output())
		default:
		}
		key := client.ObjectKey{Namespace: c.Namespace, Name: "calyptia-agent-operator.cloud.calyptia.com"}
		if err := c.Client.Get(c.Context(), key, &lease); err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" || !lease.Spec.RenewTime.After(after) {
			return fmt.Errorf("it is %+v", lease.Spec)
		}
		return nil
	})
	return *lease.Spec.HolderIdentity
}

// stalling launches an operator that is the leader, behind a wire.
func stalling(t *testing.T, args ...string) (c *child, w *wire, holder string) {
	t.Helper()
	world := harness.New(t, cloudtest.Settings{}, harness.Idle)
	w, through := newWire(t, harness.Plane().Config)
	c = launch(world, kubeconfig(t, through), append([]string{"--leader-elect", "--leader-election-namespace=" + world.Namespace}, args...)...)
	holder = c.leads(time.Time{})
	return c, w, holder
}

// The time exceeds the 10 s of client-go's defaults and the 2 s between two renewals, so that an operator with those
// defaults never survives it.
func TestTheOperatorSurvivesAnAPIServerThatStalls(t *testing.T) {
	t.Parallel()
	c, w, before := stalling(t)
	c.Ready(c.Apply("web"))
	w.stall()
	select {
	case <-c.Done():
		t.Fatalf("the operator ended while the API server stalled:\n%s", c.output())
	case <-time.After(13 * time.Second):
	}
	w.resume()
	if after := c.leads(time.Now()); after != before {
		t.Errorf("%s leads, and %s before", after, before)
	}
	c.Ready(c.Apply("api"))
	if strings.Contains(c.output(), "leader election lost") {
		t.Errorf("it lost the lease:\n%s", c.output())
	}
}

// The flags decide when it exits: after the lease expires, there would be two leaders.
func TestALeaderThatCannotRenewExits(t *testing.T) {
	t.Parallel()
	c, w, _ := stalling(t, "--leader-election-lease-duration=3s", "--leader-election-renew-deadline=2s", "--leader-election-retry-period=200ms")
	c.Ready(c.Apply("web")) // The lease may exist before the operator knows that it has it.
	began := time.Now()
	w.stall()
	c.Eventually("the operator ends", func() error {
		select {
		case <-c.Done():
			return nil
		default:
			return errors.New("it runs")
		}
	})
	if took := time.Since(began); c.Command.ProcessState.ExitCode() != 1 || !strings.Contains(c.output(), "leader election lost") || took > 9*time.Second {
		t.Errorf("after %s it ended with %d and these words:\n%s", took, c.Command.ProcessState.ExitCode(), c.output())
	}
}
