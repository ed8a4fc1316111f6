/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/yaml"
)

// verify reads the published release, and compares each part with the parts that it describes.
func (r *release) verify(ctx context.Context) error {
	for _, platform := range r.platforms {
		if err := r.verifySBOM(platform); err != nil {
			return err
		}
	}
	return errors.Join(r.verifyChart(), r.verifyRegistry(ctx), r.verifyChecksums(), r.verifyProvenance(), r.verifyManifest(),
		r.verifySignatures(ctx))
}

// verifySBOM compares the SBOM of a platform's binary with the modules that the binary itself names.
func (r *release) verifySBOM(platform string) error {
	files, err := unpack(filepath.Join(r.out, r.archive(platform)+".tar.gz"))
	if err != nil {
		return err
	}
	binary := files[operator]
	if strings.HasPrefix(platform, "windows/") {
		binary = files[operator+".exe"]
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return fmt.Errorf("%s: %w", platform, err)
	}
	want := map[string]string{"std": info.GoVersion}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		want[module.Path] = module.Version
	}
	content, err := os.ReadFile(filepath.Join(r.out, r.archive(platform)+".cdx.json"))
	if err != nil {
		return err
	}
	var sbom struct {
		Metadata struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(content, &sbom); err != nil {
		return err
	}
	got := map[string]string{}
	for _, component := range sbom.Components {
		got[component.Name] = component.Version
	}
	if main := sbom.Metadata.Component; main.Name != module || main.Version != r.version {
		return fmt.Errorf("%s: the SBOM is of %s %s, not of %s %s", platform, main.Name, main.Version, module, r.version)
	}
	for path := range maps.Keys(got) {
		if want[path] == "" {
			return fmt.Errorf("%s: the SBOM has %s, and the binary does not", platform, path)
		}
	}
	for path, version := range want {
		if got[path] != version {
			return fmt.Errorf("%s: the SBOM has %s %q, and the binary %q", platform, path, got[path], version)
		}
	}
	return nil
}

// verifyChart reads the packaged chart.
func (r *release) verifyChart() error {
	for _, name := range charts {
		files, err := unpack(r.chartFile(name))
		if err != nil {
			return err
		}
		var chart struct {
			Version, AppVersion string
			Annotations         map[string]string
		}
		if err := yaml.Unmarshal(files[name+"/Chart.yaml"], &chart); err != nil {
			return err
		}
		if chart.Version != r.number() {
			return fmt.Errorf("chart %s has the version %q, want %q", name, chart.Version, r.number())
		}
		if name != operator {
			continue
		}
		if chart.AppVersion != r.version || chart.Annotations[digestAnnotation] != r.digest {
			return fmt.Errorf("chart %s is of %q and the image %q, want %q and %q", name, chart.AppVersion,
				chart.Annotations[digestAnnotation], r.version, r.digest)
		}
		if image := r.image() + ":" + r.version + "@" + r.digest; !strings.Contains(chart.Annotations["artifacthub.io/images"], image) {
			return fmt.Errorf("chart %s: artifacthub.io/images does not name %s", name, image)
		}
		for _, key := range []string{"license", "crds", "category", "operator", "prerelease", "links"} {
			if chart.Annotations["artifacthub.io/"+key] == "" {
				return fmt.Errorf("chart %s has no annotation artifacthub.io/%s", name, key)
			}
		}
	}
	return nil
}

// references are the artifacts in the registry, by digest.
func (r *release) references() ([]string, error) {
	all := []string{r.image() + "@" + r.digest}
	for _, chart := range charts {
		tag := r.registry + "/charts/" + chart
		reference, err := name.ParseReference(tag + ":" + r.number())
		if err != nil {
			return nil, err
		}
		found, err := remote.Head(reference, remote.WithAuthFromKeychain(authn.DefaultKeychain))
		if err != nil {
			return nil, err
		}
		all = append(all, tag+"@"+found.Digest.String())
	}
	return all, nil
}

