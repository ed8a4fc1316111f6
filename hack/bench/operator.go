/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
)

// operator is a running process of the operator.
type operator struct {
	child  *process.Child
	probes string
}

// startOperator starts the operator and returns how long it took to be ready.
func (s *stage) startOperator(ctx context.Context) (time.Duration, error) {
	probes, err := process.FreeAddress()
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "operator.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	args := []string{
		"--kubeconfig=" + s.plane.Kubeconfig, "--allowed-hosts=127.0.0.1", "--allow-insecure-http",
		"--metrics-bind-address=0", "--health-probe-bind-address=" + probes,
		"--concurrency=" + strconv.Itoa(s.concurrency),
	}
	if s.phases["floor"] {
		args = append(args, "--watch-namespaces="+benchNamespace, "--cluster-id=bench") // The Agents of the floor are not managed.
	}
	command := exec.Command(s.options.operator, append(args, s.operatorArgs...)...)
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), "GODEBUG=gctrace=1") // The live heap is read from its log.
	if s.memoryLimit != "" {
		command.Env = append(command.Env, "GOMEMLIMIT="+s.memoryLimit)
	}
	began := time.Now()
	child, err := process.Start(command, log)
	if err != nil {
		return 0, fmt.Errorf("the operator (see `make build`): %w", err)
	}
	s.operator = &operator{child: child, probes: probes}
	if err := process.WaitReady(ctx, probes, time.Minute); err != nil {
		return 0, fmt.Errorf("%w%s", err, s.lastWords())
	}
	return time.Since(began), nil
}

func (s *stage) stopOperator() {
	if s.operator != nil {
		s.operator.child.Stop(time.Minute)
		s.operator = nil
	}
}

// lastWords are the last lines of the operator's log.
func (s *stage) lastWords() string {
	const most, read = 2 << 10, 64 << 10
	file, err := os.Open(filepath.Join(s.dir, "operator.log"))
	if err != nil {
		return ""
	}
	defer file.Close()
	if size, err := file.Seek(0, io.SeekEnd); err == nil {
		_, _ = file.Seek(max(0, size-read), io.SeekStart)
	}
	text, _ := io.ReadAll(file)
	text = collections.ReplaceAll(text, nil)
	return "\nthe operator said last:\n" + string(text[max(0, len(text)-most):])
}

// live is the heap that was live after the operator's last garbage collection, in bytes. That may have been some time ago, or
// during a pass: GOGC=10 in the environment makes collections frequent, and -idle-heap waits for one.
func (s *stage) live() int64 {
	content, err := os.ReadFile(filepath.Join(s.dir, "operator.log"))
	if err != nil {
		return 0
	}
	found := collections.FindAllSubmatch(content, -1)
	if len(found) == 0 {
		return 0
	}
	megabytes, _ := strconv.ParseInt(string(found[len(found)-1][1]), 10, 64)
	return megabytes << 20
}

// collections are the lines that the runtime writes after each garbage collection.
var collections = regexp.MustCompile(`(?m)^gc \d+ @.* \d+->\d+->(\d+) MB, .*\n`)

// collected waits, if asked to, until the runtime collects because nothing made it collect for two minutes. Before that, what
// the last pass left behind may count as live.
func (s *stage) collected(ctx context.Context) error {
	if !s.idleHeap {
		return nil
	}
	log := filepath.Join(s.dir, "operator.log")
	before, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	return poll(ctx, 10*time.Minute, "the idle operator collects its garbage", func() (bool, error) {
		content, err := os.ReadFile(log)
		return err == nil && idleCollection.Match(content[len(before):]), err
	})
}

// idleCollection is what the runtime writes about a collection after two minutes without one.
var idleCollection = regexp.MustCompile(`(?s)GC forced\n(.*\n)?gc \d+ @`)

// memory gives the operator's resident memory and the most that it ever was, in bytes.
func (o *operator) memory() (now, peak int64, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.child.Command.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("the operator's memory: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		name, rest, _ := strings.Cut(line, ":")
		kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			now = kilobytes << 10
		case "VmHWM":
			peak = kilobytes << 10
		}
	}
	return now, peak, nil
}

// since is the processor time since then.
func (s *stage) since(before map[string]float64) map[string]float64 {
	all := s.processor()
	for name := range all {
		all[name] -= before[name]
	}
	return all
}

// processor is the processor time of this process's children so far, in seconds by name, and of this one as "bench".
func (s *stage) processor() map[string]float64 {
	const ticks = 100 // per second, on every Linux that Go runs on
	all := map[string]float64{}
	self := os.Getpid()
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		content, _ := os.ReadFile("/proc/" + entry.Name() + "/stat")
		open, end := strings.IndexByte(string(content), '('), strings.LastIndexByte(string(content), ')')
		if open < 0 || end < open {
			continue
		}
		fields := strings.Fields(string(content[end+1:]))
		if len(fields) < 13 || pid != self && fields[1] != strconv.Itoa(self) {
			continue
		}
		name := string(content[open+1 : end])
		switch {
		case pid == self:
			name = "bench"
		case s.operator != nil && pid == s.operator.child.Command.Process.Pid:
			name = "operator"
		case pid == s.cloud.child.Command.Process.Pid:
			name = "cloud"
		}
		user, _ := strconv.ParseFloat(fields[11], 64)
		system, _ := strconv.ParseFloat(fields[12], 64)
		all[name] += (user + system) / ticks
	}
	return all
}
