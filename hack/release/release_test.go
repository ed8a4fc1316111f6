/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestARelease makes a release of this machine's platform, in a registry on loopback, without signatures: `make release`
// makes those. Then each part is changed, and the verification has to detect it.
func TestARelease(t *testing.T) {
	r := &release{
		root: "../..", out: filepath.Join(t.TempDir(), "out"), version: "v1.2.3-rc.1", commit: "0123456789abcdef0123456789abcdef01234567",
		date: "2026-02-03T04:05:06Z", platforms: []string{runtime.GOOS + "/" + runtime.GOARCH},
	}
	if err := r.validate(true); err != nil {
		t.Fatal(err)
	}
	end, err := r.dryRun()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	if err := r.steps(t.Context()); err != nil {
		t.Fatal(err)
	}
	sbom := r.archive(r.platforms[0]) + ".cdx.json"
	for _, row := range []struct {
		name, file, old, replacement, want string
	}{
		{"a module's version in the SBOM", sbom, `"version": "v1.10.2"`, `"version": "v1.10.1"`, "the SBOM has github.com/spf13/cobra"},
		{"a module's name in the SBOM", sbom, `"name": "github.com/spf13/cobra"`, `"name": "github.com/spf13/adder"`, "the SBOM has github.com/spf13/adder"},
		{"the version in the SBOM", sbom, `"version": "v1.2.3-rc.1"`, `"version": "v1.2.2"`, "the SBOM is of"},
		{"a checksum", checksumsFile, "  install.yaml", "  crds.yaml", checksumsFile + ": crds.yaml has the checksum"},
		{"a manifest", "crds.yaml", "Agent", "Argent", checksumsFile + ": crds.yaml has the checksum"},
		{"the image of the manifest", "install.yaml", r.digest, "latest", "install.yaml does not have"},
		{"the image of the provenance", provenanceFile, strings.TrimPrefix(r.digest, "sha256:"), "00", provenanceFile + ": the image is"},
		{"the commit of the provenance", provenanceFile, r.commit, "00", provenanceFile + " does not name the commit"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(r.out, row.file)
			before, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(before, []byte(row.old)) {
				t.Fatalf("%s has no %q: %v", row.file, row.old, err)
			}
			restore := func() {
				if err := os.WriteFile(path, before, 0o600); err != nil {
					t.Error(err)
				}
			}
			defer restore()
			if err := os.WriteFile(path, bytes.Replace(before, []byte(row.old), []byte(row.replacement), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := r.verify(t.Context()); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the verification says %v, want %q", err, row.want)
			}
		})
	}
	t.Run("a file more", func(t *testing.T) {
		path := filepath.Join(r.out, "more")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Remove(path) }()
		if err := r.verify(t.Context()); err == nil || !strings.Contains(err.Error(), checksumsFile+" lists") {
			t.Errorf("the verification says %v", err)
		}
	})
	for name, change := range map[string]func(*release){
		"another image": func(r *release) { r.digest = "sha256:" + strings.Repeat("0", 64) },
	} {
		t.Run(name, func(t *testing.T) {
			other := *r
			change(&other)
			for part, err := range map[string]error{"chart": other.verifyChart(), "registry": other.verifyRegistry(t.Context())} {
				if err == nil {
					t.Errorf("the %s passes", part)
				}
			}
		})
	}
}

func TestInvalidReleasesAreRefused(t *testing.T) {
	for _, row := range []struct {
		name string
		give release
		want string
	}{
		{"no version", release{}, "must be a version"},
		{"a version without v", release{version: "1.2.3"}, "must be a version"},
		{"a short version", release{version: "v1.2"}, "must be a version"},
		{"a version with a build", release{version: "v1.2.3+a"}, "must be a version"},
		{"no image", release{version: "v1.2.3", platforms: []string{"darwin/arm64"}}, "-platforms darwin/arm64"},
		{"a version that the change log does not have", release{version: "v99.0.0", platforms: []string{"linux/amd64"}}, "CHANGELOG.md"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.give.root = "../.."
			if err := row.give.validate(false); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("it says %v, want %q", err, row.want)
			}
		})
	}
}
