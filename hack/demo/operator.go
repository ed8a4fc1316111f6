/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
)

// systemNamespace is where the operator is installed.
const systemNamespace = "calyptia-agent-operator-system"

// operatorStop is how long the operator may take to shut down.
const operatorStop = 10 * time.Second

// program is a binary, run as a child: the operator, or a Fluent Bit.
type program struct {
	command *exec.Cmd
	child   *process.Child // once it was started
	log     string
	probes  string // host:port of /healthz and /readyz, of the operator
}

// newOperator makes the command line. All paths are relative to the module, so that you can type it. The operator
// impersonates its ServiceAccount, so that a rule that config/rbac lacks shows here.
func newOperator(admin string) (*program, error) {
	kubeconfig := filepath.Join(stageDir, "operator.kubeconfig")
	config, err := clientcmd.LoadFromFile(admin)
	if err != nil {
		return nil, err
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + systemNamespace + ":calyptia-agent-operator-controller-manager"
		user.ImpersonateGroups = []string{"system:serviceaccounts", "system:authenticated"}
	}
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		return nil, err
	}
	probes, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	command := exec.Command("bin/calyptia-agent-operator",
		"--kubeconfig="+kubeconfig,
		"--allowed-hosts=127.0.0.1", "--allow-insecure-http", // the fake cloud's; not for the real one
		"--metrics-bind-address=0", "--health-probe-bind-address="+probes)
	return &program{
		command: command, log: filepath.Join(stageDir, "operator.log"), probes: probes,
	}, nil
}

func (o *program) start() error {
	log, err := os.Create(o.log)
	if err != nil {
		return err
	}
	o.command.Stdout, o.command.Stderr = log, log
	o.child, err = process.Start(o.command, log)
	return err
}

func (o *program) running() bool { return o != nil && o.child != nil && !o.child.Ended() }

// ready waits until the operator reports that it is ready.
func (o *program) ready(ctx context.Context) error { return process.WaitReady(ctx, o.probes, patience) }

// stop asks the operator to exit and waits for it, then kills it.
func (o *program) stop() {
	if o.running() {
		o.child.Stop(operatorStop)
	}
}

// tail shows the end of the log.
func (o *program) tail(out *printer) {
	const lines = 15
	content, err := os.ReadFile(o.log)
	if err != nil {
		return
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	out.say("\nThe last lines of %s:\n%s", o.log, strings.Join(all[max(0, len(all)-lines):], "\n"))
}
