/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package testenv

import (
	"errors"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// SharedVariable is the environment variable with the kubeconfig of a control plane that several test packages share,
// or Forbidden. hack/withplane sets it.
const SharedVariable = "OPERATOR_TEST_CONTROL_PLANE"

// Forbidden is the value of SharedVariable under which no control plane starts: `make unit` sets it.
const Forbidden = "none"

var errShared = errors.New("control plane: it is shared with other packages: set Options.Own")

// shareable reports whether the shared control plane is one of these options.
func (o Options) shareable() bool {
	return !o.Own && o.CRDDirs == nil && o.Controllers == nil && len(o.APIServerArgs) == 0 && o.AuditLog == "" &&
		o.Dir == "" && o.Log == nil
}

// join uses the control plane of a kubeconfig. Stop does not stop it: its starter does.
func join(kubeconfig string) (*ControlPlane, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("control plane of %s: %w", SharedVariable, err)
	}
	config.QPS, config.Burst = -1, 0
	assets, err := Assets()
	return &ControlPlane{Config: config, Kubeconfig: kubeconfig, assets: assets}, err
}

// impersonate returns the configuration of a user that an administrator impersonates: only the starter of the control plane
// can sign a certificate.
func (c *ControlPlane) impersonate(name string, groups []string) *rest.Config {
	config := rest.CopyConfig(c.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: groups}
	return config
}
