/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package testenv runs a real control plane (etcd, kube-apiserver, kube-controller-manager) on loopback for tests,
// the demo and the benchmark. The controller manager makes garbage collection and namespace deletion real.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	startTimeout = time.Minute
	// Killed: a graceful shutdown waits for every open watch, and there is nothing to save.
	stopTimeout = time.Nanosecond

	// parentVariable makes the programs of hack/controlplane end with this process, however it ends.
	parentVariable = "CONTROLPLANE_ENDS_WITH_PARENT"
)

// OwnCRDs is the directory of the operator's CRDs.
func OwnCRDs() string { return filepath.Join(ModuleRoot(), "config", "crd", "bases") }

// ForeignCRDs is the directory of the CRDs of Argo CD, Flux and the Prometheus operator, from `make crds`.
func ForeignCRDs() string { return filepath.Join(ModuleRoot(), "bin", "crds") }

// Options say what to start. The zero value suits most tests.
type Options struct {
	// CRDDirs are the directories of the CRDs to install. Default: OwnCRDs.
	CRDDirs []string
	// APIServerArgs are extra flags of the kube-apiserver, by name without dashes.
	APIServerArgs map[string][]string
	// Address at which the API server listens. Default: loopback. Pods can reach any other address.
	Address string
	// Controllers of the kube-controller-manager. Default: garbage collection and namespace deletion;
	// an empty slice that is not nil starts none.
	Controllers []string
	// AuditLog is the path of an audit log at level Metadata. Default: none.
	AuditLog string
	// Dir has the kubeconfig, certificates, data and logs, and is kept. Default: a temporary one that Stop removes.
	Dir string
	// Own requests a separate control plane, for tests that watch all namespaces or break it. Else the shared one is
	// used if SharedVariable names it and no other option is set.
	Own bool
	// Log receives the output of the programs. Default: one file for each in Dir.
	Log io.Writer
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	// Config is an administrator's, without a client-side throttle.
	Config *rest.Config
	// Kubeconfig is the path of an administrator's kubeconfig file.
	Kubeconfig string
	// Env is the envtest environment; nil if the control plane is shared.
	Env *envtest.Environment

	assets    string
	dir       string
	removeDir bool
	manager   *program
	// startManager starts the controller manager, again if it ran before.
	startManager func() error
	closers      []io.Closer
	stopOnce     sync.Once
}

// Start starts a control plane and returns when it serves and the CRDs are established. ctx bounds only the start.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	switch shared := os.Getenv(SharedVariable); {
	case shared == Forbidden:
		return nil, fmt.Errorf("control plane: %s=%s: this package needs one and is no unit test", SharedVariable, Forbidden)
	case shared != "" && options.shareable():
		return join(shared)
	}
	assets, err := Assets()
	if err != nil {
		return nil, err
	}
	if options.CRDDirs == nil {
		options.CRDDirs = []string{OwnCRDs()}
	}
	if options.Controllers == nil {
		options.Controllers = []string{"garbage-collector-controller", "namespace-controller"}
	}
	c := &ControlPlane{assets: assets, dir: options.Dir}
	if err := c.start(ctx, options); err != nil {
		return nil, errors.Join(fmt.Errorf("control plane: %w", err), c.Stop())
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context, options Options) error {
	if err := c.prepareDir(); err != nil {
		return err
	}
	logs := &logs{dir: c.dir, to: options.Log}
	c.closers = append(c.closers, logs)
	if err := c.configure(options, logs); err != nil {
		return err
	}
	if _, err := c.Env.Start(); err != nil {
		return fmt.Errorf("%w%s", err, logs.tail("kube-apiserver"))
	}
	// A copy, because the environment's own configuration is throttled.
	c.Config = rest.CopyConfig(c.Env.Config)
	c.Config.QPS, c.Config.Burst = -1, 0
	if err := c.writeKubeconfig(); err != nil {
		return err
	}
	if err := c.waitReady(ctx); err != nil {
		return fmt.Errorf("%w%s", err, logs.tail("kube-apiserver"))
	}
	// Last: garbage collection discovers kinds that are added later only after half a minute.
	if len(options.Controllers) == 0 {
		return nil
	}
	c.startManager = func() error { return c.startControllerManager(options.Controllers, logs) }
	return c.startManager()
}

