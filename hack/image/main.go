/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command image builds the operator's image without Docker, for all platforms, into an OCI image layout, and pushes it
// if asked to. The base is empty: the operator is one static file that includes root certificates. The same commit
// gives the same digest.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/google/ko/pkg/build"
)

const module = "github.com/calyptia-agent-operator/operator"

// user is not root, and a number: with runAsNonRoot, Kubernetes cannot check a name.
const user = "65532:65532"

// platforms are the supported platforms.
var platforms = []string{"linux/amd64", "linux/arm64"}

// source is the code to build, and its metadata.
type source struct {
	dir                   string
	version, commit, date string
	platforms             []string // empty for all
}

func main() {
	var s source
	flag.StringVar(&s.dir, "dir", "../..", "root of the operator's module")
	flag.StringVar(&s.version, "version", "dev", "version of the operator")
	flag.StringVar(&s.commit, "commit", "unknown", "commit that is built")
	flag.StringVar(&s.date, "date", "unknown", "time of the commit, RFC 3339")
	only := flag.String("platforms", "", "platforms to build for, such as linux/amd64; empty for all: "+strings.Join(platforms, ","))
	out := flag.String("out", "../../bin/image", "directory of the OCI image layout; what is there goes")
	to := flag.String("push", "", "reference to push it to, such as registry.example.com/operator:v1; empty for nowhere")
	flag.Parse()
	s.platforms = strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	digest, err := write(ctx, s, *out)
	if err == nil && *to != "" {
		err = push(ctx, *out, digest, *to)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Println(digest)
}

// push pushes the layout to a registry, with the credentials of `docker login`, if any.
func push(ctx context.Context, dir string, digest v1.Hash, to string) error {
	reference, err := name.ParseReference(to)
	if err != nil {
		return fmt.Errorf("-push %q: must be a reference such as registry.example.com/operator:v1: %w", to, err)
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return err
	}
	index, err := top.ImageIndex(digest)
	if err != nil {
		return err
	}
	return remote.WriteIndex(reference, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
}

// write builds the image, writes it to an OCI image layout, and validates that.
func write(ctx context.Context, s source, out string) (v1.Hash, error) {
	index, err := s.build(ctx)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := os.RemoveAll(out); err != nil {
		return v1.Hash{}, err
	}
	path, err := layout.Write(out, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	// The annotation is the tag of an image in a layout.
	tag := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": s.version})
	if err := path.AppendIndex(index, tag); err != nil {
		return v1.Hash{}, err
	}
	written, err := layout.ImageIndexFromPath(out)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := validate.Index(written); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}

func (s source) build(ctx context.Context) (v1.ImageIndex, error) {
	wanted := platforms
	if len(s.platforms) > 0 {
		wanted = s.platforms
	}
	for _, platform := range wanted {
		if !slices.Contains(platforms, platform) {
			return nil, fmt.Errorf("-platforms %s: must be of %s", platform, strings.Join(platforms, ","))
		}
	}
	created, err := time.Parse(time.RFC3339, s.date)
	if err != nil {
		created = time.Unix(0, 0).UTC()
	}
	base, err := emptyBase()
	if err != nil {
		return nil, err
	}
	const variables = module + "/internal/version."
	options := []build.Option{
		build.WithBaseImages(func(context.Context, string) (name.Reference, build.Result, error) {
			return name.MustParseReference("scratch"), base, nil
		}),
		build.WithPlatforms(wanted...), build.WithTrimpath(true), build.WithDisabledSBOM(), build.WithJobs(1),
		build.WithCreationTime(v1.Time{Time: created}), build.WithUser(user),
		build.WithConfig(map[string]build.Config{module: {
			Env:   []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false"},
			Flags: build.FlagArray{"-buildvcs=false"},
			Ldflags: build.StringArray{
				"-s", "-w", "-X " + variables + "Version=" + s.version,
				"-X " + variables + "Commit=" + s.commit, "-X " + variables + "Date=" + s.date,
			},
		}}),
	}
	for key, value := range s.labels() {
		options = append(options, build.WithLabel(key, value))
	}
	builder, err := build.NewGo(ctx, s.dir, options...)
	if err != nil {
		return nil, err
	}
	result, err := builder.Build(ctx, build.StrictScheme+module)
	if err != nil {
		return nil, err
	}
	switch result := result.(type) {
	case v1.ImageIndex:
		return result, nil
	case v1.Image: // ko's result for one platform
		return addTo(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), result, wanted[0]), nil
	}
	return nil, fmt.Errorf("the result is a %T, not an image", result)
}

// labels are those of the Dockerfile, too.
func (s source) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "calyptia-agent-operator",
		"org.opencontainers.image.description": "Declares the agents of Calyptia Cloud projects as Kubernetes objects.",
		"org.opencontainers.image.source":      "https://" + module,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     s.version,
		"org.opencontainers.image.revision":    s.commit,
		"org.opencontainers.image.created":     s.date,
	}
}

// emptyBase is scratch, for all platforms.
func emptyBase() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range platforms {
		system, architecture, _ := strings.Cut(platform, "/")
		image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
			OS: system, Architecture: architecture, RootFS: v1.RootFS{Type: "layers"},
		})
		if err != nil {
			return nil, err
		}
		image = mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), types.OCIConfigJSON)
		index = addTo(index, image, platform)
	}
	return index, nil
}

func addTo(index v1.ImageIndex, image v1.Image, platform string) v1.ImageIndex {
	system, architecture, _ := strings.Cut(platform, "/")
	return mutate.AppendManifests(index, mutate.IndexAddendum{
		Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: system, Architecture: architecture}},
	})
}
