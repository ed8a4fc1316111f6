/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command node is what a Kubernetes node needs beside a container runtime, in one binary: it becomes kubelet,
// kube-proxy, kube-scheduler or node-init after the name that it is called by. Nothing of it is part of the operator.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	var command *cobra.Command
	switch name := filepath.Base(os.Args[0]); name {
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	case "kube-proxy":
		command = proxy.NewProxyCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "node-init":
		fmt.Fprintln(os.Stderr, "node-init:", runNode(os.Args[1:]))
		os.Exit(1)
	default:
		fmt.Fprintf(os.Stderr, "%s: call me kubelet, kube-proxy, kube-scheduler or node-init\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
