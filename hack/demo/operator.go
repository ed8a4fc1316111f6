/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
)

// systemNamespace is where the operator is installed.
const systemNamespace = "calyptia-agent-operator-system"

// operatorStop is how long the operator may take to end by itself.
const operatorStop = 10 * time.Second

// program is a binary, run as a child: the operator, or a Fluent Bit.
type program struct {
	command *exec.Cmd
	log     string
	probes  string // host:port of /healthz and /readyz, of the operator
	done    chan struct{}
}

// newOperator makes the command line; all paths are relative to the module, so that a person can type it. The
// operator may do what its ServiceAccount may, so that a right that config/rbac lacks shows here.
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
	probes, err := freeAddress()
	if err != nil {
		return nil, err
	}
	command := exec.Command("bin/calyptia-agent-operator",
		"--kubeconfig="+kubeconfig,
		"--allowed-hosts=127.0.0.1", "--allow-insecure-http", // the fake cloud's; not for the real one
		"--metrics-bind-address=0", "--health-probe-bind-address="+probes)
	return &program{
		command: command, log: filepath.Join(stageDir, "operator.log"), probes: probes, done: make(chan struct{}),
	}, nil
}

// freeAddress is one that nobody listens on at the moment.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func (o *program) start() error {
	log, err := os.Create(o.log)
	if err != nil {
		return err
	}
	o.command.Stdout, o.command.Stderr = log, log
	o.command.SysProcAttr = childAttributes()
	started := make(chan error, 1)
	go func() {
		defer close(o.done)
		defer log.Close()
		// Where the child ends with its parent, the parent is the thread that started it: this one stays.
		runtime.LockOSThread()
		err := o.command.Start()
		started <- err
		if err == nil {
			_ = o.command.Wait()
		}
	}()
	return <-started
}

func (o *program) running() bool {
	if o == nil {
		return false
	}
	select {
	case <-o.done:
		return false
	default:
		return o.command.Process != nil
	}
}

// ready waits for the operator's own word.
func (o *program) ready(ctx context.Context) error {
	url := "http://" + o.probes + "/readyz"
	last := error(nil)
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		var answer string
		if answer, last = get(ctx, url); last == nil && strings.TrimSpace(answer) != "ok" {
			last = fmt.Errorf("it answers %q", answer)
		}
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("the operator is not ready: %w", last)
	}
	return err
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return string(body), err
}

// stop asks the operator to end and waits for it; one that does not listen is killed.
func (o *program) stop() {
	if !o.running() {
		return
	}
	_ = o.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-o.done:
	case <-time.After(operatorStop):
		_ = o.command.Process.Kill()
		<-o.done
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
