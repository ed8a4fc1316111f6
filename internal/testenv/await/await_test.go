/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package await

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestUntil_HoldsAtOnce_DoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Until(t.Context(), "it", func(context.Context) error { return nil }); err != nil || !time.Now().Equal(began) {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestUntil_HoldsLater_IsNoticedWithinTheLongestPause(t *testing.T) {
	for _, after := range []time.Duration{time.Millisecond, 200 * time.Millisecond, 10 * time.Second, Patience - longest} {
		synctest.Test(t, func(t *testing.T) {
			began, checks := time.Now(), 0
			err := Until(t.Context(), "it", func(context.Context) error {
				if checks++; time.Since(began) < after {
					return errors.New("not yet")
				}
				return nil
			})
			if late := time.Since(began) - after; err != nil || late > longest {
				t.Errorf("%s: %v, %s late", after, err, late)
			}
			if most := int(after/longest) + 12; checks > most {
				t.Errorf("%s: %d checks, want at most %d", after, checks, most)
			}
		})
	}
}

func TestUntil_NeverHolds_ReturnsTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := Until(t.Context(), "the Agent is Ready", func(ctx context.Context) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errors.New("it is Stalled")
		})
		if err == nil || !strings.Contains(err.Error(), "the Agent is Ready") || !strings.Contains(err.Error(), "it is Stalled") {
			t.Errorf("the error is %v", err)
		}
		if took := time.Since(began); took != Patience {
			t.Errorf("it took %s", took)
		}
	})
}

func TestUntil_ContextEnds_EndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := Until(ctx, "it", func(context.Context) error { return errors.New("not yet") })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
