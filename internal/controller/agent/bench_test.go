/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
)

// sizes are a usual Agent, and one as large as the API lets it be.
func sizes(b *testing.B, run func(*testing.B, *v1alpha1.AgentSpec, rawconfig.Config, *cloud.Agent)) {
	usual, config := full()
	b.Run("usual", func(b *testing.B) { run(b, &usual, config, fullRemote()) })

	members := map[string]string{}
	for i := range 256 {
		members[fmt.Sprintf("key-%d", i)] = strings.Repeat("v", 256)
	}
	metadata, err := json.Marshal(members)
	if err != nil {
		b.Fatal(err)
	}
	flags := make([]string, 128)
	for i := range flags {
		flags[i] = strings.Repeat("f", 64)
	}
	large, _ := full(func(s *v1alpha1.AgentSpec) { s.Flags, s.Metadata = flags, object(string(metadata)) })
	config.Data = strings.Repeat("[INPUT]\n    name dummy\n", 128<<10/23)
	remote := fullRemote(func(a *cloud.Agent) {
		a.Flags, a.Metadata, a.RawConfig = flags, metadata, config.Data
		a.Tags = make([]string, 1000)
	})
	b.Run("large", func(b *testing.B) { run(b, &large, config, remote) })
}

// BenchmarkDeclared is what each pass costs to know what is declared: mostly hashing.
func BenchmarkDeclared(b *testing.B) {
	sizes(b, func(b *testing.B, spec *v1alpha1.AgentSpec, config rawconfig.Config, _ *cloud.Agent) {
		b.ReportAllocs()
		b.SetBytes(int64(len(config.Data)))
		for b.Loop() {
			if len(declared(spec, &config)) != 8 {
				b.Fatal("a field is missing")
			}
		}
	})
}

// BenchmarkDiffering compares an Agent with its remote agent that is as declared, field by field.
func BenchmarkDiffering(b *testing.B) {
	sizes(b, func(b *testing.B, spec *v1alpha1.AgentSpec, config rawconfig.Config, remote *cloud.Agent) {
		fields := declared(spec, &config)
		b.ReportAllocs()
		for b.Loop() {
			if len(differing(fields, remote)) != 0 {
				b.Fatal("they differ")
			}
		}
	})
}

// BenchmarkRemoteStatus makes the status of what was read, and finds that nothing is to be written.
func BenchmarkRemoteStatus(b *testing.B) {
	sizes(b, func(b *testing.B, _ *v1alpha1.AgentSpec, _ rawconfig.Config, remote *cloud.Agent) {
		before := v1alpha1.AgentStatus{ID: "id", Agent: remoteStatus(remote)}
		b.ReportAllocs()
		for b.Loop() {
			after := before
			after.Agent = remoteStatus(remote)
			if !equality.Semantic.DeepEqual(before, after) {
				b.Fatal("it would be written")
			}
		}
	})
}

// BenchmarkStatusCompare finds that a whole status, with conditions and the hashes of what was applied, is as it was,
// which is what ends most passes. A copy comes first, because a pass works on one.
func BenchmarkStatusCompare(b *testing.B) {
	sizes(b, func(b *testing.B, spec *v1alpha1.AgentSpec, config rawconfig.Config, remote *cloud.Agent) {
		before := v1alpha1.AgentStatus{
			ID: "id", MachineID: "machine", ObservedGeneration: 1, Agent: remoteStatus(remote),
			Applied: v1alpha1.AppliedState{Generation: 1, Fields: map[string]string{}},
		}
		for _, f := range declared(spec, &config) {
			before.Applied.Fields[f.name] = f.hash
		}
		for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReporting} {
			before.Conditions = append(before.Conditions, metav1.Condition{Type: kind, Status: "True", Reason: "Fine", Message: "All is well"})
		}
		b.ReportAllocs()
		for b.Loop() {
			after := before.DeepCopy()
			if !equality.Semantic.DeepEqual(&before, after) {
				b.Fatal("it would be written")
			}
		}
	})
}
