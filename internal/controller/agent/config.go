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
	version := applied.SourceResourceVersion
	switch {
	case spec.RawConfigHash != "":
		p.config = rawconfig.Config{Hash: spec.RawConfigHash}
	case spec.RawConfigFrom != nil && version != "" && version == p.sourceVersion(ctx) && applied.Fields[v1alpha1.FieldRawConfig] != "" &&
		applied.Generation == p.base.Generation && spec.SyncPolicy != v1alpha1.SyncObserve: // Which applies nothing.
		p.config = rawconfig.Config{Hash: applied.Fields[v1alpha1.FieldRawConfig], ResourceVersion: version}
	default:
		p.config, err = rawconfig.Load(ctx, p.APIReader, p.agent)
	}
	return err
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
		case live.UID == p.base.UID && cloud.Hash(config.Data) == p.config.Hash:
			p.config = config
			return nil
		default:
			err = apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("agents").GroupResource(), p.agent.Name, nil)
		}
	}
	return err
}
