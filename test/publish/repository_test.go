/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package publish_test checks what the public sees first: workflows, templates, the change log, and the metadata for
// registries.
package publish_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

func path(parts ...string) string {
	return filepath.Join(append([]string{testenv.ModuleRoot()}, parts...)...)
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	content, err := os.ReadFile(path(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func files(t *testing.T, pattern ...string) []string {
	t.Helper()
	found, err := filepath.Glob(path(pattern...))
	if err != nil || len(found) == 0 {
		t.Fatalf("%q: %d files, %v", pattern, len(found), err)
	}
	return found
}

func decode(t *testing.T, content string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(content), into, yaml.DisallowUnknownFields); err != nil {
		t.Fatal(err)
	}
}

// workflow holds the fields of a workflow that the checks read.
type workflow struct {
	Name        string
	On          any `json:"true"` // as YAML 1.1 reads "on"
	Permissions map[string]string
	Concurrency any
	Jobs        map[string]struct {
		RunsOn         string            `json:"runs-on"`
		TimeoutMinutes int               `json:"timeout-minutes"`
		Environment    string            `json:"environment"`
		Permissions    map[string]string `json:"permissions"`
		Steps          []struct {
			Name, Uses, Run string
			With            map[string]any
			Env             map[string]string
		}
	}
}

var (
	pinned   = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	versions = regexp.MustCompile(`(?m)uses: (\S+) # v\d+\.\d+\.\d+$`)
	targets  = regexp.MustCompile(`\bmake ([a-z-]+)`)
)

// A moved tag of an action could run code with the rights of a release, so actions are pinned. A job has only the
// permissions that it names.
func TestTheWorkflows(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, file := range files(t, ".github", "workflows", "*.yaml") {
		content := read(t, ".github", "workflows", filepath.Base(file))
		var w workflow
		decode(t, content, &w)
		if w.Permissions == nil || len(w.Permissions) > 0 {
			t.Errorf("%s: the workflow has the permissions %v, want none", w.Name, w.Permissions)
		}
		uses := 0
		for name, job := range w.Jobs {
			if len(job.Permissions) == 0 || job.TimeoutMinutes == 0 {
				t.Errorf("%s: job %s has the permissions %v and %d minutes", w.Name, name, job.Permissions, job.TimeoutMinutes)
			}
			for _, step := range job.Steps {
				if step.Uses != "" {
					uses++
					if !pinned.MatchString(step.Uses) {
						t.Errorf("%s: %s is not pinned by a digest", w.Name, step.Uses)
					}
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: the checkout leaves its token behind", w.Name)
				}
				if strings.Contains(step.Run, "${{") {
					t.Errorf("%s: a script has an expression in it, which may hold code: %s", w.Name, step.Run)
				}
				for _, target := range targets.FindAllStringSubmatch(step.Run, -1) {
					if !strings.Contains(makefile, "\n"+target[1]+":") {
						t.Errorf("%s: there is no make %s", w.Name, target[1])
					}
				}
			}
		}
		if named := len(versions.FindAllString(content, -1)); named != uses {
			t.Errorf("%s: %d of %d actions have their version beside the digest", w.Name, named, uses)
		}
	}
}

// The same action has the same version everywhere.
func TestEachActionHasOneDigest(t *testing.T) {
	digests := map[string]string{}
	for _, file := range files(t, ".github", "workflows", "*.yaml") {
		for _, match := range versions.FindAllStringSubmatch(read(t, ".github", "workflows", filepath.Base(file)), -1) {
			name, digest, _ := strings.Cut(match[1], "@")
			if other := digests[name]; other != "" && other != digest {
				t.Errorf("%s is %s and %s", name, other, digest)
			}
			digests[name] = digest
		}
	}
}

func TestTheTemplatesOfIssues(t *testing.T) {
	for _, file := range files(t, ".github", "ISSUE_TEMPLATE", "*.yml") {
		var template struct {
			Name, Description string
			Labels            []string
			Body              []struct {
				Type, ID    string
				Attributes  map[string]any
				Validations map[string]bool
			}
			BlankIssuesEnabled *bool                               `json:"blank_issues_enabled"`
			ContactLinks       []struct{ Name, URL, About string } `json:"contact_links"`
		}
		decode(t, read(t, ".github", "ISSUE_TEMPLATE", filepath.Base(file)), &template)
		if filepath.Base(file) != "config.yml" && (template.Name == "" || template.Description == "" || len(template.Body) == 0) {
			t.Errorf("%s is not complete", file)
		}
	}
	var renovate map[string]any
	if err := json.Unmarshal([]byte(read(t, "renovate.json")), &renovate); err != nil {
		t.Error(err)
	}
}

// The claimed versions of Kubernetes are tested: the version of the oldest control plane, and newer ones.
func TestTheOldestKubernetesIsTested(t *testing.T) {
	match := regexp.MustCompile(`k8s\.io/kubernetes v1\.(\d+)\.`).FindStringSubmatch(read(t, "hack", "oldest", "go.mod"))
	if match == nil {
		t.Fatal("hack/oldest has no Kubernetes")
	}
	for _, file := range files(t, "charts", "*", "Chart.yaml") {
		if chart := read(t, "charts", filepath.Base(filepath.Dir(file)), "Chart.yaml"); !strings.Contains(chart, "\nkubeVersion: \">=1."+match[1]+".0-0\"\n") {
			t.Errorf("%s claims another version than 1.%s", file, match[1])
		}
	}
	if !strings.Contains(read(t, "docs", "getting-started.md"), "Kubernetes 1."+match[1]+" or newer") {
		t.Errorf("docs/getting-started.md claims another version than 1.%s", match[1])
	}
}

// Artifact Hub shows the CRDs of the chart.
func TestTheChartNamesItsCRDs(t *testing.T) {
	var chart struct{ Annotations map[string]string }
	if err := yaml.Unmarshal([]byte(read(t, "charts", "calyptia-agent-operator", "Chart.yaml")), &chart); err != nil {
		t.Fatal(err)
	}
	var named []struct{ Kind, Version, Name, DisplayName, Description string }
	decode(t, chart.Annotations["artifacthub.io/crds"], &named)
	found := map[string]bool{}
	for _, crd := range named {
		found[crd.Name] = crd.Kind != "" && crd.Version != "" && crd.Description != ""
	}
	for _, file := range files(t, "config", "crd", "bases", "*.yaml") {
		var crd struct{ Metadata struct{ Name string } }
		if err := yaml.Unmarshal([]byte(read(t, "config", "crd", "bases", filepath.Base(file))), &crd); err != nil {
			t.Fatal(err)
		}
		if !found[crd.Metadata.Name] {
			t.Errorf("artifacthub.io/crds of Chart.yaml lacks %s", crd.Metadata.Name)
		}
		delete(found, crd.Metadata.Name)
	}
	if len(found) > 0 {
		t.Errorf("artifacthub.io/crds names %v, which the chart does not bring", found)
	}
}

var (
	entry   = regexp.MustCompile(`^## \[(Unreleased|\d+\.\d+\.\d+(-[\w.]+)?)\]( - \d{4}-\d{2}-\d{2})?$`)
	section = regexp.MustCompile(`^### (Added|Changed|Deprecated|Removed|Fixed|Security)$`)
)

func TestTheChangelog(t *testing.T) {
	var entries int
	for line := range strings.Lines(read(t, "CHANGELOG.md")) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "## "):
			match := entry.FindStringSubmatch(line)
			if match == nil || (match[1] == "Unreleased") != (match[3] == "") || (match[1] == "Unreleased") != (entries == 0) {
				t.Errorf("%q is no heading of a version", line)
			}
			entries++
		case strings.HasPrefix(line, "### ") && !section.MatchString(line):
			t.Errorf("%q is no section of a version", line)
		}
	}
	if entries == 0 {
		t.Error("there is no version")
	}
}

// `make deploy` uses an existing image, or requires one.
func TestDeployNeedsAnImage(t *testing.T) {
	command := exec.CommandContext(t.Context(), "make", "deploy")
	command.Dir = path()
	command.Env = append(os.Environ(), "MAKEFLAGS=")
	out, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "make deploy IMG=") {
		t.Errorf("make deploy without an image: %v\n%s", err, out)
	}
}
