/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
)

// Of a configuration that is applied, nobody is asked for more than its hash.
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
		{"a source that is only observed: what the hash is of, nobody knows", func(a *v1alpha1.Agent) {
			from("5", 2)(a)
			a.Spec.SyncPolicy = v1alpha1.SyncObserve
		}, rawconfig.Config{}, true},
		{"a source of another generation", from("5", 1), rawconfig.Config{}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := passOf(row.agent)
			p.base = p.agent.DeepCopy()
			v := &view{versions: map[string]string{"ConfigMap/pipeline": "5"}}
			p.Client, p.APIReader, p.Projects = v, &view{}, connection.NewRegistry(connection.Options{Clock: p.Clock})
			err := p.loadConfig(t.Context())
			if diff := cmp.Diff(row.want, p.config); diff != "" || (err != nil) != row.err {
				t.Errorf("error %v, -want +got:\n%s", err, diff)
			}
		})
	}
}

// A cache that lags costs a second read, and no configuration of before is sent.
func TestAConfigurationIsReadAgainWhereTheCacheLags(t *testing.T) {
	p := passOf()
	live, old := p.agent.DeepCopy(), p.agent.DeepCopy()
	live.Spec.RawConfig, old.Spec.RawConfig = "[INPUT]", "[OUTPUT]"
	sourced := old.DeepCopy()
	sourced.Spec.RawConfig, sourced.Spec.RawConfigFrom = "", configFrom("gone")
	for _, v := range []*view{{agent: live, old: old}, {agent: old, old: live}, {agent: live, old: sourced}} {
		p.APIReader, p.config = v, rawconfig.Config{Hash: cloud.Hash("[INPUT]")}
		if err := p.wholeConfig(t.Context()); err != nil || p.config.Data != "[INPUT]" {
			t.Errorf("%+v, error %v", p.config, err)
		}
	}
}

// What is sent is what the hash told of, or nothing.
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
			p := passOf()
			live := p.agent.DeepCopy()
			row.change(live)
			p.APIReader = &view{agent: live}
			p.config = rawconfig.Config{Hash: cloud.Hash("[INPUT]")}
			err := p.wholeConfig(t.Context())
			if (err == nil) != row.goesOn || err == nil && p.config.Data != "[INPUT]" {
				t.Fatalf("%+v, error %v", p.config, err)
			}
			if err != nil && !classify(err).Quiet {
				t.Errorf("%v is told, though it passes by itself", err)
			}
		})
	}
}
