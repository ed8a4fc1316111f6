/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package sessionfile

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// mount is a directory with a mounted Secret, and the command that reads it.
type mount struct {
	testing.TB
	from, to string
	clock    *clocktesting.FakeClock
	out      bytes.Buffer
}

func newMount(t *testing.T) *mount {
	return &mount{TB: t, from: t.TempDir(), to: filepath.Join(t.TempDir(), "store"), clock: clocktesting.NewFakeClock(time.Now())}
}

func (m *mount) put(name, content string) {
	m.Helper()
	// At once, as the kubelet does.
	whole := filepath.Join(m.from, "..whole")
	if err := errors.Join(os.WriteFile(whole, []byte(content), 0o444), os.Rename(whole, filepath.Join(m.from, name))); err != nil {
		m.Fatal(err)
	}
}

type usage struct{ error }

// run runs the command line; without --from, --to and --wait, which are its own.
func (m *mount) run(ctx context.Context, args ...string) error {
	o := &options{clock: m.clock, format: Format{
		Session: "session.CALYPTIA", YAML: "calyptia.yaml", Classic: "calyptia.conf",
		Slot:  func(key string) string { return strings.ReplaceAll(key, "long-", "") },
		Valid: func(session []byte) bool { return string(session) == "session" },
	}}
	command := newCommand(o, func(err error) error { return usage{err} })
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(append([]string{"--from", m.from, "--to", m.to}, args...))
	command.SetErr(&m.out)
	return command.ExecuteContext(ctx)
}

func (m *mount) stored(name, want string) {
	m.Helper()
	path := filepath.Join(m.to, name)
	content, err := os.ReadFile(path)
	if want == "" {
		if !errors.Is(err, fs.ErrNotExist) {
			m.Errorf("%s is there: %v", name, err)
		}
		return
	}
	info, statErr := os.Lstat(path)
	if err != nil || statErr != nil || string(content) != want || info.Mode() != 0o600 {
		m.Errorf("%s is %q, %v, mode %v; want %q with mode 0600", name, content, errors.Join(err, statErr), info.Mode(), want)
	}
}

func TestTheSessionOfAKeyIsCopied(t *testing.T) {
	for _, row := range []struct {
		name, key, prefix string
		before            bool
	}{
		{name: "a node", key: "node-a.example", prefix: "node-a.example."},
		{name: "a name that is shortened", key: "long-node", prefix: "node."},
		{name: "an older copy is there", key: "node-a", prefix: "node-a.", before: true},
		{name: "a single Agent"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := newMount(t)
			m.put(row.prefix+"session.CALYPTIA", "session")
			m.put(row.prefix+"calyptia.yaml", "yaml")
			m.put("other.session.CALYPTIA", "another node's")
			if row.before {
				if err := errors.Join(os.MkdirAll(filepath.Join(m.to, "calyptia"), 0o755),
					os.WriteFile(filepath.Join(m.to, "calyptia", "session.CALYPTIA"), []byte("an older and longer one"), 0o666)); err != nil {
					t.Fatal(err)
				}
			}
			var args []string
			if row.key != "" {
				args = []string{"--key", row.key}
			}
			if err := m.run(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
			m.stored(filepath.Join("calyptia", "session.CALYPTIA"), "session")
			m.stored("calyptia.yaml", "yaml")
			m.stored("calyptia.conf", "")
			if entries, err := os.ReadDir(filepath.Join(m.to, "calyptia")); err != nil || len(entries) != 1 {
				t.Errorf("beside the session are %v, %v", entries, err)
			}
			if dir, err := os.Stat(m.to); err != nil || !row.before && dir.Mode().Perm() != 0o700 {
				t.Errorf("the store has the mode %v, %v", dir.Mode(), err)
			}
		})
	}
}

func TestTheCommandWaitsForTheSession(t *testing.T) {
	m := newMount(t)
	done := make(chan error, 1)
	go func() { done <- m.run(t.Context(), "--key", "node-a") }()
	for range 3 {
		m.waits(done)
		m.clock.Step(interval)
	}
	m.waits(done)
	m.put("node-a.session.CALYPTIA", "session")
	m.clock.Step(interval)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	m.stored(filepath.Join("calyptia", "session.CALYPTIA"), "session")
	if got := m.out.String(); strings.Count(got, "waiting for "+m.from+"/node-a.session.CALYPTIA") != 1 {
		t.Errorf("it says %q", got)
	}
}

// waits waits until the command waits.
func (m *mount) waits(done <-chan error) {
	m.Helper()
	for !m.clock.HasWaiters() {
		select {
		case err := <-done:
			m.Fatalf("it ended: %v", err)
		default:
		}
	}
}

func TestTheCommandGivesUpWithOneLine(t *testing.T) {
	for _, row := range []struct {
		name, content string
		args          []string
		wait          time.Duration
		usage         bool
		want          string
	}{
		{name: "no session in time", args: []string{"--key", "node-a", "--wait", "2m"}, wait: 2 * time.Minute,
			want: "node-a.session.CALYPTIA did not come within 2m0s: see the conditions of the Agent or AgentSet"},
		{name: "no time", args: []string{"--wait", "0s"}, want: "session.CALYPTIA did not come within 0s"},
		{name: "no session", content: "rubbish", args: []string{"--key", "node-a"}, want: "node-a.session.CALYPTIA is no session of Fluent Bit"},
		{name: "too much", content: strings.Repeat("x", largest+1), args: []string{"--key", "node-a"}, want: "is larger than 1048576 bytes"},
		{name: "an empty key", args: []string{"--key", ""}, usage: true, want: "--key is empty"},
		{name: "a variable that is not set", args: []string{"--key", "$(NODE_NAME)"}, usage: true, want: "is the variable of the environment set?"},
		{name: "a key that leads elsewhere", args: []string{"--key", "../a"}, usage: true, want: "--key"},
		{name: "a key of dots", args: []string{"--key", ".."}, usage: true, want: "--key"},
		{name: "an argument", args: []string{"node-a"}, usage: true, want: `"node-a"`},
		{name: "a negative wait", args: []string{"--wait", "-1s"}, usage: true, want: "--wait"},
		{name: "a relative directory", args: []string{"--from", "sessions"}, usage: true, want: "--from"},
		{name: "a relative store", args: []string{"--to", "store"}, usage: true, want: "--to"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := newMount(t)
			if row.content != "" {
				m.put("node-a.session.CALYPTIA", row.content)
			}
			done := make(chan error, 1)
			go func() { done <- m.run(t.Context(), row.args...) }()
			for passed := time.Duration(0); passed < row.wait; passed += interval {
				m.waits(done)
				m.clock.Step(interval)
			}
			err := <-done
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("it ended with %v, want one line with %q", err, row.want)
			}
			var wrong usage
			if errors.As(err, &wrong) != row.usage {
				t.Errorf("a wrong flag or value: %v, want %v", !row.usage, row.usage)
			}
			m.stored(filepath.Join("calyptia", "session.CALYPTIA"), "")
			if said := strings.Count(m.out.String(), "waiting for"); row.wait > 0 && (said < 1 || said > int(row.wait/reminder)) {
				t.Errorf("it said %d times what it waits for", said)
			}
		})
	}
}

func TestTheCommandEndsWithItsPod(t *testing.T) {
	m := newMount(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.run(ctx, "--key", "node-a") }()
	m.waits(done)
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "stopped while waiting") {
		t.Errorf("it ended with %v", err)
	}
}
