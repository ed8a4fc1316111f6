/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package tenancy_test attacks what another team owns, with every write that a tenant may make.
package tenancy_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// services are the ways in which the API may treat machine IDs and lists.
var services = []struct {
	name     string
	settings cloudtest.Settings
}{
	{"a list and unique machine IDs", cloudtest.Settings{}},
	{"a list and duplicates", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}},
	{"no list and unique machine IDs", cloudtest.Settings{NoList: true}},
	{"no list and upserts", cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert}},
	{"no list and duplicates", cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble}},
}
