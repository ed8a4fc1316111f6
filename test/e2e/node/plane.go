/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// startPlane starts the control plane on this machine, at the address at which pods reach it.
func (c *Cluster) startPlane(ctx context.Context) error {
	plane, err := testenv.Start(ctx, testenv.Options{
		Dir: c.slot.path("plane"), Address: c.Address(), Controllers: []string{"*"}, CRDDirs: []string{},
		AuditLog: c.AuditLog(),
		APIServerArgs: map[string][]string{
			"authorization-mode":       {"Node,RBAC"},
			"enable-admission-plugins": {"NodeRestriction"},
			// By default, envtest starts a cluster without ServiceAccounts.
			"disable-admission-plugins":               {"DefaultIngressClass"},
			"kubelet-preferred-address-types":         {"InternalIP"},
			"service-account-max-token-expiration":    {"1h"},
			"service-account-extend-token-expiration": {"false"},
		},
	})
	if err != nil {
		return err
	}
	c.Plane, c.Config, c.Kubeconfig = plane, plane.Config, plane.Kubeconfig
	host, err := url.Parse(plane.Config.Host)
	if err != nil {
		return err
	}
	for _, m := range c.Nodes {
		m.api = net.JoinHostPort(host.Hostname(), host.Port())
	}
	user, err := plane.AddUser("system:kube-scheduler")
	if err != nil {
		return err
	}
	return writeKubeconfig(c.slot.path("kube-scheduler.kubeconfig"), user)
}

// waitForNodes waits until each Node is Ready, and new namespaces can have pods.
func (c *Cluster) waitForNodes(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	for _, m := range c.Nodes {
		err := eventually(ctx, m.Name+" does not become Ready, see "+m.Logs(), 2*time.Minute, func(ctx context.Context) error {
			n, err := client.CoreV1().Nodes().Get(ctx, m.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, condition := range n.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					return nil
				}
			}
			return fmt.Errorf("its conditions are %v", n.Status.Conditions)
		})
		if err != nil {
			return err
		}
	}
	return eventually(ctx, "there is no default ServiceAccount", time.Minute, func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// RotateSigningKey has the API server sign new tokens of ServiceAccounts with a new key. Old tokens stay valid.
func (c *Cluster) RotateSigningKey() error {
	cert, key, err := certutil.GenerateSelfSignedCertKey("service-accounts", nil, nil)
	if err != nil {
		return err
	}
	c.tokenKey = c.slot.path("plane", "new-signer")
	err = errors.Join(os.WriteFile(c.tokenKey+".crt", cert, 0o600), os.WriteFile(c.tokenKey+".key", key, 0o600))
	if err != nil {
		return err
	}
	old := filepath.Join(c.Plane.Env.ControlPlane.APIServer.CertDir, "sa-signer.crt")
	c.Plane.Env.ControlPlane.APIServer.Configure().
		Set("service-account-signing-key-file", c.tokenKey+".key").Set("service-account-key-file", old, c.tokenKey+".crt")
	return c.Plane.RestartAPIServer()
}

// RefuseOldTokens makes the tokens from before RotateSigningKey invalid.
func (c *Cluster) RefuseOldTokens() error {
	c.Plane.Env.ControlPlane.APIServer.Configure().Set("service-account-key-file", c.tokenKey+".crt")
	return c.Plane.RestartAPIServer()
}
