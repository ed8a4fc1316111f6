/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command controlplane is a Kubernetes control plane for tests in one binary: it becomes etcd, kube-apiserver,
// kube-controller-manager or kubectl after the name that it is called by. Four programs in one share most of
// their code, so it builds once and takes half the space. Nothing of it is part of the operator.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	"github.com/calyptia-agent-operator/operator/hack/controlplane/parent"
)

func main() {
	var command *cobra.Command
	switch name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"); name {
	case "etcd":
		parent.EndWith()
		etcdmain.Main(os.Args)
		return
	case "kube-apiserver":
		parent.EndWith()
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		parent.EndWith()
		command = controllermanager.NewControllerManagerCommand()
	case "kubectl":
		command = kubectl.NewDefaultKubectlCommand()
	default:
		fmt.Fprintf(os.Stderr, "%s: call me etcd, kube-apiserver, kube-controller-manager or kubectl\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
