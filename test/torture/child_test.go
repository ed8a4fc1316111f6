/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
)

// child is one run of the operator's binary.
type child struct {
	*process.Child
	name   string
	log    string
	probes string // host:port of /healthz and /readyz
}

// launch starts the operator and appends its output to the log of its name. It is killed with the test.
func (w *world) launch(name string, args ...string) (*child, error) {
	probes, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	log := filepath.Join(w.logs, name+".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(file, "=== started at %s\n", time.Now().Format(time.RFC3339Nano)); err != nil {
		return nil, err
	}
	args = append([]string{
		"--kubeconfig=" + w.plane.Kubeconfig, "--cluster-id=" + w.clusterID,
		"--allowed-hosts=127.0.0.1", "--allow-insecure-http",
		"--metrics-bind-address=0", "--health-probe-bind-address=" + probes,
	}, args...)
	if w.among {
		var watched []string
		for _, p := range w.places {
			watched = append(watched, p.namespaces()...)
		}
		args = append(args, "--watch-namespaces="+strings.Join(watched, ","))
	}
	if !*realTimes {
		args = append(args, "--registration-slack="+shortSlack.String())
	}
	command := exec.Command(binary, args...)
	command.Stdout, command.Stderr = file, file
	started, err := process.Start(command, file)
	return &child{name: name, Child: started, log: log, probes: probes}, err
}

// start launches the operator, or ends the test. The end of the test stops the operator.
func (w *world) start(name string, args ...string) *child {
	w.t.Helper()
	c, err := w.launch(name, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Kill)
	return c
}

// signal sends a signal that the operator may handle.
func (c *child) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := c.Command.Process.Signal(s); err != nil {
		t.Fatalf("%s to %s: %v", s, c.name, err)
	}
}

// exited is how the operator exited unless the test killed it; nil if it runs or was killed.
func (c *child) exited() error {
	if !c.Ended() {
		return nil
	}
	if status, ok := c.Command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return nil
	}
	return errors.New(c.Command.ProcessState.String())
}

// ends waits for the operator to exit, and returns its exit code.
func (c *child) ends(t testing.TB, patience time.Duration) int {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Fatalf("%s does not end within %s", c.name, patience)
	}
	return c.Command.ProcessState.ExitCode()
}

// panics finds crashes of the operator.
func panics(dir string) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err
	}
	var found []error
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(content) {
			text := string(line)
			if strings.HasPrefix(text, "panic:") || strings.HasPrefix(text, "fatal error:") ||
				strings.Contains(text, "Observed a panic") || strings.Contains(text, "DATA RACE") {
				found = append(found, fmt.Errorf("%s says: %s", log, strings.TrimSpace(text)))
			}
		}
	}
	return errors.Join(found...)
}
