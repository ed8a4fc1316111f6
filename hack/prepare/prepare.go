/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// preparation prepares what the demo needs: the operator, the demo itself, and a control plane.
type preparation struct {
	*progress
	root     string // of the module
	ldflags  string // of the operator
	platform string // GOOS/GOARCH
	release  release
	// official is nil if nothing may be downloaded.
	official *downloader
	// fresh ignores existing control planes, as on a new machine.
	fresh bool
	// reserved is the estimated progress of a control plane, until its packages are known.
	reserved float64
}

func (p *preparation) path(elements ...string) string {
	return filepath.Join(append([]string{p.root}, elements...)...)
}

// run links the programs of the control plane in bin/controlplane/for-demo.
func (p *preparation) run(ctx context.Context) error {
	have, err := p.find(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The operator compiles while the control plane or its modules are downloaded.
	operator := &operatorBuild{compiles: make(chan map[string]float64, 1), done: make(chan struct{})}
	go func() {
		defer close(operator.done)
		if err := p.buildOperator(ctx, operator.compiles); err != nil {
			cancel(err)
		}
	}()
	if p.reserved = wholeControlPlane; have.complete() {
		p.reserved = 0
	}
	p.expect(p.reserved)
	have, err = p.complete(ctx, have, operator)
	<-operator.done
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	return p.link(have)
}

// find looks for an existing control plane; without one it returns no error.
func (p *preparation) find(ctx context.Context) (programs, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		have := inDir(dir)
		if !have.complete() {
			return nil, fmt.Errorf("KUBEBUILDER_ASSETS is %s, which lacks %s: correct it, or unset it", dir, strings.Join(have.missing(), ", "))
		}
		version, err := have.runs(ctx)
		if err != nil {
			return nil, fmt.Errorf("KUBEBUILDER_ASSETS: %w", err)
		}
		p.say("the control plane is the one of KUBEBUILDER_ASSETS: Kubernetes %s in %s", version, dir)
		return have, nil
	}
	for _, place := range []struct {
		name     string
		have     programs
		byOthers bool
	}{
		{"the one that make control-plane built", inDir(p.path("bin", "controlplane", "current")), true},
		{"the one on the PATH", onPath(), true},
		{"the official binaries, downloaded earlier", inDir(p.downloadDir()), false},
		{"the one built earlier", inDir(p.buildDir()), false},
	} {
		if !place.have.complete() || place.byOthers && p.fresh {
			continue
		}
		version, err := place.have.runs(ctx)
		if err != nil {
			p.say("the control plane is not %s: %v", place.name, err)
			continue
		}
		p.say("the control plane is %s: Kubernetes %s in %s", place.name, version, filepath.Dir(place.have[apiserver]))
		return place.have, nil
	}
	return programs{}, nil
}

func (p *preparation) downloadDir() string {
	return p.path("bin", "controlplane", "official-"+p.release.Version+"-"+strings.ReplaceAll(p.platform, "/", "-"))
}

// buildDir has a key of the sources in its name, so that its content matches them.
func (p *preparation) buildDir() string {
	sum := sha256.New()
	_ = fs.WalkDir(os.DirFS(p.path("hack", "controlplane")), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && slices.Contains([]string{".go", ".mod", ".sum"}, filepath.Ext(name)) {
			content, _ := os.ReadFile(p.path("hack", "controlplane", name))
			_, _ = fmt.Fprintf(sum, "%s %d %s\n", name, len(content), content)
		}
		return err
	})
	_, _ = fmt.Fprintln(sum, p.platform, runtime.Version())
	return p.path("bin", "controlplane", "built-"+hex.EncodeToString(sum.Sum(nil))[:12])
}

// complete adds the missing programs: official ones if there is no control plane at all, otherwise built ones.
func (p *preparation) complete(ctx context.Context, have programs, operator *operatorBuild) (programs, error) {
	if !have.complete() {
		downloaded, err := p.download(ctx)
		switch {
		case err == nil:
			have = downloaded
		case ctx.Err() != nil:
			return nil, ctx.Err()
		default:
			p.say("no official binaries: %v", err)
			p.say("so the control plane is built from source instead, which takes some minutes the first time")
		}
	}
	for name, path := range inDir(p.buildDir()) {
		if have[name] == "" {
			have[name] = path
		}
	}
	if have[kubectl] == "" {
		if path := onPath()[kubectl]; path != "" && kubectlRuns(ctx, path) {
			have[kubectl] = path
		}
	}
	if len(have.missing()) == 0 {
		p.expect(-p.reserved)
		return have, nil
	}
	return p.buildMissing(ctx, have, operator)
}

// download downloads the official binaries.
func (p *preparation) download(ctx context.Context) (programs, error) {
	pinned, known := p.release.Archives[p.platform]
	switch {
	case p.official == nil:
		return nil, errors.New("DOWNLOAD=no")
	case !known:
		return nil, fmt.Errorf("none are pinned for %s", p.platform)
	}
	if err := pinned.install(ctx, p.official, p.downloadDir()); err != nil {
		return nil, fmt.Errorf("%s: %w", pinned.URL, err)
	}
	have := inDir(p.downloadDir())
	version, err := have.runs(ctx)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.downloadDir()))
	}
	p.say("the control plane is of the official binaries, with the pinned SHA-512: Kubernetes %s from %s", version, pinned.URL)
	return have, nil
}

// link links the programs in one directory, for KUBEBUILDER_ASSETS.
func (p *preparation) link(have programs) error {
	dir := p.path("bin", "controlplane", "for-demo")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	for name, path := range have {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		if err := os.Symlink(absolute, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
