/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/options"
	"github.com/calyptia-agent-operator/operator/internal/serving"
)

// addServers adds the servers of the probes and of the metrics, on every replica. They are not those of controller-runtime,
// with which anybody who reaches their ports could use up the operator's memory.
func addServers(ctx context.Context, o *options.Options, mgr manager.Manager) error {
	return errors.Join(addProbes(o.HealthProbeAddress, mgr), addMetrics(ctx, o, mgr))
}

// off is the address that turns a server off.
const off = "0"

// addProbes makes the operator ready once its caches are filled. Readiness does not depend on Calyptia Cloud, nor on
// namespaces without rights: restarting the pod would not help.
func addProbes(address string, mgr manager.Manager) error {
	if address == off {
		return nil
	}
	caches := func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
	mux := http.NewServeMux()
	for path, checks := range map[string]map[string]healthz.Checker{
		"/healthz": {"ping": healthz.Ping},
		"/readyz":  {"caches": caches},
	} {
		handler := http.StripPrefix(path, &healthz.Handler{Checks: checks})
		mux.Handle(path, handler)
		mux.Handle(path+"/", handler) // of a single check
	}
	listener, err := serving.Listen(address)
	if err != nil {
		return fmt.Errorf("the probes cannot be served: %w", err)
	}
	return mgr.Add(serving.New("probes", listener, mux))
}

// addMetrics serves metrics over TLS to authorized readers.
func addMetrics(ctx context.Context, o *options.Options, mgr manager.Manager) error {
	if o.MetricsAddress == off {
		return nil
	}
	log := ctrl.Log.WithName("metrics")
	handler, err := metrics.NewHandler(mgr.GetConfig(), mgr.GetHTTPClient(), log, ctrlmetrics.Registry, serving.Trust)
	if err != nil {
		return err
	}
	config, err := serving.TLSConfig(ctx, log, o.MetricsCertPath)
	if err != nil {
		return err
	}
	listener, err := serving.Listen(o.MetricsAddress)
	if err != nil {
		return fmt.Errorf("the metrics cannot be served: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", handler)
	return mgr.Add(serving.New("metrics", tls.NewListener(listener, config), mux))
}
