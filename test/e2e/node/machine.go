/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Machine is a node of a Cluster.
type Machine struct {
	// Name of the Node.
	Name string
	// Address of the node; host is the address at which it reaches this machine.
	Address, host string

	number int
	slot   *slot
	init   *exec.Cmd
	input  io.WriteCloser
	output bytes.Buffer
	api    string // host and port of the API server
}

func (m *Machine) path(parts ...string) string {
	return m.slot.path(append([]string{m.Name}, parts...)...)
}

// newMachine creates the namespaces of a node and its link to this machine. Nothing runs there yet.
func (c *Cluster) newMachine(ctx context.Context, number int) (*Machine, error) {
	m := &Machine{
		Name: fmt.Sprintf("node-%d", number+1), Address: c.slot.node(number), host: c.slot.host(number), number: number, slot: c.slot,
	}
	for _, dir := range []string{"logs", "lib", "log"} {
		if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := c.slot.makeCgroup(number); err != nil {
		return nil, err
	}
	m.init = exec.Command(filepath.Join(c.assets, "node-init"), m.path("machine.json"))
	m.init.Stdout, m.init.Stderr = &m.output, &m.output
	m.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Setpgid:    true, // on Ctrl-C in a terminal, Stop ends it
	}
	var err error
	if m.input, err = m.init.StdinPipe(); err != nil {
		return nil, err
	}
	if err := m.init.Start(); err != nil {
		return nil, fmt.Errorf("namespaces: %w", err)
	}
	return m, m.link(ctx)
}

