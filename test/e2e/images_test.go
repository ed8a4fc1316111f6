/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/e2e/node"
)

// The names of the images in the chart and in the sample.
const (
	operatorImage  = "registry.example.com/calyptia-agent-operator"
	operatorTag    = "e2e"
	sampleImage    = "ghcr.io/calyptia-agent-operator/calyptia-agent-operator:latest" // the operator's image in the samples
	kubectlImage   = "registry.k8s.io/kubectl:v1.37.2"
	fluentBitImage = "docker.io/fluent/fluent-bit:5.1.1"
	fetchImage     = "docker.io/library/fetch:built"

	fluentBitPath = "/fluent-bit/bin/fluent-bit"
)

// pushImages builds the images of the tests and pushes them to the registry of the cluster. The node of the tests
// resolves each by its public name; in the registry of another cluster it has another name.
func (s *site) pushImages(ctx context.Context) error {
	built := map[string]string{}
	for _, program := range []string{"fluentbit", "fetch"} {
		path, err := node.Build(ctx, "./test/e2e/"+program, filepath.Join(s.work, program))
		if err != nil {
			return err
		}
		built[program] = path
	}
	s.images = map[string]string{}
	if err := s.pushOperator(ctx); err != nil {
		return err
	}
	for _, image := range []struct {
		name, user string
		command    []string
		files      []node.File
	}{
		{kubectlImage, "", []string{"/bin/kubectl"}, []node.File{{Path: "/bin/kubectl", Source: s.kubectl}}},
		{fetchImage, "65532", []string{"/fetch"}, []node.File{{Path: "/fetch", Source: built["fetch"]}}},
		{fluentBitImage, "", []string{fluentBitPath}, []node.File{{Path: fluentBitPath, Source: built["fluentbit"]}}},
	} {
		if theirs := os.Getenv("FLUENT_BIT_IMAGE"); theirs != "" && image.name == fluentBitImage {
			if err := s.pushRealFluentBit(ctx, theirs); err != nil {
				return err
			}
			continue
		}
		made, err := node.Image(image.user, image.command, image.files...)
		if err != nil {
			return err
		}
		if err := s.push(ctx, image.name, made); err != nil {
			return err
		}
	}
	return nil
}

// pushOperator pushes the image that `make e2e` built.
func (s *site) pushOperator(ctx context.Context) error {
	dir := filepath.Join(testenv.ModuleRoot(), "bin", "e2e-image")
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return fmt.Errorf("the image is not built, run `make e2e`: %w", err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return err
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	if err := s.push(ctx, operatorImage+":"+operatorTag, index); err != nil {
		return err
	}
	return s.push(ctx, sampleImage, index)
}

// pushRealFluentBit pushes the image from its registry, because the node has no internet access.
func (s *site) pushRealFluentBit(ctx context.Context, reference string) error {
	from, err := name.ParseReference(reference)
	if err != nil {
		return fmt.Errorf("FLUENT_BIT_IMAGE: %w", err)
	}
	image, err := remote.Image(from, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return fmt.Errorf("FLUENT_BIT_IMAGE: %w", err)
	}
	return s.push(ctx, fluentBitImage, image)
}

func (s *site) push(ctx context.Context, image string, content remote.Taggable) error {
	if s.node != nil {
		s.images[image] = image
		return s.node.Registry.Push(ctx, image, content)
	}
	to := os.Getenv("E2E_REGISTRY") + image[strings.LastIndex(image, "/"):]
	s.images[image] = to
	reference, err := name.ParseReference(to)
	if err != nil {
		return fmt.Errorf("E2E_REGISTRY: %w", err)
	}
	return node.Push(ctx, reference, content, remote.WithAuthFromKeychain(authn.DefaultKeychain))
}

// repository is the repository that pods pull the operator's image from; its tag is operatorTag.
func repository() string {
	return strings.TrimSuffix(image(operatorImage+":"+operatorTag), ":"+operatorTag)
}

// image is a name by which pods pull an image.
func image(name string) string {
	if here.images[name] != "" {
		return here.images[name]
	}
	return name
}
