/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The effect of the chart's security settings, as the kernel shows it.
func TestTheKernelConfinesTheOperator_OnTheBuiltInNode(t *testing.T) {
	install(t)
	for _, pod := range must(pods(t.Context()))(t) {
		proc := filepath.Join("/proc", strconv.Itoa(process(t, &pod)))
		status := string(must(os.ReadFile(filepath.Join(proc, "status")))(t))
		for _, row := range []struct{ what, line string }{
			{"it is not root", `Uid:\s+65532\s+65532\s+65532\s+65532`},
			{"its group is not root", `Gid:\s+65532\s+65532\s+65532\s+65532`},
			{"it has no capabilities", `CapEff:\s+0+\n`},
			{"it can gain no capabilities", `CapBnd:\s+0+\n`},
			{"it gains no privileges", `NoNewPrivs:\s+1`},
			{"seccomp filters its calls", `Seccomp:\s+2`},
		} {
			if !regexp.MustCompile(row.line).MatchString(status) {
				t.Errorf("%s: %s does not hold in\n%s", row.what, row.line, status)
			}
		}
		mounts := string(must(os.ReadFile(filepath.Join(proc, "mountinfo")))(t))
		if !regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S+ / ro[, ]`).MatchString(mounts) {
			t.Errorf("the root file system can be written:\n%s", mounts)
		}
		files := must(os.ReadDir(filepath.Join(proc, "root")))(t)
		if i := slices.IndexFunc(files, func(f os.DirEntry) bool { return f.Name() == operator || f.Name() == "ko-app" }); i < 0 {
			t.Errorf("the image holds %v", files)
		}
		limit := pod.Spec.Containers[0].Resources.Limits.Memory().Value()
		if got := inCgroup(t, proc, "memory.limit_in_bytes", "memory.max"); got != limit {
			t.Errorf("its memory is limited to %d, want %d", got, limit)
		}
		environ := string(must(os.ReadFile(filepath.Join(proc, "environ")))(t))
		if want := fmt.Sprintf("GOMEMLIMIT=%d\x00", limit*9/10); !strings.Contains(environ, want) {
			t.Errorf("its environment lacks %s", want)
		}
	}
}

// inCgroup reads a number of the memory cgroup of a process, by its name in cgroup v1 or v2.
func inCgroup(t testing.TB, proc, first, second string) int64 {
	t.Helper()
	content := string(must(os.ReadFile(filepath.Join(proc, "cgroup")))(t))
	for pattern, file := range map[string]string{
		`(?m)^\d+:memory:(.*)$`: filepath.Join("/sys/fs/cgroup/memory", "%s", first),
		`(?m)^0::(.*)$`:         filepath.Join("/sys/fs/cgroup", "%s", second),
	} {
		if match := regexp.MustCompile(pattern).FindStringSubmatch(content); match != nil {
			if value, err := os.ReadFile(fmt.Sprintf(file, match[1])); err == nil {
				return must(strconv.ParseInt(strings.TrimSpace(string(value)), 10, 64))(t)
			}
		}
	}
	t.Fatalf("no memory cgroup in %s", content)
	return 0
}

// many is more Agents than the default memory limit of the chart is meant for.
const many = 5000

// The chart's default limit holds 5,000 Agents.
func TestTheDefaultMemorySuffices5000Agents(t *testing.T) {
	install(t)
	w := newTeam(t)
	before := restarts(t)
	began := time.Now()
	w.declareMany(many)
	w.exact(many)
	t.Logf("%d Agents are Ready after %.0fs", many, time.Since(began).Seconds())
	if here.node != nil {
		for _, pod := range must(pods(t.Context()))(t) {
			proc := filepath.Join("/proc", strconv.Itoa(process(t, &pod)))
			t.Logf("pod %s used at most %d MiB", pod.Name, inCgroup(t, proc, "memory.max_usage_in_bytes", "memory.peak")>>20)
		}
	}
	if got := restarts(t); got != before {
		t.Errorf("containers were restarted %d times; last: %v", got-before, lastStates(t))
	}
	if got := w.registrations(); got != many {
		t.Errorf("%d registrations were sent for %d Agents", got, many)
	}
	w.leave()
}

// declareMany creates Agents with several clients concurrently.
func (w *team) declareMany(count int) {
	w.Helper()
	const clients = 8
	done := make(chan struct{})
	all := names("many", count)
	for part := range slices.Chunk(all, (count+clients-1)/clients) {
		go func() {
			defer func() { done <- struct{}{} }()
			w.declare(part...)
		}()
	}
	for range clients {
		<-done
	}
}

// lastStates are the last termination states of the operator's containers.
func lastStates(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pod := range must(pods(t.Context()))(t) {
		for _, status := range pod.Status.ContainerStatuses {
			if ended := status.LastTerminationState.Terminated; ended != nil {
				all[pod.Name] = fmt.Sprintf("%s, exit code %d", ended.Reason, ended.ExitCode)
			}
		}
	}
	return all
}

// With a limit that is too small the container is killed and restarted: nothing is lost or registered twice.
func TestTooLittleMemoryLosesNothing(t *testing.T) {
	install(t) // the CRDs
	w := newTeam(t)
	uninstall(t)
	// GOMEMLIMIT is larger than the limit of the container; otherwise Go would stay below that for a long time.
	release(t, []string{"resources.limits.memory=48Mi", "resources.requests.memory=24Mi",
		"extraEnv[0].name=GOMEMLIMIT", "extraEnv[0].value=1GiB"})
	w.declareMany(1500)
	eventually(t, "nothing is killed for want of memory", func(ctx context.Context) error {
		running, err := pods(ctx)
		if err != nil {
			return err
		}
		for _, pod := range running {
			for _, status := range pod.Status.ContainerStatuses {
				for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
					if state.Terminated != nil && state.Terminated.Reason == "OOMKilled" {
						return nil
					}
				}
			}
		}
		return fmt.Errorf("the containers ended by %v", slices.Collect(maps.Values(lastStates(t))))
	})
	install(t)
	w.exact(1500)
	w.leave()
}
