/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"
)

// digestAnnotation is the annotation by which the chart finds its released image.
const digestAnnotation = "cloud.calyptia.com/image-digest"

var charts = []string{operator, "calyptia-agents"}

// buildCharts packages the charts with the version, the image and the metadata for Artifact Hub, and pushes them.
func (r *release) buildCharts(ctx context.Context) error {
	helm, err := r.tool(ctx, "helm", "helm")
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "release-chart-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	for _, name := range charts {
		dir := filepath.Join(work, name)
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(r.root, "charts", name))); err != nil {
			return err
		}
		if err := r.stamp(name, filepath.Join(dir, "Chart.yaml")); err != nil {
			return err
		}
		if err := r.nameImage(name, filepath.Join(dir, "values.yaml")); err != nil {
			return err
		}
		if _, err := r.command(ctx, nil, helm, "lint", "--strict", dir); err != nil {
			return err
		}
		if _, err := r.command(ctx, nil, helm, "package", dir, "--destination", r.out); err != nil {
			return err
		}
		args := []string{"push", r.chartFile(name), "oci://" + r.registry + "/charts"}
		if r.plainHTTP {
			args = append(args, "--plain-http")
		}
		if _, err := r.command(ctx, nil, helm, args...); err != nil {
			return err
		}
	}
	return nil
}

func (r *release) chartFile(name string) string {
	return filepath.Join(r.out, name+"-"+r.number()+".tgz")
}

// stamp writes version and image into Chart.yaml.
func (r *release) stamp(name, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var chart map[string]any
	if err := yaml.Unmarshal(content, &chart); err != nil {
		return err
	}
	chart["version"] = r.number()
	annotations, _ := chart["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
	}
	annotations["artifacthub.io/prerelease"] = fmt.Sprint(semver.Prerelease(r.version) != "")
	if name == operator {
		chart["appVersion"] = r.version
		annotations[digestAnnotation] = r.digest
		annotations["artifacthub.io/images"] = fmt.Sprintf("- name: manager\n  image: %s:%s@%s\n", r.image(), r.version, r.digest)
	}
	chart["annotations"] = annotations
	written, err := yaml.Marshal(chart)
	if err != nil {
		return err
	}
	return os.WriteFile(path, written, 0o644)
}

// nameImage checks that the values of the chart name the pushed image, except in a dry run, whose registry is local.
func (r *release) nameImage(name, path string) error {
	if name != operator || r.plainHTTP {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var values struct {
		ImageRegistry, ImageNamespace string
		Image                         struct{ Name string }
	}
	if err := yaml.Unmarshal(content, &values); err != nil {
		return err
	}
	if named := values.ImageRegistry + "/" + values.ImageNamespace + "/" + values.Image.Name; named != r.image() {
		return errors.New("the chart's values name the image " + named + ", which was pushed to " + r.image())
	}
	return nil
}
