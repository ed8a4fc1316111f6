/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// program is a child process that envtest does not manage.
type program struct {
	command *exec.Cmd
	done    chan struct{}
	log     func() string
}

func (c *ControlPlane) startControllerManager(controllers []string, logs *logs) error {
	const name = "kube-controller-manager"
	path := filepath.Join(c.assets, name)
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%w (the assets of setup-envtest have none; those of `make control-plane` do)", err)
	}
	out, err := logs.open(name)
	if err != nil {
		return err
	}
	command := exec.Command(path,
		"--kubeconfig="+c.Kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--controllers="+strings.Join(controllers, ","),
		"--root-ca-file="+filepath.Join(c.dir, "ca.crt"),
		"--service-account-private-key-file="+filepath.Join(c.certDir(), "sa-signer.key"),
	)
	command.Stdout, command.Stderr = out, out
	// A separate process group, so that Ctrl-C does not end it before Stop does.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	c.manager = &program{command: command, done: make(chan struct{}), log: func() string { return logs.tail(name) }}
	go func() {
		defer close(c.manager.done)
		_ = command.Wait()
	}()
	return nil
}

// kill ends the program; it is an error if it had already ended.
func (p *program) kill() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended early: %s%s", filepath.Base(p.command.Path), p.command.ProcessState, p.log())
	default:
	}
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// logs opens the outputs of the programs: a file each, or one shared writer.
type logs struct {
	dir   string
	to    io.Writer
	mu    sync.Mutex
	files []io.Closer
}

func (l *logs) open(name string) (io.Writer, error) {
	if l.to != nil {
		return l, nil
	}
	file, err := os.Create(l.path(name))
	if err == nil {
		l.files = append(l.files, file)
	}
	return file, err
}

func (l *logs) path(name string) string { return filepath.Join(l.dir, name+".log") }

// Write serializes the writes of the programs.
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}

// Close closes the files.
func (l *logs) Close() error {
	var errs []error
	for _, file := range l.files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

// tail returns the last lines of a program's file, for an error.
func (l *logs) tail(name string) string {
	const lines = 10
	content, err := os.ReadFile(l.path(name))
	if err != nil || len(content) == 0 {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return fmt.Sprintf("\n%s said last:\n%s", name, strings.Join(all[max(0, len(all)-lines):], "\n"))
}

// removeAll removes dir, with retries: a program killed a moment ago may still add a file to it.
func removeAll(dir string) error {
	var last error
	_ = wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, 2*time.Second, true,
		func(context.Context) (bool, error) {
			last = os.RemoveAll(dir)
			return last == nil, nil
		})
	return last
}
