/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package testenv

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
)

// The stage RequestReceived would only add lines: the request is in the response's line too.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

const loopback = "127.0.0.1"

// prepareDir makes the directories, empty of an earlier run's data.
func (c *ControlPlane) prepareDir() error {
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "controlplane-")
		if err != nil {
			return err
		}
		c.dir, c.removeDir = dir, true
	}
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		return err
	}
	c.dir = dir
	for _, sub := range []string{c.dataDir(), c.certDir()} {
		if err := os.RemoveAll(sub); err != nil {
			return err
		}
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (c *ControlPlane) dataDir() string { return filepath.Join(c.dir, "etcd") }
func (c *ControlPlane) certDir() string { return filepath.Join(c.dir, "certs") }

// configure fills in the envtest environment. It sets every path, so that no variable of the shell changes it.
func (c *ControlPlane) configure(options Options, logs *logs) error {
	if err := os.Setenv(parentVariable, "true"); err != nil {
		return err
	}
	etcdLog, err := logs.open("etcd")
	if err != nil {
		return err
	}
	serverLog, err := logs.open("kube-apiserver")
	if err != nil {
		return err
	}
	existing := false
	c.Env = &envtest.Environment{
		UseExistingCluster:       &existing,
		CRDDirectoryPaths:        options.CRDDirs,
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  stopTimeout,
	}
	plane := &c.Env.ControlPlane
	plane.KubectlPath = filepath.Join(c.assets, "kubectl")
	plane.Etcd = &envtest.Etcd{
		Path: filepath.Join(c.assets, "etcd"), DataDir: c.dataDir(), Out: etcdLog, Err: etcdLog,
	}
	plane.APIServer = &envtest.APIServer{
		Path: filepath.Join(c.assets, "kube-apiserver"), CertDir: c.certDir(), Out: serverLog, Err: serverLog,
	}
	address := cmp.Or(options.Address, loopback)
	port, err := process.FreePort(address)
	if err != nil {
		return err
	}
	plane.APIServer.SecureServing.Address, plane.APIServer.SecureServing.Port = address, strconv.Itoa(port)
	if address != loopback {
		if err := c.serveToPods(address); err != nil {
			return err
		}
	}
	return c.configureAPIServer(options)
}

func (c *ControlPlane) configureAPIServer(options Options) error {
	flags := c.Env.ControlPlane.APIServer.Configure()
	if options.AuditLog != "" {
		policy := filepath.Join(c.dir, "audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
			return fmt.Errorf("audit policy: %w", err)
		}
		log, err := filepath.Abs(options.AuditLog)
		if err != nil {
			return err
		}
		// In megabytes; high, because lines of a rotated log would not be counted.
		flags.Set("audit-policy-file", policy).Set("audit-log-path", log).Set("audit-log-maxsize", "10000")
	}
	for name, values := range options.APIServerArgs {
		flags.Set(name, values...)
	}
	return nil
}
