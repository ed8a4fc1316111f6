/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command prepare prepares the programs of the demo. It builds the operator and the demo. The control plane is, in this
// order: that of KUBEBUILDER_ASSETS, that of make control-plane, that on the PATH, the official binaries if their host
// responds, or one that it builds. It uses only the standard library, so that it compiles in seconds.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

func main() { os.Exit(run()) }

func run() int {
	ldflags := flag.String("ldflags", "", "Flags of the linker for the operator.")
	download := flag.Bool("download", true, "Whether official binaries may be downloaded.")
	fresh := flag.Bool("fresh", false, "Whether to ignore a control plane of make control-plane or on the PATH.")
	releaseFile := flag.String("release", "", "File that names the official archives, in place of the pinned ones.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	began := time.Now()
	p := &preparation{
		progress: newProgress(os.Stderr), ldflags: *ldflags, platform: runtime.GOOS + "/" + runtime.GOARCH, fresh: *fresh,
	}
	err := p.configure(*download, *releaseFile)
	if err == nil {
		err = p.run(ctx)
	}
	if err != nil {
		p.say("%v", err)
		return 1
	}
	p.say("ready, after %v", time.Since(began).Round(time.Second))
	return 0
}

func (p *preparation) configure(download bool, releaseFile string) (err error) {
	if p.root, err = os.Getwd(); err != nil {
		return err
	}
	content := pinnedRelease
	if releaseFile != "" {
		if content, err = os.ReadFile(releaseFile); err != nil {
			return fmt.Errorf("-release: %w", err)
		}
	}
	if p.release, err = readRelease(content); err != nil {
		return err
	}
	if download {
		p.official = newDownloader(p.arrivals())
	}
	return nil
}

// secondsPerMebibyte is the weight of a downloaded mebibyte, in seconds of compiling.
const secondsPerMebibyte = 0.1

// arrivals converts the bytes of a download to progress.
func (p *progress) arrivals() func(got, all int64) {
	const mebibyte = 1 << 20
	var before, expected int64
	return func(got, all int64) {
		if expected == 0 && all > 0 {
			expected = all
			p.expect(float64(all) / mebibyte * secondsPerMebibyte)
		}
		if all > 0 && (got-before >= mebibyte || got == all) {
			p.did(float64(got-before)/mebibyte*secondsPerMebibyte, "official binaries")
			before = got
		}
	}
}
