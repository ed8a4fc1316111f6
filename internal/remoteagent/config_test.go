/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
	"github.com/calyptia-agent-operator/operator/internal/testenv/standstill"
)

// If a configuration is applied, only its hash is needed.
func TestAConfigurationThatIsAppliedIsNotRead(t *testing.T) {
	hash := cloud.Hash("[INPUT]")
	from := func(applied string, generation int64) func(*v1alpha1.Agent) {
		return func(a *v1alpha1.Agent) {
			a.Spec.RawConfig, a.Spec.RawConfigFrom = "", configFrom("pipeline")
			a.Status.Applied = v1alpha1.AppliedState{
				Generation: generation, SourceResourceVersion: applied, Fields: map[string]string{"rawConfig": hash},
			}
		}
	}
	for _, row := range []struct {
		name  string
		agent func(*v1alpha1.Agent)
		want  rawconfig.Config
		err   bool
	}{
		{"inline", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "[INPUT]" }, rawconfig.Config{Data: "[INPUT]"}, false},
		{"inline, which the cache left out", func(a *v1alpha1.Agent) { a.Spec.RawConfig, a.Spec.RawConfigHash = "", hash },
			rawconfig.Config{Hash: hash}, false},
		{"a source that did not change", from("5", 2), rawconfig.Config{Hash: hash, ResourceVersion: "5"}, false},
		{"a source that changed is read", from("4", 2), rawconfig.Config{}, true},
		{"a source that was not read yet", from("", 2), rawconfig.Config{}, true},
		{"a source that is only observed: its hash was never applied", func(a *v1alpha1.Agent) {
			from("5", 2)(a)
			a.Spec.SyncPolicy = v1alpha1.SyncObserve
		}, rawconfig.Config{}, true},
		{"a source of another generation", from("5", 1), rawconfig.Config{}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := taskFor(row.agent)
			p.Base = p.Agent.DeepCopy()
			v := &standstill.View{Versions: map[string]string{"ConfigMap/pipeline": "5"}}
			p.Client, p.APIReader, p.Projects = v, &standstill.View{}, connection.NewRegistry(connection.Options{Clock: p.Clock})
			err := p.LoadConfig(t.Context())
			if diff := cmp.Diff(row.want, p.Config); diff != "" || (err != nil) != row.err {
				t.Errorf("error %v, -want +got:\n%s", err, diff)
			}
		})
	}
}

// A cache that lags costs a second read, and no configuration of before is sent.
func TestAConfigurationIsReadAgainWhereTheCacheLags(t *testing.T) {
	p := taskFor()
	live, old := p.Agent.DeepCopy(), p.Agent.DeepCopy()
	live.Spec.RawConfig, old.Spec.RawConfig = "[INPUT]", "[OUTPUT]"
	sourced := old.DeepCopy()
	sourced.Spec.RawConfig, sourced.Spec.RawConfigFrom = "", configFrom("gone")
	for _, v := range []*standstill.View{{Agent: live, Old: old}, {Agent: old, Old: live}, {Agent: live, Old: sourced}} {
		p.APIReader, p.Config = v, rawconfig.Config{Hash: cloud.Hash("[INPUT]")}
		if err := p.WholeConfig(t.Context()); err != nil || p.Config.Data != "[INPUT]" {
			t.Errorf("%+v, error %v", p.Config, err)
		}
	}
}

// Only the configuration with the known hash is sent.
func TestAConfigurationIsReadBeforeItIsSent(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		goesOn bool
	}{
		{"as the cache has it", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "[INPUT]" }, true},
		{"changed meanwhile", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "[OUTPUT]" }, false},
		{"another Agent's", func(a *v1alpha1.Agent) { a.Spec.RawConfig, a.UID = "[INPUT]", "web-2" }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := taskFor()
			live := p.Agent.DeepCopy()
			row.change(live)
			p.APIReader = &standstill.View{Agent: live}
			p.Config = rawconfig.Config{Hash: cloud.Hash("[INPUT]")}
			err := p.WholeConfig(t.Context())
			if (err == nil) != row.goesOn || err == nil && p.Config.Data != "[INPUT]" {
				t.Fatalf("%+v, error %v", p.Config, err)
			}
			if err != nil && !agentstatus.Classify(err).Quiet {
				t.Errorf("%v is reported, though it is retried automatically", err)
			}
		})
	}
}
