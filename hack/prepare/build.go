/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// build is one run of go build.
type build struct {
	module   string // its directory
	packages []string
	out      string // a file, or a directory that ends with a slash
	ldflags  string
}

// The work per second of one processor, fitted to a measured build: bytes of source, imported packages whose export data is
// read, and packages of a linked program.
const (
	bytesPerSecond = 550_000
	depsPerSecond  = 1_700
	linkPerSecond  = 300
)

// plan lists the packages to compile, with the estimated time of each. It downloads missing modules.
func (b build) plan(ctx context.Context) (map[string]float64, error) {
	const format = `{{.ImportPath}}|{{.Dir}}|{{join .GoFiles "/"}}|{{len .Deps}}|{{.Stale}}|{{.StaleReason}}`
	command := b.command(ctx, append([]string{"list", "-deps", "-f", format}, b.packages...)...)
	var failure bytes.Buffer
	command.Stderr = &failure
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w: %s", b.module, err, &failure)
	}
	work := map[string]float64{}
	for line := range strings.Lines(string(output)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) != 6 || fields[4] != "true" || strings.HasPrefix(fields[5], "not installed but available") {
			continue
		}
		deps, _ := strconv.Atoi(fields[3])
		work[fields[0]] = size(fields[1], strings.Split(fields[2], "/"))/bytesPerSecond + float64(deps)/depsPerSecond
	}
	return work, nil
}

// linking estimates the time to link these packages.
func linking(work map[string]float64, programs int) float64 {
	return float64(len(work)*programs) / linkPerSecond
}

func size(dir string, files []string) (sum float64) {
	for _, file := range files {
		if info, err := os.Stat(filepath.Join(dir, file)); err == nil {
			sum += float64(info.Size())
		}
	}
	return sum
}

func (b build) command(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = b.module
	command.Env = append(os.Environ(), "GOWORK=off")
	if os.Getenv("GOGC") == "" {
		// The compiler spends a fifth of its time on garbage collection, which short processes do not need.
		command.Env = append(command.Env, "GOGC="+compilerGOGC)
	}
	return command
}

const compilerGOGC = "400"

// run builds, and calls compiled for each package.
func (b build) run(ctx context.Context, compiled func(pkg string)) error {
	args := []string{"build", "-v", "-mod=readonly", "-ldflags", b.ldflags, "-o", b.out}
	command := b.command(ctx, append(args, b.packages...)...)
	output, err := command.StderrPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	said := follow(output, compiled)
	if err := command.Wait(); err != nil {
		return fmt.Errorf("go build %s in %s: %w\n%s", strings.Join(b.packages, " "), b.module, err, said)
	}
	return nil
}

// follow reads the output of go build -v and returns the lines that are not about progress.
func follow(output io.Reader, compiled func(pkg string)) string {
	var rest strings.Builder
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "go: downloading "):
		case strings.ContainsAny(line, " #\t"):
			rest.WriteString(line + "\n")
		default:
			compiled(line)
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, os.ErrClosed) {
		rest.WriteString(err.Error())
		_, _ = io.Copy(io.Discard, output)
	}
	return rest.String()
}
