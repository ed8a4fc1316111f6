/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// child has this program start a cluster, and keep it until it is signaled.
const child = "NODE_TEST_CHILD"

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cluster, err := Start(ctx, Options{Log: os.Stdout})
	if err == nil {
		fmt.Fprintln(os.Stdout, "runs")
		<-ctx.Done()
		err = cluster.Stop()
	}
	fmt.Fprintln(os.Stdout, err)
}

// However a cluster ends, nothing of it remains: at once if it could clean up, and after the next start if it was killed.
func TestNothingIsLeft(t *testing.T) {
	rules := iptables(t)
	for _, row := range []struct {
		name, when string
		signal     syscall.Signal
		cleans     bool // without the next start
	}{
		{"interrupted while the control plane starts", "the network is ready", syscall.SIGINT, true},
		{"interrupted while the node starts", "the nodes are starting", syscall.SIGINT, true},
		{"interrupted while it runs", "runs", syscall.SIGINT, true},
		{"killed while the node starts", "the nodes are starting", syscall.SIGKILL, false},
		{"killed while it runs", "runs", syscall.SIGKILL, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			ended := endChild(t, row.when, row.signal)
			// What the kernel removes is gone without a next start.
			eventuallyNothing(t, "processes or mounts are left", func() error {
				return errors.Join(ended.unused(), mounts(ended))
			})
			if row.cleans {
				if err := errors.Join(directories(ended), interfaces(ended)); err != nil {
					t.Error(err)
				}
				return
			}
			if directories(ended) == nil {
				t.Error("a killed cluster left no directory: the next lines test nothing")
			}
			next, err := takeSlot()
			if err != nil {
				t.Fatal(err)
			}
			if err := directories(ended); err != nil && next.number != ended.number {
				t.Fatalf("the next cluster took slot %d instead of %d", next.number, ended.number)
			}
			if entries, err := os.ReadDir(next.path()); err != nil || len(entries) > 0 {
				t.Errorf("the next cluster finds %v, %v", entries, err)
			}
			if err := errors.Join(interfaces(ended), next.release(), directories(ended)); err != nil {
				t.Error(err)
			}
		})
	}
	if after := iptables(t); after != rules {
		t.Errorf("the machine's own rules before:\n%s\nafter:\n%s", rules, after)
	}
}

// endChild starts a cluster in a child process, signals that when it prints something, and returns its slot.
func endChild(t *testing.T, when string, how syscall.Signal) *slot {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), child+"=yes")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	for lines := bufio.NewScanner(io.TeeReader(out, &printed)); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), when) {
			break
		}
	}
	taken := slotOf(t, command.Process.Pid)
	if err := command.Process.Signal(how); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(&printed, out)
	_ = command.Wait()
	t.Logf("%s", printed.String())
	return taken
}

// slotOf is the slot whose lock a process holds.
func slotOf(t *testing.T, pid int) *slot {
	t.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, file := range files {
		target, err := os.Readlink(file)
		var number int
		if _, scanned := fmt.Sscanf(target, base+"/%d.lock", &number); err == nil && scanned == nil {
			return &slot{number: number}
		}
	}
	t.Fatalf("process %d has no slot", pid)
	return nil
}

func interfaces(s *slot) error {
	all, err := net.Interfaces()
	for _, one := range all {
		if strings.HasPrefix(one.Name, strings.TrimSuffix(s.name(0), "0")) {
			err = errors.Join(err, fmt.Errorf("interface %s is left", one.Name))
		}
	}
	return err
}

func mounts(s *slot) error {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil && bytes.Contains(content, []byte(s.path())) {
		return errors.New("mounts are left")
	}
	return err
}

// directories are an error while there are any: that of the slot, and cgroups.
func directories(s *slot) error {
	var found []string
	if _, err := os.Stat(s.path()); err == nil {
		found = append(found, s.path())
	}
	for _, hierarchy := range hierarchies() {
		cgroups, _ := filepath.Glob(filepath.Join(hierarchy, strings.TrimSuffix(s.name(0), "0")+"*"))
		found = append(found, cgroups...)
	}
	if len(found) > 0 {
		return fmt.Errorf("there are %v", found)
	}
	return nil
}

func iptables(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, table := range []string{"filter", "nat"} {
		out, err := exec.Command("iptables", "--wait", "-t", table, "-S").Output()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(out)
	}
	return all.String()
}

func eventuallyNothing(t *testing.T, what string, check func() error) {
	t.Helper()
	if err := eventually(t.Context(), what, 20*time.Second, func(context.Context) error { return check() }); err != nil {
		t.Fatal(err)
	}
}
