/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command release makes all parts of a release: the image and the charts in a registry, the command line for each
// platform, the manifests, their SBOMs, checksums, provenance and signatures. At the end it reads everything back and
// compares it. A dry run does the same with a registry on loopback and a throwaway key.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

const (
	module   = "github.com/calyptia-agent-operator/operator"
	operator = "calyptia-agent-operator"
	plugin   = "kubectl-calyptia"
)

// defaultPlatforms are those of the command line; the image is for those of Linux among them.
const defaultPlatforms = "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64"

// release is one release and where it goes.
type release struct {
	root, out             string
	version, commit, date string
	platforms             []string
	registry              string // with the path prefix of everything
	plainHTTP, sign       bool
	keyDir                string // of a dry run; else signatures are keyless
	digest                string // of the image
}

func main() {
	r := &release{}
	flag.StringVar(&r.root, "root", "../..", "root of the operator's module")
	flag.StringVar(&r.out, "out", "../../dist/release", "directory for what is made; what is there goes")
	flag.StringVar(&r.version, "version", "", "version to release, such as v0.1.0")
	flag.StringVar(&r.commit, "commit", "unknown", "commit that is released")
	flag.StringVar(&r.date, "date", "1970-01-01T00:00:00Z", "time of the commit, RFC 3339")
	flag.StringVar(&r.registry, "registry", "ghcr.io/"+operator, "registry and path for image and charts")
	flag.BoolVar(&r.sign, "sign", true, "sign with cosign")
	platforms := flag.String("platforms", defaultPlatforms, "platforms of the command line")
	notes := flag.Bool("notes", false, "only print the entry of the change log")
	dry := flag.Bool("dry-run", false, "publish to a registry on loopback, and sign with a key that is thrown away")
	flag.Parse()
	r.platforms = strings.Split(*platforms, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	do := func() error { return r.run(ctx, *dry) }
	if *notes {
		do = r.printNotes
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// run makes the release step by step.
func (r *release) run(ctx context.Context, dry bool) error {
	if err := r.validate(dry); err != nil {
		return err
	}
	if dry {
		end, err := r.dryRun()
		if err != nil {
			return err
		}
		defer end()
	}
	return r.steps(ctx)
}

// steps makes and publishes everything, and reads it back.
func (r *release) steps(ctx context.Context) error {
	if err := errors.Join(os.RemoveAll(r.out), os.MkdirAll(r.out, 0o755)); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
		skip bool
	}{
		{name: "image", do: r.buildImage},
		{name: "charts", do: r.buildCharts},
		{name: "manifests", do: r.buildManifests},
		{name: "bundle", do: r.buildBundle},
		{name: "command line and SBOMs", do: r.buildBinaries},
		{name: "checksums", do: r.writeChecksums},
		{name: "provenance", do: r.writeProvenance},
		{name: "signatures", do: r.signAll, skip: !r.sign},
		{name: "verification", do: r.verify},
	} {
		if step.skip {
			fmt.Println("release: skipped:", step.name)
			continue
		}
		fmt.Println("release:", step.name)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	fmt.Printf("release: %s is in %s, and its image is %s@%s\n", r.version, r.out, r.image(), r.digest)
	return nil
}

// validate checks the inputs before anything is built.
func (r *release) validate(dry bool) (err error) {
	if r.root, err = filepath.Abs(r.root); err != nil {
		return err
	}
	if r.out, err = filepath.Abs(r.out); err != nil {
		return err
	}
	if semver.Canonical(r.version) != r.version || r.version == "" {
		return fmt.Errorf("-version %q: must be a version such as v0.1.0", r.version)
	}
	if !slices.ContainsFunc(r.platforms, func(p string) bool { return strings.HasPrefix(p, "linux/") }) {
		return fmt.Errorf("-platforms %s: must have one of Linux, for the image", strings.Join(r.platforms, ","))
	}
	changes, err := os.ReadFile(filepath.Join(r.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	if heading := "\n## [" + r.number() + "] - "; !dry && !strings.Contains(string(changes), heading) {
		return fmt.Errorf("CHANGELOG.md: has no %q: name the version and its date above the changes that it brings", strings.TrimSpace(heading))
	}
	return nil
}

// printNotes prints the entry of the change log for the version.
func (r *release) printNotes() error {
	if err := r.validate(false); err != nil {
		return err
	}
	changes, err := os.ReadFile(filepath.Join(r.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(changes), "\n## ["+r.number()+"] - ")
	_, entry, _ := strings.Cut(rest, "\n")
	entry, _, _ = strings.Cut(entry, "\n## [")
	fmt.Println(strings.TrimSpace(entry))
	return nil
}

// number is the version as charts and change logs write it.
func (r *release) number() string { return strings.TrimPrefix(r.version, "v") }

func (r *release) image() string { return r.registry + "/" + operator }

// command runs a program in the repository, with the settings of all builds, and returns its output.
func (r *release) command(ctx context.Context, env []string, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = r.root
	command.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-trimpath -buildvcs=false"), env...)
	var errs strings.Builder
	command.Stderr = &errs
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// tool is the path of a program that a module below hack pins.
func (r *release) tool(ctx context.Context, module, name string) (string, error) {
	return r.command(ctx, nil, "go", "tool", "-modfile="+filepath.Join(r.root, "hack", module, "go.mod"), "-n", name)
}
