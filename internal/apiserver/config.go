/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package apiserver says how the operator and its commands connect to the API server, and what its errors mean. No other package of the
// operator loads the configuration of a client.
package apiserver

import (
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/calyptia-agent-operator/operator/internal/version"
)

// Config is the configuration of the operator: of the flag --kubeconfig, or of its pod.
func Config() (*rest.Config, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	return Configure(config), nil
}

// ConfigOf is the configuration of a command.
func ConfigOf(kubeconfig clientcmd.ClientConfig) (*rest.Config, error) {
	config, err := kubeconfig.ClientConfig()
	if err != nil {
		return nil, err
	}
	return Configure(config), nil
}

// Configure returns a configuration with what each client of the operator needs.
func Configure(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.UserAgent = "calyptia-agent-operator/" + version.Version
	config.QPS = -1 // The API server's priority and fairness does that better.
	// A policy that only warns about a Secret may repeat it, and a client of controller-runtime logs warnings as they are.
	config.WarningHandler, config.WarningHandlerWithContext = nil, rest.NoWarnings{}
	return config
}
