/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
)

// LoadConfig finds the declared configuration. If it is applied, its hash is enough: the cache omits the text, and a
// source is not read.
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
		// What Observe records is not applied.
		unchanged := spec.SyncPolicy != v1alpha1.SyncObserve && applied.Generation == t.Base.Generation &&
			version != "" && version == t.Config.ResourceVersion
		t.Reread = rekeyed(t.Config, have, unchanged, func() rawconfig.Key { return formerKey(t) }, t.Agent.Status.Applied.Fields)
	}
	return err
}

// formerKey is digestKey of the CloudProject in the status; empty if its Connection is gone.
func formerKey(t *Task) rawconfig.Key {
	if shared := t.Projects.Lookup(types.UID(t.Base.Status.CloudProjectUID)); shared != nil {
		return rawconfig.Key(shared.DigestKey()).Of(t.Base.UID)
	}
	return ""
}

// StillDeclared fails if the Agent changed since it was read, and its configuration comes from a source, which was read later: what is
// there now may not be for the project that the Agent named before.
func StillDeclared(ctx context.Context, t *Task) error {
	if t.Base.Spec.RawConfigFrom == nil {
		return nil
	}
	live := metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Agent"))
	err := t.APIReader.Get(ctx, t.Key(), &live)
	if err == nil && (live.UID != t.Base.UID || live.Generation != t.Base.Generation) {
		err = apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("agents").GroupResource(), t.Agent.Name, nil)
	}
	return err
}

// digestKey is the key of this Agent for the digest of a configuration from a source. It is empty for an inline configuration, and
// while the CloudProject is unknown.
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

// rekeyed handles a recorded digest that was made with another key, as that of another CloudProject. It is replaced if it matches the
// configuration, without a key or with the former one, or if the configuration is unchanged since. A digest whose key is lost cannot be
// compared: the remote agent, which may be as declared, is read before anything is sent.
func rekeyed(config rawconfig.Config, have string, unchanged bool, former func() rawconfig.Key, fields map[string]string) (reread bool) {
	key := config.Key
	switch {
	case key == "" || have == "" || config.Data == "" || key.Made(have):
	case unchanged, have == cloud.Hash(config.Data), have == former().Digest(cloud.Hash(config.Data)):
		fields[v1alpha1.FieldRawConfig] = config.Digest()
	case !rawconfig.Key("").Made(have):
		return true
	}
	return false
}

// WholeConfig reads a configuration of which only the hash is known. It asks the API server's cache first, which is much
// cheaper than a read from etcd: the hash shows whether the result is current.
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
