/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
