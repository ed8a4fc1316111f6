/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
)

// loadConfig finds the declared configuration. Of one that is applied the hash is enough: the cache leaves the
// rest out, and a source is not read.
func (p *pass) loadConfig(ctx context.Context) (err error) {
	spec, applied := &p.base.Spec, &p.base.Status.Applied
	have := applied.Fields[v1alpha1.FieldRawConfig]
	version, key := applied.SourceResourceVersion, p.digestKey(ctx)
	switch {
	case spec.RawConfigHash != "":
		p.config = rawconfig.Config{Hash: spec.RawConfigHash}
	case spec.RawConfigFrom != nil && version != "" && version == p.sourceVersion(ctx) && have != "" && (key == "" || key.Made(have)) &&
		applied.Generation == p.base.Generation && spec.SyncPolicy != v1alpha1.SyncObserve: // Which applies nothing.
		p.config = rawconfig.Config{Hash: have, Key: key, ResourceVersion: version}
	default:
		p.config, err = rawconfig.Load(ctx, p.APIReader, p.agent)
		p.config.Key = key
		p.rekey(have)
	}
	return err
}

// digestKey is the key for the digest of a configuration from a source; none for one that is declared inline, or where
// the CloudProject is not known yet.
func (p *pass) digestKey(ctx context.Context) rawconfig.Key {
	if p.base.Spec.RawConfigFrom == nil {
		return ""
	}
	if p.project != nil {
		return rawconfig.Key(p.project.DigestKey())
	}
	if p.cloudProject == nil && p.findProject(ctx) != nil {
		return ""
	}
	if shared := p.Projects.Lookup(p.cloudProject.UID); shared != nil {
		return rawconfig.Key(shared.DigestKey())
	}
	return ""
}

// rekey deals with a recorded digest that the key cannot be compared with. One without a key is made anew where it is
// that of the configuration. Of one with a key that is lost nothing can be said: the remote agent is read before
// anything is sent, because it may be as declared.
func (p *pass) rekey(have string) {
	key, fields := p.config.Key, p.agent.Status.Applied.Fields
	switch {
	case key == "" || have == "" || p.config.Data == "" || key.Made(have):
	case have == cloud.Hash(p.config.Data):
		fields[v1alpha1.FieldRawConfig] = p.config.Digest()
	case !rawconfig.Key("").Made(have):
		p.memory.due, p.memory.differs = p.Clock.Now(), true
	}
}

// wholeConfig reads a configuration of which only the hash is known. The hash tells whether it is that: so the API
// server's cache is asked first, at a fraction of what a read of etcd costs it. Nothing but a match is believed of it.
func (p *pass) wholeConfig(ctx context.Context) (err error) {
	if p.config.Hash == "" || p.config.Data != "" {
		return nil
	}
	for _, version := range []string{"0", ""} {
		var live v1alpha1.Agent
		var config rawconfig.Config
		err = p.APIReader.Get(ctx, p.key(), &live, &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: version}})
		if err == nil {
			config, err = rawconfig.Load(ctx, p.APIReader, &live)
		}
		switch {
		case err != nil:
		case live.UID == p.base.UID && p.config.Key.Digest(cloud.Hash(config.Data)) == p.config.Hash:
			config.Key = p.config.Key
			p.config = config
			return nil
		default:
			err = apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("agents").GroupResource(), p.agent.Name, nil)
		}
	}
	return err
}
