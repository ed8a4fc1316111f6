/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
)

// LoadConfig finds the declared configuration. Of one that is applied the hash is enough: the cache leaves the
// rest out, and a source is not read.
func (t *Task) LoadConfig(ctx context.Context) (err error) {
	spec, applied := &t.Base.Spec, &t.Base.Status.Applied
	have := applied.Fields[v1alpha1.FieldRawConfig]
	version, key := applied.SourceResourceVersion, t.digestKey(ctx)
	switch {
	case spec.RawConfigHash != "":
		t.Config = rawconfig.Config{Hash: spec.RawConfigHash}
	case spec.RawConfigFrom != nil && version != "" && version == t.SourceVersion(ctx, t.Agent) &&
		have != "" && (key == "" || key.Made(have)) &&
		applied.Generation == t.Base.Generation && spec.SyncPolicy != v1alpha1.SyncObserve: // Which applies nothing.
		t.Config = rawconfig.Config{Hash: have, Key: key, ResourceVersion: version}
	default:
		t.Config, err = rawconfig.Load(ctx, t.APIReader, t.Agent)
		t.Config.Key = key
		t.Reread = rekeyed(t.Config, have, t.Agent.Status.Applied.Fields)
	}
	return err
}

// digestKey is this Agent's key for the digest of a configuration from a source; none for one that is declared inline, or where
// the CloudProject is not known yet.
func (t *Task) digestKey(ctx context.Context) rawconfig.Key {
	if t.Base.Spec.RawConfigFrom == nil {
		return ""
	}
	if t.Project != nil {
		return rawconfig.Key(t.Project.DigestKey()).Of(t.Base.UID)
	}
	if t.CloudProject == nil && t.FindProject(ctx) != nil {
		return ""
	}
	if shared := t.Projects.Lookup(t.CloudProject.UID); shared != nil {
		return rawconfig.Key(shared.DigestKey()).Of(t.Base.UID)
	}
	return ""
}

// rekeyed deals with a recorded digest that the key cannot be compared with. One without a key is made anew where it is
// that of the configuration. Of one with a key that is lost nothing can be said: the remote agent is read before
// anything is sent, because it may be as declared.
func rekeyed(config rawconfig.Config, have string, fields map[string]string) (reread bool) {
	key := config.Key
	switch {
	case key == "" || have == "" || config.Data == "" || key.Made(have):
	case have == cloud.Hash(config.Data):
		fields[v1alpha1.FieldRawConfig] = config.Digest()
	case !rawconfig.Key("").Made(have):
		return true
	}
	return false
}

// WholeConfig reads a configuration of which only the hash is known. The hash tells whether it is that: so the API
// server's cache is asked first, at a fraction of what a read of etcd costs it. Nothing but a match is believed of it.
func (t *Task) WholeConfig(ctx context.Context) (err error) {
	if t.Config.Hash == "" || t.Config.Data != "" {
		return nil
	}
	for _, version := range []string{"0", ""} {
		var live v1alpha1.Agent
		var config rawconfig.Config
		err = t.APIReader.Get(ctx, t.Key(), &live, &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: version}})
		if err == nil {
			config, err = rawconfig.Load(ctx, t.APIReader, &live)
		}
		switch {
		case err != nil:
		case live.UID == t.Base.UID && t.Config.Key.Digest(cloud.Hash(config.Data)) == t.Config.Hash:
			config.Key = t.Config.Key
			t.Config = config
			return nil
		default:
			err = apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("agents").GroupResource(), t.Agent.Name, nil)
		}
	}
	return err
}
