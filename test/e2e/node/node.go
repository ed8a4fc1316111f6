/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package node starts a Kubernetes cluster that runs pods: the control plane for tests, and nodes with kubelet, containerd
// and kube-proxy. It needs Linux and root, and the output of hack/node/build.sh.
//
// Each node has separate namespaces (processes, mounts, network), and its first process ends whenever this one ends.
// So the kernel removes its pods, mounts, interfaces and rules. Only one directory and cgroups without processes can
// remain; the next start removes them.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// Options of a cluster. The zero value is a cluster of one node.
type Options struct {
	// Nodes is the number of nodes, at most 8. Default: 1.
	Nodes int
	// Log is called for each step of the start.
	Log io.Writer
}

// Cluster is a running cluster. Its API server runs on this machine, outside the nodes.
type Cluster struct {
	// Config of an administrator.
	Config *rest.Config
	// Kubeconfig is the path of the kubeconfig of an administrator.
	Kubeconfig string
	// Registry that the nodes pull every image from, whatever its name.
	Registry *Registry
	// Nodes of the cluster.
	Nodes []*Machine
	// Plane is the control plane.
	Plane *testenv.ControlPlane

	slot     *slot
	assets   string
	log      io.Writer
	tokenKey string // path of the key that signs tokens, without the end; empty for the first one
}

// Address of this machine, as pods reach it.
func (c *Cluster) Address() string { return c.Nodes[0].host }

// AuditLog is the path of the API server's audit log.
func (c *Cluster) AuditLog() string { return c.slot.path("audit.log") }

// Start starts a cluster and returns when its nodes are Ready and DNS works. The caller has to call Stop.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	assets, err := requirements()
	if err != nil {
		return nil, err
	}
	s, err := takeSlot()
	if err != nil {
		return nil, err
	}
	c := &Cluster{slot: s, assets: assets, log: options.Log}
	if c.log == nil {
		c.log = io.Discard
	}
	if err := c.start(ctx, max(options.Nodes, 1)); err != nil {
		return nil, errors.Join(fmt.Errorf("node: %w", err), c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, nodes int) error {
	began := time.Now()
	step := func(what string) {
		fmt.Fprintf(c.log, "node: [%5.1fs] %s\n", time.Since(began).Seconds(), what)
	}
	for i := range nodes {
		m, err := c.newMachine(ctx, i)
		if m != nil {
			c.Nodes = append(c.Nodes, m)
		}
		if err != nil {
			return err
		}
		for _, other := range c.Nodes[:i] {
			if err := m.join(ctx, other); err != nil {
				return err
			}
		}
	}
	step("the network is ready")
	var err error
	if c.Registry, err = serveRegistry(c.Address(), c.slot.path("registry")); err != nil {
		return err
	}
	if err := c.startPlane(ctx); err != nil {
		return err
	}
	step("the control plane serves")
	if err := c.pushOwnImages(ctx); err != nil {
		return err
	}
	for _, m := range c.Nodes {
		if err := c.startMachine(m); err != nil {
			return err
		}
	}
	step("the nodes are starting")
	if err := c.waitForNodes(ctx); err != nil {
		return err
	}
	step("the nodes are Ready")
	if err := c.startDNS(ctx); err != nil {
		return err
	}
	step("names are resolved")
	return nil
}

// Stop stops the cluster and removes its files.
func (c *Cluster) Stop() error {
	var errs []error
	for _, m := range c.Nodes {
		errs = append(errs, m.stop())
	}
	if c.Plane != nil {
		errs = append(errs, c.Plane.Stop())
	}
	if c.Registry != nil {
		errs = append(errs, c.Registry.close())
	}
	return errors.Join(append(errs, c.slot.release())...)
}

// Logs is the directory of the output of the programs of a node.
func (m *Machine) Logs() string { return m.path("logs") }

// client is the client of an administrator.
func (c *Cluster) client() (*kubernetes.Clientset, error) { return kubernetes.NewForConfig(c.Config) }

// eventually waits until check returns nil.
func eventually(ctx context.Context, what string, timeout time.Duration, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, errors.Join(last, context.Cause(ctx)))
	}
	return nil
}

// requirements returns the directory of the programs, or an error with what is missing.
func requirements() (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("node: needs root on Linux, for namespaces, mounts and cgroups: use sudo, " +
			"or E2E_KUBECONFIG with an existing cluster, such as kind")
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(testenv.ModuleRoot(), "bin", "node", "current"))
	if err != nil {
		return "", fmt.Errorf("node: its programs are not built, run hack/node/build.sh (once, some minutes): %w", err)
	}
	return dir, nil
}
