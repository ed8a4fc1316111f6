/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
)

// pinnedRelease is from envtest-releases.yaml of sigs.k8s.io/controller-tools: archives of the released etcd, kube-apiserver
// and kubectl.
//
//go:embed release.json
var pinnedRelease []byte

// release has an archive for each platform, by GOOS/GOARCH.
type release struct {
	Version  string             `json:"version"`
	Archives map[string]archive `json:"archives"`
}

type archive struct {
	URL    string `json:"url"`
	SHA512 string `json:"sha512"`
}

func readRelease(content []byte) (r release, err error) {
	if err := json.Unmarshal(content, &r); err != nil {
		return r, fmt.Errorf("reading the pinned release: %w", err)
	}
	return r, nil
}

// largestProgram limits the size of an unpacked program.
const largestProgram = 1 << 30

// install downloads the archive, verifies it, and only then unpacks its programs into dir, atomically.
func (a archive) install(ctx context.Context, from *downloader, dir string) error {
	arriving, err := from.open(ctx, a.URL)
	if err != nil {
		return err
	}
	return errors.Join(a.receive(arriving, dir), arriving.Close())
}

func (a archive) receive(arriving io.Reader, dir string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".download-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	file := filepath.Join(work, "archive.tar.gz")
	if err := a.save(arriving, file); err != nil {
		return err
	}
	unpacked := filepath.Join(work, "programs")
	if err := unpack(file, unpacked); err != nil {
		return err
	}
	if !inDir(unpacked).complete() {
		return fmt.Errorf("the archive lacks %s or %s", etcd, apiserver)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(unpacked, dir)
}

// save writes the archive to the file. It returns an error unless it is the pinned one.
func (a archive) save(arriving io.Reader, to string) error {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	sum := sha512.New()
	_, err = io.Copy(io.MultiWriter(file, sum), arriving)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != a.SHA512 {
		return fmt.Errorf("its SHA-512 is %.12s..., not the pinned %.12s...: nothing of it is used", got, a.SHA512)
	}
	return nil
}

// unpack extracts only the programs of the control plane.
func unpack(file, dir string) error {
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	plain, err := gzip.NewReader(content)
	if err != nil {
		return err
	}
	entries := tar.NewReader(plain)
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch name := path.Base(entry.Name); name {
		case etcd, apiserver, kubectl:
			if entry.Typeflag != tar.TypeReg {
				continue
			}
			if err := writeProgram(entries, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
}

func writeProgram(from io.Reader, to string) error {
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	n, err := io.Copy(file, io.LimitReader(from, largestProgram+1))
	if n > largestProgram {
		err = fmt.Errorf("%s is larger than %d bytes", filepath.Base(to), largestProgram)
	}
	return errors.Join(err, file.Close())
}
