/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"errors"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/fault"
)

func TestOfTwoFailuresTheOneThatIsRetriedFirstIsReturned(t *testing.T) {
	terminal, other := &fault.Error{Class: fault.Terminal}, &fault.Error{Class: fault.Terminal}
	waiting, read := &fault.Error{Class: fault.Waiting}, errors.New("the API server cannot be reached")
	for _, row := range []struct {
		name       string
		a, b, want error
	}{
		{"none", nil, nil, nil},
		{"the first", terminal, nil, terminal},
		{"the second", nil, terminal, terminal},
		{"two that wait for a user", terminal, other, terminal},
		{"the second is retried first", terminal, waiting, waiting},
		{"the second has no class", terminal, read, read},
		{"the first is retried first", waiting, terminal, waiting},
		{"both are retried", read, waiting, read},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := firstRetried(row.a, row.b); got != row.want { //nolint:errorlint // The very error.
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}
