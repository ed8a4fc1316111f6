/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package node

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Registry is the registry that the nodes pull from. It ignores the names of registries: an image that was pushed as
// docker.io/library/busybox is library/busybox, and a node that is asked for the former finds the latter.
type Registry struct {
	address string
	server  *http.Server
}

func serveRegistry(address, dir string) (*Registry, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, err
	}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)))
	r := &Registry{address: listener.Addr().String(), server: &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}}
	go func() { _ = r.server.Serve(listener) }()
	return r, nil
}

func (r *Registry) close() error { return r.server.Close() }

// Push stores an image, or an index of several, under the name that pods use.
func (r *Registry) Push(ctx context.Context, reference string, image remote.Taggable) error {
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return err
	}
	to, err := name.ParseReference(r.address+"/"+parsed.Context().RepositoryStr()+":"+parsed.Identifier(), name.Insecure)
	if err != nil {
		return err
	}
	return Push(ctx, to, image)
}

// Push stores an image, or an index of several, in any registry.
func Push(ctx context.Context, to name.Reference, image remote.Taggable, options ...remote.Option) error {
	options = append(options, remote.WithContext(ctx))
	switch image := image.(type) {
	case v1.ImageIndex:
		return remote.WriteIndex(to, image, options...)
	case v1.Image:
		return remote.Write(to, image, options...)
	}
	return fmt.Errorf("%T is not an image", image)
}

// File is one of an Image: a regular one with the content of Source, or a link to Link.
type File struct{ Path, Source, Link string }

// Image is an image of only these files, which starts with the command.
func Image(user string, command []string, files ...File) (v1.Image, error) {
	content, err := archive(files)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{User: user, Entrypoint: command, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, WorkingDir: "/"}
	return mutate.ConfigFile(image, config)
}

// archive is a tar file with the directories of the files.
func archive(files []File) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	seen := map[string]bool{}
	for _, file := range files {
		path := strings.TrimPrefix(file.Path, "/")
		for i, c := range path {
			if dir := path[:i]; c == '/' && !seen[dir] {
				seen[dir] = true
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
					return nil, err
				}
			}
		}
		if file.Link != "" {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: path, Linkname: file.Link, Mode: 0o777}); err != nil {
				return nil, err
			}
			continue
		}
		content, err := os.ReadFile(file.Source)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
