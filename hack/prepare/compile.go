/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
)

// wholeControlPlane estimates the extra time for etcd, kube-apiserver and the controllers, in seconds.
const wholeControlPlane = 300

// operatorBuild is the build of the operator and the demo, which runs concurrently.
type operatorBuild struct {
	compiles chan map[string]float64 // sent once: the packages, with the time of each
	done     chan struct{}           // closed at the end, however
}

// buildOperator builds the operator and the demo. It sends what it will compile before it starts.
func (p *preparation) buildOperator(ctx context.Context, compiles chan<- map[string]float64) error {
	both := build{module: p.root, packages: []string{".", "./hack/demo"}}
	work, err := both.plan(ctx)
	compiles <- maps.Clone(work)
	if err != nil {
		return err
	}
	p.expect(total(work, 2))
	return p.build(ctx, work,
		build{module: p.root, packages: []string{"."}, out: p.path("bin", "calyptia-agent-operator"), ldflags: p.ldflags},
		build{module: p.root, packages: []string{"./hack/demo"}, out: p.path("bin", "demo"), ldflags: "-s -w"})
}

// total is the time to compile these packages and link them into the given number of programs.
func total(work map[string]float64, programs int) float64 {
	sum := linking(work, programs)
	for _, each := range work {
		sum += each
	}
	return sum
}

// build runs the builds and notes progress.
func (p *preparation) build(ctx context.Context, work map[string]float64, builds ...build) error {
	links := linking(work, len(builds))
	for _, b := range builds {
		err := b.run(ctx, func(pkg string) {
			p.did(work[pkg], pkg)
			delete(work, pkg)
		})
		if err != nil {
			return err
		}
		p.did(links/float64(len(builds)), "linked")
	}
	return nil
}

// buildMissing builds what is missing, once the operator is built: both compile many packages that they share.
func (p *preparation) buildMissing(ctx context.Context, have programs, operator *operatorBuild) (programs, error) {
	b := build{module: p.path("hack", "controlplane"), ldflags: p.kubernetesVersion()}
	if !have.complete() {
		b.packages = append(b.packages, "./demo")
	} else if have[manager] == "" {
		b.packages = append(b.packages, "./manager")
	}
	if have[kubectl] == "" {
		b.packages = append(b.packages, "./kubectl")
	}
	// This downloads the modules while the operator compiles.
	work, err := b.plan(ctx)
	if err != nil {
		return nil, err
	}
	for pkg := range <-operator.compiles {
		delete(work, pkg)
	}
	p.expect(total(work, len(b.packages)) - p.reserved)
	<-operator.done
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir := p.buildDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	b.out = dir + string(filepath.Separator)
	if err := p.build(ctx, work, b); err != nil {
		return nil, err
	}
	return p.take(have, dir)
}

// take adds the programs in the directory of builds.
func (p *preparation) take(have programs, dir string) (programs, error) {
	for name, builtAs := range map[string][]string{
		etcd: {"demo"}, apiserver: {"demo"}, manager: {"demo", "manager"}, kubectl: nil,
	} {
		for _, file := range builtAs {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				continue
			}
			if err := os.Symlink(file, filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
				return nil, err
			}
			break
		}
	}
	for name, path := range inDir(dir) {
		if have[name] == "" {
			have[name] = path
		}
	}
	if missing := have.missing(); len(missing) > 0 {
		return nil, fmt.Errorf("the build left out %v", missing)
	}
	return have, nil
}

var kubernetesModule = regexp.MustCompile(`k8s\.io/kubernetes (v1\.\S+)`)

// kubernetesVersion sets the version that the programs report to that in go.mod.
func (p *preparation) kubernetesVersion() string {
	content, _ := os.ReadFile(p.path("hack", "controlplane", "go.mod"))
	version := kubernetesModule.FindSubmatch(content)
	if version == nil {
		return "-s -w"
	}
	return fmt.Sprintf("-s -w -X k8s.io/component-base/version.gitVersion=%[1]s -X k8s.io/client-go/pkg/version.gitVersion=%[1]s", version[1])
}
