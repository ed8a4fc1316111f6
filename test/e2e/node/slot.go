/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// base holds a directory for each cluster on this machine. It is short because the length of socket paths is limited.
const base = "/var/tmp/calyptia-e2e"

// slots is the number of clusters that may run at the same time: each has its own addresses.
const slots = 8

// slot is a cluster's share of the machine: its own directory, names and addresses.
type slot struct {
	number int
	lock   *os.File
}

// takeSlot takes a free slot and removes what a killed cluster left there.
func takeSlot() (*slot, error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, err
	}
	for number := range slots {
		lock, err := os.OpenFile(filepath.Join(base, fmt.Sprintf("%d.lock", number)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			_ = lock.Close()
			continue
		}
		s := &slot{number: number, lock: lock}
		if err := s.clear(); err != nil {
			return nil, errors.Join(fmt.Errorf("node: the files of an earlier run cannot be removed: %w", err), lock.Close())
		}
		return s, os.MkdirAll(s.path(), 0o755)
	}
	return nil, fmt.Errorf("node: %d clusters run on this machine already: wait until one ends", slots)
}

func (s *slot) path(parts ...string) string {
	return filepath.Join(append([]string{base, fmt.Sprint(s.number)}, parts...)...)
}

// name is the name of a node's cgroup and network interface, which is limited to 15 characters by the kernel.
func (s *slot) name(node int) string { return fmt.Sprintf("cal-e2e-%d-%d", s.number, node) }

// host and node are the two ends of the link between the machine and a node.
func (s *slot) host(node int) string { return fmt.Sprintf("10.243.%d.%d", s.number, 4*node+1) }
func (s *slot) node(node int) string { return fmt.Sprintf("10.243.%d.%d", s.number, 4*node+2) }

// peers are the two ends of the link between two nodes, the lower one's last.
func (s *slot) peers(lower, higher int) (ours, theirs string) {
	first := 128 + 4*(higher*(higher-1)/2+lower)
	return fmt.Sprintf("10.243.%d.%d", s.number, first+1), fmt.Sprintf("10.243.%d.%d", s.number, first+2)
}

// pods are the addresses of a node's pods.
func (s *slot) pods(node int) string { return fmt.Sprintf("10.244.%d.0/24", 8*s.number+node) }

// release removes everything that is left and frees the slot.
func (s *slot) release() error {
	return errors.Join(s.clear(), s.lock.Close())
}

// unused is an error while a process runs that was started with a file of the slot, such as one of the control plane. Each
// exits when its parent exits.
func (s *slot) unused() error {
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		command, err := os.ReadFile(path)
		if err == nil && bytes.Contains(command, []byte(s.path()+"/")) {
			return fmt.Errorf("%s still runs: %.300s", filepath.Dir(path), bytes.ReplaceAll(command, []byte{0}, []byte(" ")))
		}
	}
	return nil
}

// clear removes the directory and the cgroups. Exiting processes may still hold them.
func (s *slot) clear() error {
	return eventually(context.Background(), s.path()+" is still used", 20*time.Second, func(ctx context.Context) error {
		return errors.Join(s.unused(), s.removeLinks(ctx), s.removeCgroups(), os.RemoveAll(s.path()))
	})
}

// removeLinks removes the links to the nodes. They are removed with the networks of the nodes, but an open connection keeps
// its network for minutes.
func (s *slot) removeLinks(ctx context.Context) error {
	all, err := net.Interfaces()
	for _, one := range all {
		if strings.HasPrefix(one.Name, strings.TrimSuffix(s.name(0), "0")) {
			err = errors.Join(err, run(ctx, "ip", "link", "delete", one.Name))
		}
	}
	return err
}

// hierarchies are the mount points of cgroups: one directory for each controller, or one for all (cgroup v2).
func hierarchies() []string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return []string{"/sys/fs/cgroup"}
	}
	found, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	var dirs []string
	for _, path := range found {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (s *slot) removeCgroups() error {
	var errs []error
	prefix := strings.TrimSuffix(s.name(0), "0")
	for _, hierarchy := range hierarchies() {
		tops, _ := filepath.Glob(filepath.Join(hierarchy, prefix+"*"))
		for _, top := range tops {
			errs = append(errs, removeCgroup(top))
		}
	}
	return errors.Join(errs...)
}

// removeCgroup removes a cgroup and its children.
func removeCgroup(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	slices.Reverse(dirs)
	for _, dir := range dirs {
		if removed := syscall.Rmdir(dir); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("%s: %w", dir, removed))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// makeCgroup makes the cgroup of a node in each hierarchy.
func (s *slot) makeCgroup(node int) error {
	for _, hierarchy := range hierarchies() {
		dir := filepath.Join(hierarchy, s.name(node))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// In cgroup v1, a new cpuset inherits nothing, and without values no process may enter.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(hierarchy, file))
			if err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), value, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}