// Stop ends everything within a time limit and removes the temporary directory. Calling it again does nothing.
// End managers and clients first, to keep their logs free of refused connections.
func (c *ControlPlane) Stop() (err error) {
	c.stopOnce.Do(func() { err = c.stop() })
	return err
}

func (c *ControlPlane) stop() error {
	var errs []error
	if c.manager != nil {
		errs = append(errs, c.manager.kill())
	}
	if c.Env != nil {
		errs = append(errs,
			ignoreTimeout(c.Env.ControlPlane.APIServer.Stop()),
			ignoreTimeout(c.Env.ControlPlane.Etcd.Stop()))
	}
	for _, closer := range c.closers {
		errs = append(errs, closer.Close())
	}
	if c.removeDir {
		errs = append(errs, removeAll(c.dir))
	}
	return errors.Join(errs...)
}

// RestartAPIServer kills the kube-apiserver and starts it again on the same port and data; it returns when it is ready.
func (c *ControlPlane) RestartAPIServer() error {
	if c.Env == nil {
		return errShared
	}
	server := c.Env.ControlPlane.APIServer
	if err := ignoreTimeout(server.Stop()); err != nil {
		return err
	}
	// Wait for the end of the killed process: its successor exits if the port is taken.
	address := net.JoinHostPort(server.SecureServing.Address, server.SecureServing.Port)
	err := wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, startTimeout, true,
		func(context.Context) (bool, error) {
			listener, err := net.Listen("tcp", address)
			return err == nil && listener.Close() == nil, nil
		})
	if err != nil {
		return fmt.Errorf("control plane: %s stays taken: %w", address, err)
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("control plane: restarting the API server: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return c.waitReady(ctx)
}

// RestartControllerManager kills the kube-controller-manager and starts it again. Its garbage collector does not see that
// an owner was deleted if another object of that name was created before its watch was restored; a restart does.
func (c *ControlPlane) RestartControllerManager() error {
	if c.manager == nil {
		return errShared
	}
	return errors.Join(c.manager.kill(), c.startManager())
}

// Kubectl returns a kubectl command that talks to this control plane as administrator.
func (c *ControlPlane) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(c.assets, "kubectl"), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
	return command
}

// AddUser returns the configuration of a user, without a client-side throttle: with a client certificate, or, on a shared
// control plane, impersonated by the administrator. RBAC decides what the user may do.
func (c *ControlPlane) AddUser(name string, groups ...string) (*rest.Config, error) {
	if c.Env == nil {
		return c.impersonate(name, groups), nil
	}
	user, err := c.Env.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		return nil, fmt.Errorf("control plane: adding user %s: %w", name, err)
	}
	return user.Config(), nil
}

// ignoreTimeout drops envtest's error for a program that it had to kill.
func ignoreTimeout(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "timeout waiting for process") && !strings.Contains(err.Error(), "unable to") {
		return nil
	}
	return err
}

func (c *ControlPlane) waitReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		last = client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the API server is not ready: %w", errors.Join(err, last))
	}
	return nil
}

func (c *ControlPlane) writeKubeconfig() error {
	const name = "admin"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: c.Config.Host, CertificateAuthorityData: c.Config.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: c.Config.CertData, ClientKeyData: c.Config.KeyData,
	}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: "default"}
	config.CurrentContext = name
	c.Kubeconfig = filepath.Join(c.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, c.Kubeconfig); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "ca.crt"), c.Config.CAData, 0o600)
}

// Pause sleeps. It returns an error if the context ends first.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