// verifyRegistry reads the image by its tag, and each chart's package.
func (r *release) verifyRegistry(ctx context.Context) error {
	keychain := remote.WithAuthFromKeychain(authn.DefaultKeychain)
	reference, err := name.ParseReference(r.image() + ":" + r.version)
	if err != nil {
		return err
	}
	found, err := remote.Head(reference, keychain, remote.WithContext(ctx))
	if err != nil {
		return err
	}
	if found.Digest.String() != r.digest {
		return fmt.Errorf("the tag %s is %s, want %s", reference, found.Digest, r.digest)
	}
	for _, chart := range charts {
		reference, err := name.ParseReference(r.registry + "/charts/" + chart + ":" + r.number())
		if err != nil {
			return err
		}
		image, err := remote.Image(reference, keychain, remote.WithContext(ctx))
		if err != nil {
			return err
		}
		manifest, err := image.Manifest()
		if err != nil {
			return err
		}
		sum, err := r.sum(filepath.Base(r.chartFile(chart)))
		if err != nil {
			return err
		}
		if len(manifest.Layers) == 0 || manifest.Layers[0].Digest.Hex != sum {
			return fmt.Errorf("the chart %s in the registry is not the file", reference)
		}
	}
	return nil
}

// verifyChecksums recomputes each line, and checks that every file has one.
func (r *release) verifyChecksums() error {
	content, err := os.ReadFile(filepath.Join(r.out, checksumsFile))
	if err != nil {
		return err
	}
	var listed []string
	for line := range strings.Lines(string(content)) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		got, err := r.sum(name)
		if err != nil {
			return err
		}
		if got != sum {
			return fmt.Errorf("%s: %s has the checksum %s", checksumsFile, name, got)
		}
		listed = append(listed, name)
	}
	names, err := r.artifacts()
	if err == nil && !slices.Equal(names, listed) {
		err = fmt.Errorf("%s lists %q, and there are %q", checksumsFile, listed, names)
	}
	return err
}

func (r *release) verifyProvenance() error {
	content, err := os.ReadFile(filepath.Join(r.out, provenanceFile))
	if err != nil {
		return err
	}
	var s statement
	if err := json.Unmarshal(content, &s); err != nil {
		return err
	}
	subjects := map[string]string{}
	for _, one := range s.Subject {
		subjects[one.Name] = one.Digest["sha256"]
	}
	if "sha256:"+subjects[r.image()] != r.digest {
		return fmt.Errorf("%s: the image is %q, want %s", provenanceFile, subjects[r.image()], r.digest)
	}
	names, err := r.artifacts()
	if err != nil {
		return err
	}
	for _, name := range append(names, checksumsFile) {
		sum, err := r.sum(name)
		if err != nil {
			return err
		}
		if subjects[name] != sum {
			return fmt.Errorf("%s: %s is %q, want %s", provenanceFile, name, subjects[name], sum)
		}
	}
	if from := s.Predicate.BuildDefinition.ResolvedDependencies; len(from) != 1 || from[0].Digest["gitCommit"] != r.commit {
		return fmt.Errorf("%s does not name the commit %s", provenanceFile, r.commit)
	}
	return nil
}

func (r *release) verifyManifest() error {
	content, err := os.ReadFile(filepath.Join(r.out, "install.yaml"))
	if err != nil {
		return err
	}
	if image := "image: " + r.image() + "@" + r.digest + "\n"; strings.Count(string(content), image) != 1 {
		return fmt.Errorf("install.yaml does not have %q once", image)
	}
	return nil
}

// verifySignatures checks what a dry run signed by its key. The workflow checks the signatures by GitHub, because it knows the signer.
func (r *release) verifySignatures(ctx context.Context) error {
	if !r.sign || r.keyDir == "" {
		return nil
	}
	cosign, err := r.tool(ctx, "cosign", "cosign")
	if err != nil {
		return err
	}
	key := []string{"--key", filepath.Join(r.keyDir, "cosign.pub"), "--insecure-ignore-tlog=true"}
	for _, name := range []string{checksumsFile, provenanceFile} {
		file := filepath.Join(r.out, name)
		args := append([]string{"verify-blob", "--bundle", file + signatureEnd}, key...)
		if _, err := r.command(ctx, r.cosignEnv(), cosign, append(args, file)...); err != nil {
			return err
		}
	}
	references, err := r.references()
	if err != nil {
		return err
	}
	for _, reference := range references {
		args := append([]string{"verify", "--allow-insecure-registry", "--allow-http-registry"}, key...)
		if _, err := r.command(ctx, r.cosignEnv(), cosign, append(args, reference)...); err != nil {
			return err
		}
	}
	return nil
}

// unpack reads the files of an archive.
func unpack(path string) (map[string][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	compressed, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(compressed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			return nil, err
		}
	}
}
