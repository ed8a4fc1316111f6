/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package fault_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/fault"
)

func TestEachClassHasItsConstructor(t *testing.T) {
	for _, row := range []struct {
		name string
		got  *fault.Error
		want fault.Class
	}{
		{"user action is required", fault.Terminalf("Invalid", "field %q: fix it", "a"), fault.Terminal},
		{"an event elsewhere ends it", fault.Waitingf("Invalid", "field %q: fix it", "a"), fault.Waiting},
		{"trying again ends it", fault.Retryablef("Invalid", "field %q: fix it", "a"), fault.Retryable},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := &fault.Error{Class: row.want, Reason: "Invalid", Message: `field "a": fix it`}
			if diff := cmp.Diff(want, row.got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if row.got.Error() != want.Message {
				t.Errorf("it prints %q", row.got.Error())
			}
		})
	}
}

func TestCopiesLeaveTheOriginalUnchanged(t *testing.T) {
	plain := fault.Waitingf("RateLimited", "wait")
	cause := errors.New("secret cause")
	rows := []struct {
		name string
		got  *fault.Error
		want fault.Error
	}{
		{"a time", plain.After(time.Minute), fault.Error{RetryAfter: time.Minute}},
		{"quiet", plain.Quietly(), fault.Error{Quiet: true}},
		{"a cause", plain.Because(cause), fault.Error{Err: cause}},
		{"all of it", plain.After(time.Minute).Quietly().Because(cause), fault.Error{RetryAfter: time.Minute, Quiet: true, Err: cause}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.want.Class, row.want.Reason, row.want.Message = fault.Waiting, "RateLimited", "wait"
			if *row.got != row.want {
				t.Errorf("%#v, want %#v", *row.got, row.want)
			}
		})
	}
	if diff := cmp.Diff(fault.Waitingf("RateLimited", "wait"), plain); diff != "" {
		t.Errorf("the original changed, -want +got:\n%s", diff)
	}
}

func TestTheCauseIsFoundAndNotPrinted(t *testing.T) {
	cause := errors.New("secret cause")
	err := fmt.Errorf("a pass: %w", fault.Retryablef("Unavailable", "try again").Because(cause))
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if got := err.Error(); got != "a pass: try again" {
		t.Errorf("it prints %q", got)
	}
}

func TestAsFindsAFailureInAChain(t *testing.T) {
	f := fault.Terminalf("Invalid", "fix it")
	outer := fault.Waitingf("Outer", "wait").Because(f)
	for _, row := range []struct {
		name string
		err  error
		want *fault.Error
	}{
		{"none in nil", nil, nil},
		{"none in another error", errors.New("other"), nil},
		{"itself", f, f},
		{"wrapped", fmt.Errorf("a: %w", fmt.Errorf("b: %w", f)), f},
		{"joined", errors.Join(errors.New("other"), f), f},
		{"the outer of two", outer, outer},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, ok := fault.As(row.err)
			if ok != (row.want != nil) || got != row.want {
				t.Errorf("found %v: %v, want %v", ok, got, row.want)
			}
		})
	}
}
