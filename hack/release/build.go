/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// buildImage builds the image, pushes it, and keeps its digest.
func (r *release) buildImage(ctx context.Context) error {
	var linux []string
	for _, platform := range r.platforms {
		if strings.HasPrefix(platform, "linux/") {
			linux = append(linux, platform)
		}
	}
	layout, err := os.MkdirTemp("", "release-image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(layout) }()
	r.digest, err = r.command(ctx, nil, "go", "-C", "hack/image", "run", ".", "-version", r.version, "-commit", r.commit, "-date", r.date,
		"-platforms", strings.Join(linux, ","), "-out", layout, "-push", r.image()+":"+r.version)
	return err
}

// buildManifests writes the manifests of `make deploy` with the released image, and the CRDs separately.
func (r *release) buildManifests(ctx context.Context) error {
	kustomize, err := r.tool(ctx, "tools", "kustomize")
	if err != nil {
		return err
	}
	for name, dir := range map[string]string{"install.yaml": "config/default", "crds.yaml": "config/crd"} {
		text, err := r.command(ctx, nil, kustomize, "build", dir)
		if err != nil {
			return err
		}
		const source = "ghcr.io/calyptia-agent-operator/calyptia-agent-operator:latest"
		if name == "install.yaml" && strings.Count(text, source) != 1 {
			return fmt.Errorf("%s: the image is not there once", dir)
		}
		text = strings.Replace(text, source, r.image()+"@"+r.digest, 1)
		if err := os.WriteFile(filepath.Join(r.out, name), []byte(text+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// buildBundle writes the bundle of the Operator Lifecycle Manager as an archive.
func (r *release) buildBundle(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "release-bundle-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bundle := filepath.Join(dir, "bundle")
	if _, err := r.command(ctx, nil, "go", "run", "./hack/bundle", "-version", r.version, "-image", r.image()+"@"+r.digest,
		"-created", r.date, "-out", bundle); err != nil {
		return err
	}
	var entries []entry
	err = filepath.WalkDir(bundle, func(path string, file fs.DirEntry, err error) error {
		if err == nil && !file.IsDir() {
			name, _ := filepath.Rel(dir, path)
			entries = append(entries, entry{name: filepath.ToSlash(name), from: path, mode: 0o644})
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.pack(filepath.Join(r.out, operator+"-olm-bundle_"+r.number()+".tar.gz"), entries)
}

// buildBinaries builds the command line for each platform, with an archive and an SBOM of each.
func (r *release) buildBinaries(ctx context.Context) error {
	gomod, err := r.tool(ctx, "release", "cyclonedx-gomod")
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "release-binary-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	const variables = module + "/internal/version."
	ldflags := fmt.Sprintf("-s -w -X %[1]sVersion=%[2]s -X %[1]sCommit=%[3]s -X %[1]sDate=%[4]s", variables, r.version, r.commit, r.date)
	for _, platform := range r.platforms {
		system, architecture, _ := strings.Cut(platform, "/")
		binary, suffix := filepath.Join(work, operator), ""
		if system == "windows" {
			suffix = ".exe"
		}
		env := []string{"GOOS=" + system, "GOARCH=" + architecture}
		if _, err := r.command(ctx, env, "go", "build", "-ldflags", ldflags, "-o", binary, "."); err != nil {
			return err
		}
		sbom := filepath.Join(r.out, r.archive(platform)+".cdx.json")
		if _, err := r.command(ctx, nil, gomod, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", r.version,
			"-output", sbom, binary); err != nil {
			return err
		}
		// The program has two names.
		if err := r.pack(filepath.Join(r.out, r.archive(platform)+".tar.gz"), []entry{
			{name: operator + suffix, from: binary, mode: 0o755},
			{name: plugin + suffix, link: operator + suffix, mode: 0o755},
			{name: "LICENSE", from: filepath.Join(r.root, "LICENSE"), mode: 0o644},
		}); err != nil {
			return err
		}
	}
	return nil
}

// archive is the name of the archive of a platform, without its extension.
func (r *release) archive(platform string) string {
	return operator + "_" + r.number() + "_" + strings.ReplaceAll(platform, "/", "_")
}

// entry is a file of an archive, or a link to another one.
type entry struct {
	name, from, link string
	mode             int64
}

// pack writes an archive. The same files give the same archive.
func (r *release) pack(path string, entries []entry) (err error) {
	modified, err := time.Parse(time.RFC3339, r.date)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	compressed := gzip.NewWriter(file)
	archive := tar.NewWriter(compressed)
	for _, entry := range entries {
		header := &tar.Header{Name: entry.name, Mode: entry.mode, ModTime: modified.UTC(), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		var content []byte
		if entry.link != "" {
			header.Typeflag, header.Linkname = tar.TypeLink, entry.link
		} else if content, err = os.ReadFile(entry.from); err != nil {
			return err
		}
		header.Size = int64(len(content))
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(content); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), compressed.Close())
}
