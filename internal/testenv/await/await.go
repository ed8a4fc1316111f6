/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package await has helpers with which tests wait for a condition, never for a fixed time.
package await

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// Patience is how long a test waits for an expected event. It is long for busy machines; a passing test does not notice.
const Patience = 60 * time.Second

// The pauses between two checks grow from shortest to longest. A check is a read of the API server: eight tests that
// check every 10 ms keep a processor busy.
const shortest, longest = 10 * time.Millisecond, 50 * time.Millisecond

// Eventually waits until check returns nil, or ends the test with the last error.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	Within(t, Patience, what, check)
}

// Within is Eventually with another deadline.
func Within(t testing.TB, patience time.Duration, what string, check func() error) {
	t.Helper()
	err := until(context.Background(), patience, what, func(context.Context) error { return check() })
	if err != nil {
		t.Fatal(err)
	}
}

// Until waits until check returns nil. The error wraps the last error of check; ctx ends the wait early.
func Until(ctx context.Context, what string, check func(context.Context) error) error {
	return until(ctx, Patience, what, check)
}

func until(ctx context.Context, patience time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for pause := shortest; ; pause = min(pause*3/2, longest) {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // Errors from the end of ctx are not informative.
			last = err
		}
		if wait(ctx, pause) != nil {
			return fmt.Errorf("%s: not within %s: %w", what, patience, errors.Join(ctx.Err(), last))
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Closed waits until a channel is closed or sends. explain is added to the failure message.
func Closed[T any](t testing.TB, what string, channel <-chan T, explain func() string) {
	t.Helper()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case <-channel:
	case <-timer.C:
		t.Fatalf("%s: not within %s: %s", what, Patience, explain())
	}
}
