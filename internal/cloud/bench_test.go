/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// wire is an agent as the API sends it, with a rawConfig of a size.
func wire(b *testing.B, rawConfig int) []byte {
	b.Helper()
	body, err := json.Marshal(map[string]any{
		"id": fleetID, "token": "agent-token", "name": "web-logs", "machineID": "machine", "type": "fluentbit",
		"version": "v4.0.0", "edition": "community", "status": "healthy", "os": "linux", "arch": "x86_64",
		"flags": []string{"--verbose"}, "tags": []string{}, "metadata": map[string]any{"team": "payments"},
		"rawConfig": strings.Repeat("[INPUT]\n    name dummy\n", rawConfig/23), "fleetID": fleetID,
		"metricsCount": 12345, "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z",
		"firstMetricsAddedAt": "2026-01-01T00:00:00Z", "lastMetricsAddedAt": "2026-01-01T00:00:00Z",
		"environmentName": "default", "unknown": map[string]any{"to": "us"},
	})
	if err != nil {
		b.Fatal(err)
	}
	return body
}

// BenchmarkDecode is what each look at a remote agent costs, and each page of a list.
func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{1 << 10, 4 << 10, 128 << 10} {
		b.Run(fmt.Sprintf("agent/rawConfig=%dKiB", size>>10), func(b *testing.B) {
			body := wire(b, size)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				var agent cloud.Agent
				if err := json.Unmarshal(body, &agent); err != nil || agent.ID != fleetID {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("page/rawConfig=4KiB", func(b *testing.B) {
		one := string(wire(b, 4<<10))
		body := []byte("[" + one + strings.Repeat(","+one, 99) + "]")
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			var page cloud.Page
			if err := page.UnmarshalJSON(body); err != nil || len(page.Agents) != 100 {
				b.Fatal(err)
			}
		}
	})
}
