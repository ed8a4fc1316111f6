/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package e2e_test runs the operator's image as its chart installs it, in pods: on a node that is started here, or on the
// cluster of E2E_KUBECONFIG. The tests use one release after another, and one fake of Calyptia Cloud on this machine.
package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/e2e/node"
)

// site is the environment of the tests.
type site struct {
	node       *node.Cluster // nil on an existing cluster
	config     *rest.Config
	kubeconfig string
	client     client.Client
	kube       *kubernetes.Clientset
	work       string // a directory
	helm       string // path of the program
	kubectl    string
	images     map[string]string // by their names in charts and samples
	cloud      *service
}

var here site

// builtIn is the suffix of the names of tests that need the node that is started here.
const builtIn = "OnTheBuiltInNode"

func TestMain(m *testing.M) {
	flag.Parse()
	ctrllog.SetLogger(logr.Discard())
	// An interrupted test leaves nothing, either.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := make(chan int, 1)
	err := here.start(ctx)
	if err == nil {
		go func() { code <- m.Run() }()
		select {
		case <-ctx.Done():
			err = errors.New("interrupted")
		case failed := <-code:
			if failed != 0 {
				err = errors.New("there are failures")
			}
		}
	}
	stop()
	if err = errors.Join(err, here.end()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

func (s *site) start(ctx context.Context) (err error) {
	if s.work, err = os.MkdirTemp("", "calyptia-e2e-"); err != nil {
		return err
	}
	address := os.Getenv("E2E_ADDRESS")
	if s.kubeconfig = os.Getenv("E2E_KUBECONFIG"); s.kubeconfig != "" {
		address, err = s.useCluster(address)
	} else {
		address, err = s.startNode(ctx)
	}
	if err != nil {
		return err
	}
	if err := s.tools(); err != nil {
		return err
	}
	if err := s.pushImages(ctx); err != nil {
		return err
	}
	s.cloud, err = s.serveCloud(ctx, address)
	return err
}

// startNode starts a cluster and returns the address of this machine there.
func (s *site) startNode(ctx context.Context) (string, error) {
	// Two nodes: the chart spreads its replicas, and one node can be cut off while the other continues.
	cluster, err := node.Start(ctx, node.Options{Nodes: 2, Log: os.Stderr})
	if err != nil {
		return "", err
	}
	s.node, s.config, s.kubeconfig = cluster, cluster.Config, cluster.Kubeconfig
	return cluster.Address(), nil
}

// useCluster uses the cluster of E2E_KUBECONFIG, and skips what is impossible there.
func (s *site) useCluster(address string) (_ string, err error) {
	if os.Getenv("E2E_REGISTRY") == "" || address == "" {
		return "", errors.New("E2E_KUBECONFIG needs E2E_REGISTRY, a registry that the cluster pulls from and this machine may push to, " +
			"such as localhost:5001, and E2E_ADDRESS, the address of this machine as pods reach it")
	}
	if s.config, err = clientcmd.BuildConfigFromFlags("", s.kubeconfig); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "e2e: on the cluster of %s; the tests named ...%s are not part of this run, "+
		"because they kill processes and cut the network of a node\n", s.kubeconfig, builtIn)
	return address, flag.Set("test.skip", builtIn+"$")
}

// tools finds the programs and creates the clients.
func (s *site) tools() (err error) {
	s.config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if s.client, err = client.New(s.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if s.kube, err = kubernetes.NewForConfig(s.config); err != nil {
		return err
	}
	assets, err := testenv.Assets()
	if err != nil {
		return err
	}
	s.kubectl = filepath.Join(assets, "kubectl")
	s.helm, err = tool("helm")
	return err
}

// tool is the path of a program of hack.
func tool(name string) (string, error) {
	command := exec.Command("go", "tool", "-modfile="+filepath.Join(testenv.ModuleRoot(), "hack", name, "go.mod"), "-n", name)
	command.Dir = testenv.ModuleRoot()
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("building %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (s *site) end() error {
	var errs []error
	if s.cloud != nil {
		errs = append(errs, s.cloud.close())
	}
	if s.node != nil {
		errs = append(errs, s.node.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.work))...)
}
