/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// machine is what node-init reads: the programs of a node.
type machine struct {
	// Logs is the directory of the programs' outputs.
	Logs string
	// Env of all programs.
	Env []string
	// Binds are directories of the machine by where the node sees them, and Tmpfs are empty ones in memory.
	Binds map[string]string
	Tmpfs []string
	// Programs are started in this order, and again when they end.
	Programs [][]string
}

// runNode is the first process of a node's namespaces, and so the kernel ends all others there with it. It starts
// once it reads a line from its input, and ends with the input: also when whoever started it was killed.
func runNode(args []string) error {
	if len(args) != 1 || os.Getpid() != 1 {
		return errors.New("must be the first process of a PID namespace, with one file as its argument")
	}
	input := bufio.NewReader(os.Stdin)
	if _, err := input.ReadString('\n'); err != nil {
		return fmt.Errorf("the parent did not confirm the preparation: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, input)
		os.Exit(0)
	}()
	content, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var m machine
	if err := json.Unmarshal(content, &m); err != nil {
		return err
	}
	if err := m.mount(); err != nil {
		return err
	}
	return m.supervise()
}

// mount keeps the mounts of the node from the machine, shows the node its own processes, and mounts writable directories.
func (m *machine) mount() error {
	mount := func(source, target, kind string, flags uintptr) error {
		if err := syscall.Mount(source, target, kind, flags, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", target, err)
		}
		return nil
	}
	const careful = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	errs := []error{
		mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE),
		mount("proc", "/proc", "proc", careful),
	}
	for target, source := range m.Binds {
		errs = append(errs, mount(source, target, "", syscall.MS_BIND))
	}
	for _, target := range m.Tmpfs {
		errs = append(errs, mount("tmpfs", target, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV))
	}
	// Mounts of the kubelet are seen by those whom containerd starts.
	return errors.Join(append(errs, mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED))...)
}

// supervise starts the programs, starts each again a second after it ended, and takes in the orphans.
func (m *machine) supervise() error {
	running := map[int]int{}
	for i := range m.Programs {
		pid, err := m.start(i)
		if err != nil {
			return err
		}
		running[pid] = i
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		i, ours := running[pid]
		if !ours {
			continue
		}
		delete(running, pid)
		fmt.Fprintf(os.Stderr, "node-init: %s ended with status %d, signal %d; starting it again\n",
			filepath.Base(m.Programs[i][0]), status.ExitStatus(), status.Signal())
		time.Sleep(time.Second)
		if pid, err = m.start(i); err != nil {
			return err
		}
		running[pid] = i
	}
}

func (m *machine) start(i int) (int, error) {
	command := m.Programs[i]
	path := filepath.Join(m.Logs, filepath.Base(command[0])+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(command[0], command, &syscall.ProcAttr{
		Env: m.Env, Files: []uintptr{null.Fd(), log.Fd(), log.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", command[0], err)
	}
	return pid, nil
}
