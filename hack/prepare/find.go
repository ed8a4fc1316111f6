/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The programs of a control plane, by the names that envtest expects.
const (
	etcd      = "etcd"
	apiserver = "kube-apiserver"
	manager   = "kube-controller-manager"
	kubectl   = "kubectl"
)

// versionTimeout is how long a program may take to print its version.
const versionTimeout = 10 * time.Second

// programs are paths by name. A control plane has at least etcd and kube-apiserver.
type programs map[string]string

// complete reports whether there is a control plane; other programs can be added to it.
func (p programs) complete() bool { return p[etcd] != "" && p[apiserver] != "" }

// missing are the names of the missing programs.
func (p programs) missing() (names []string) {
	for _, name := range []string{etcd, apiserver, manager, kubectl} {
		if p[name] == "" {
			names = append(names, name)
		}
	}
	return names
}

// inDir finds the programs in a directory.
func inDir(dir string) programs {
	found := programs{}
	for _, name := range []string{etcd, apiserver, manager, kubectl} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			found[name] = path
		}
	}
	return found
}

// onPath finds the programs on the PATH.
func onPath() programs {
	found := programs{}
	for _, name := range []string{etcd, apiserver, manager, kubectl} {
		if path, err := exec.LookPath(name); err == nil {
			if path, err = filepath.Abs(path); err == nil {
				found[name] = path
			}
		}
	}
	return found
}

// runs checks that etcd and kube-apiserver run here and returns the version of the latter.
func (p programs) runs(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	if output, err := exec.CommandContext(ctx, p[etcd], "--version").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s does not run: %w: %s", p[etcd], err, firstLine(output))
	}
	output, err := exec.CommandContext(ctx, p[apiserver], "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s does not run: %w: %s", p[apiserver], err, firstLine(output))
	}
	version := strings.TrimPrefix(firstLine(output), "Kubernetes ")
	return version, supported(version)
}

// oldest is the minor version of Kubernetes that the charts require.
const oldest = 29

func supported(version string) error {
	var minor int
	if _, err := fmt.Sscanf(version, "v1.%d.", &minor); err != nil {
		return fmt.Errorf("its version reads %q", version)
	}
	if minor < oldest {
		return fmt.Errorf("it is %s, and the operator needs v1.%d or newer", version, oldest)
	}
	return nil
}

func firstLine(output []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	return line
}

// kubectlRuns reports whether the kubectl runs here and is new enough.
func kubectlRuns(ctx context.Context, path string) bool {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, path, "version", "--client").Output()
	version, found := strings.CutPrefix(firstLine(output), "Client Version: ")
	return err == nil && found && supported(version) == nil
}
