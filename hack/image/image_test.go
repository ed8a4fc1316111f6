/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var release = source{
	dir: root, version: "v1.2.3", commit: "0123456789abcdef0123456789abcdef01234567", date: "2026-02-03T04:05:06Z",
}

func TestTheImage(t *testing.T) {
	out := t.TempDir()
	digest, err := write(t.Context(), release, out)
	if err != nil {
		t.Fatal(err)
	}
	images := readLayout(t, out, digest)
	if got := slices.Sorted(maps.Keys(images)); !slices.Equal(got, platforms) {
		t.Fatalf("the platforms are %v", got)
	}
	for platform, image := range images {
		t.Run(platform, func(t *testing.T) { checkImage(t, platform, image) })
	}
	t.Run("is pushed as it is", func(t *testing.T) {
		server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		t.Cleanup(server.Close)
		to := strings.TrimPrefix(server.URL, "http://") + "/operator:v1.2.3"
		if err := push(t.Context(), out, digest, to); err != nil {
			t.Fatal(err)
		}
		reference, err := name.ParseReference(to)
		if err != nil {
			t.Fatal(err)
		}
		pushed, err := remote.Index(reference)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(pushed); err != nil {
			t.Error(err)
		}
		if got, err := pushed.Digest(); err != nil || got != digest {
			t.Errorf("the registry has %s (%v), want %s", got, err, digest)
		}
		if err := push(t.Context(), out, digest, "Not A Reference"); err == nil || !strings.Contains(err.Error(), "-push") {
			t.Errorf("a wrong reference: %v", err)
		}
	})
	t.Run("is built the same elsewhere", func(t *testing.T) {
		elsewhere := release
		elsewhere.dir = copySources(t)
		if again, err := write(t.Context(), elsewhere, t.TempDir()); err != nil || again != digest {
			t.Errorf("the digest is %s and then %s (%v)", digest, again, err)
		}
	})
}

// Tests in pods need one platform only, and building for another takes minutes.
func TestTheImageOfOnePlatform(t *testing.T) {
	one := release
	one.platforms = []string{runtime.GOOS + "/" + runtime.GOARCH}
	if !slices.Contains(platforms, one.platforms[0]) {
		one.platforms = platforms[:1]
	}
	out := t.TempDir()
	digest, err := write(t.Context(), one, out)
	if err != nil {
		t.Fatal(err)
	}
	images := readLayout(t, out, digest)
	if got := slices.Sorted(maps.Keys(images)); !slices.Equal(got, one.platforms) {
		t.Fatalf("the platforms are %v", got)
	}
	checkImage(t, one.platforms[0], images[one.platforms[0]])
	for _, wrong := range []string{"linux", "amd64", "linux/riscv64", "windows/amd64", "all"} {
		one.platforms = []string{wrong}
		if _, err := write(t.Context(), one, out); err == nil || !strings.Contains(err.Error(), "-platforms "+wrong) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

// readLayout returns the images of a valid layout by platform.
func readLayout(t *testing.T, dir string, digest v1.Hash) map[string]v1.Image {
	t.Helper()
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	index, err := top.ImageIndex(digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]v1.Image{}
	for _, one := range manifest.Manifests {
		if images[one.Platform.String()], err = index.Image(one.Digest); err != nil {
			t.Fatal(err)
		}
	}
	return images
}

func checkImage(t *testing.T, platform string, image v1.Image) {
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	if config.User != user || config.Cmd != nil || len(config.Entrypoint) != 1 {
		t.Errorf("user %q, entrypoint %v, command %v", config.User, config.Entrypoint, config.Cmd)
	}
	if !maps.Equal(config.Labels, release.labels()) {
		t.Errorf("the labels are %v", config.Labels)
	}
	if created := file.Created.UTC().Format("2006-01-02T15:04:05Z"); created != release.date || file.OS+"/"+file.Architecture != platform {
		t.Errorf("created %s for %s/%s", created, file.OS, file.Architecture)
	}
	binary := extract(t, image, config.Entrypoint[0])
	program, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	machine := map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}[platform]
	if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 || program.Machine != machine {
		t.Errorf("the binary is for %s and needs %v (%v)", program.Machine, libraries, err)
	}
	if platform != runtime.GOOS+"/"+runtime.GOARCH {
		return // The other platforms' are only looked at.
	}
	printed, err := exec.CommandContext(t.Context(), binary, "--version").CombinedOutput()
	for _, want := range []string{release.version, release.commit, release.date} {
		if err != nil || !strings.Contains(string(printed), want) {
			t.Errorf("--version prints %q (%v), which lacks %s", printed, err, want)
		}
	}
}

// extract extracts the only file of an image.
func extract(t *testing.T, image v1.Image, name string) string {
	t.Helper()
	flat := mutate.Extract(image)
	defer func() { _ = flat.Close() }()
	out := filepath.Join(t.TempDir(), path.Base(name))
	var files []string
	for reader := tar.NewReader(flat); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if header.Mode&0o022 != 0 || header.Mode&0o005 != 0o005 {
			t.Errorf("%s has mode %o", header.Name, header.Mode)
		}
		files = append(files, path.Join("/", header.Name))
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(files, []string{name}) {
		t.Fatalf("the image holds %v, want %s alone", files, name)
	}
	return out
}

// copySources copies the sources of the operator to another directory.
func copySources(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append(sources(t), "go.mod", "go.sum") {
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(read(t, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