// link connects the node with this machine and with the earlier nodes.
func (m *Machine) link(ctx context.Context) error {
	name, pid := m.slot.name(m.number), strconv.Itoa(m.init.Process.Pid)
	for _, args := range [][]string{
		{"link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pid},
		{"address", "add", m.host + "/30", "dev", name},
		{"link", "set", name, "up"},
		{"route", "add", m.slot.pods(m.number), "via", m.Address},
	} {
		if err := run(ctx, "ip", args...); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "address", "add", m.Address + "/30", "dev", "eth0"},
		{"ip", "link", "set", "eth0", "up"},
		{"ip", "route", "add", "default", "via", m.host},
		{"sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"},
	} {
		if err := m.Run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// join connects two nodes, so that their pods reach each other directly, because this machine need not route.
func (m *Machine) join(ctx context.Context, other *Machine) error {
	ours, theirs := m.slot.peers(other.number, m.number)
	name, back := "to-"+other.Name, "to-"+m.Name
	err := m.Run(ctx, "ip", "link", "add", name, "type", "veth", "peer", "name", back, "netns", strconv.Itoa(other.init.Process.Pid))
	if err != nil {
		return err
	}
	for _, side := range []struct {
		at                   *Machine
		dev, own, peer, pods string
	}{
		{m, name, ours, theirs, m.slot.pods(other.number)},
		{other, back, theirs, ours, m.slot.pods(m.number)},
	} {
		for _, args := range [][]string{
			{"ip", "address", "add", side.own + "/30", "dev", side.dev},
			{"ip", "link", "set", side.dev, "up"},
			{"ip", "route", "add", side.pods, "via", side.peer},
		} {
			if err := side.at.Run(ctx, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// Run runs a program of this machine in the network of the node.
func (m *Machine) Run(ctx context.Context, args ...string) error {
	return run(ctx, "nsenter", append([]string{"--net=/proc/" + strconv.Itoa(m.init.Process.Pid) + "/ns/net"}, args...)...)
}

func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// startMachine starts the programs of a node.
func (c *Cluster) startMachine(m *Machine) error {
	if err := c.configure(m); err != nil {
		return err
	}
	program := func(name string, flags ...string) []string {
		return append([]string{filepath.Join(c.assets, name)}, flags...)
	}
	programs := [][]string{
		program("containerd", "--config="+m.path("containerd.toml")),
		program("kubelet", "--config="+m.path("kubelet.yaml"), "--kubeconfig="+m.path("kubelet.kubeconfig"),
			"--hostname-override="+m.Name, "--node-ip="+m.Address),
		program("kube-proxy", "--kubeconfig="+m.path("kube-proxy.kubeconfig"), "--hostname-override="+m.Name,
			"--proxy-mode=iptables", "--conntrack-max-per-core=0", "--conntrack-min=0",
			"--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"),
	}
	if m.number == 0 { // The scheduler is not part of a node, but so it always ends with one.
		programs = append(programs, program("kube-scheduler", "--kubeconfig="+m.slot.path("kube-scheduler.kubeconfig"),
			"--leader-elect=false", "--secure-port=0", "--authentication-skip-lookup=true"))
	}
	content, err := json.Marshal(map[string]any{
		"Logs": m.Logs(),
		"Env":  []string{"PATH=" + c.assets + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
		// Files that programs write at fixed paths go to the directory of the node.
		"Binds":    map[string]string{"/var/lib": m.path("lib"), "/var/log": m.path("log")},
		"Tmpfs":    []string{"/run"},
		"Programs": programs,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.path("machine.json"), content, 0o600); err != nil {
		return err
	}
	_, err = io.WriteString(m.input, "start\n")
	return err
}

// stop ends all processes of the node. The kernel then removes its mounts and its network.
func (m *Machine) stop() error {
	if m.init == nil || m.init.Process == nil {
		return nil
	}
	errs := []error{m.input.Close()}
	ended := make(chan struct{})
	go func() {
		_ = m.init.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		errs = append(errs, m.init.Process.Kill())
		<-ended
	}
	return errors.Join(errs...)
}

// Pids are the processes of a program, such as kubelet, that the first process of the node started.
func (m *Machine) Pids(program string) []int {
	return m.processes(func(dir string) bool {
		command, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		name, _, _ := bytes.Cut(command, []byte{0})
		return err == nil && filepath.Base(string(name)) == program && m.isOurs(dir)
	})
}

// PidsOf are the processes of the containers of a pod, without its sandbox.
func (m *Machine) PidsOf(podUID, containerID string) []int {
	_, containerID, _ = strings.Cut(containerID, "://")
	return m.processes(func(dir string) bool {
		cgroups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		return err == nil && bytes.Contains(cgroups, []byte("pod"+podUID+"/"+containerID))
	})
}

// isOurs reports whether a process is in the PID namespace of the node.
func (m *Machine) isOurs(dir string) bool {
	theirs, err := os.Readlink(filepath.Join(dir, "ns", "pid"))
	ours, other := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", m.init.Process.Pid))
	return err == nil && other == nil && theirs == ours
}

func (m *Machine) processes(want func(dir string) bool) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && want(dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// RestartKubelet kills the kubelet; the first process of the node starts it again.
func (m *Machine) RestartKubelet() error { return m.kill("kubelet") }

func (m *Machine) kill(program string) error {
	pids := m.Pids(program)
	if len(pids) == 0 {
		return fmt.Errorf("%s does not run on %s", program, m.Name)
	}
	var errs []error
	for _, pid := range pids {
		errs = append(errs, syscall.Kill(pid, syscall.SIGKILL))
	}
	return errors.Join(errs...)
}

// Cut drops all packets between the API server and the node with its pods, until restore is called. Everything else, such
// as Calyptia Cloud, remains reachable.
func (m *Machine) Cut(ctx context.Context) (restore func() error, err error) {
	host, port, err := net.SplitHostPort(m.api)
	if err != nil {
		return nil, err
	}
	var rules [][]string
	for _, chain := range []string{"OUTPUT", "INPUT", "FORWARD"} {
		rules = append(rules,
			[]string{chain, "-d", host, "-p", "tcp", "--dport", port, "-j", "DROP"},
			[]string{chain, "-s", host, "-p", "tcp", "--sport", port, "-j", "DROP"})
	}
	change := func(ctx context.Context, how string) error {
		var errs []error
		for _, rule := range rules {
			errs = append(errs, m.Run(ctx, append([]string{"iptables", "--wait", how}, rule...)...))
		}
		return errors.Join(errs...)
	}
	return sync.OnceValue(func() error { return change(context.Background(), "-D") }), change(ctx, "-I")
}
