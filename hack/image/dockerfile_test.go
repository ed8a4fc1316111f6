/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const root = "../.."

// lint checks a Dockerfile as `docker build --check` does, and returns its output.
func lint(t *testing.T, text string) (stages []instructions.Stage, said []string) {
	t.Helper()
	parsed, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range parsed.Warnings {
		said = append(said, warning.Short)
	}
	if stages, _, err = instructions.Parse(parsed.AST, nil); err != nil {
		t.Fatal(err)
	}
	source := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", []byte(text))
	source.Definition = &llb.Definition{}
	results, err := dockerfile2llb.DockerfileLint(t.Context(), []byte(text), dockerfile2llb.ConvertOpt{
		Config:         dockerui.Config{LinterConfig: &linter.Config{ExperimentalAll: true}},
		SourceMap:      source,
		TargetPlatform: &ocispecs.Platform{OS: "linux", Architecture: "arm64"},
		MetaResolver:   anyImage{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if results.Error != nil {
		said = append(said, results.Error.Message)
	}
	for _, warning := range results.Warnings {
		said = append(said, warning.RuleName+": "+warning.Detail)
	}
	return stages, said
}

// anyImage reports that every base image exists.
type anyImage struct{}

func (anyImage) ResolveImageConfig(_ context.Context, ref string, o sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := []byte(`{"os":"linux","architecture":"amd64","config":{"Env":["PATH=/usr/local/go/bin:/bin"]},"rootfs":{"type":"layers"}}`)
	if p := o.ImageOpt; p != nil && p.Platform != nil {
		config = bytes.Replace(config, []byte("amd64"), []byte(p.Platform.Architecture), 1)
	}
	return ref, digest.FromBytes(config), config, nil
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// find returns the only instruction of its kind in a stage.
func find[T instructions.Command](t *testing.T, stage instructions.Stage) T {
	t.Helper()
	var found []T
	for _, command := range stage.Commands {
		if c, ok := command.(T); ok {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d instructions %T, want 1", len(found), *new(T))
	}
	return found[0]
}

func TestTheDockerfileIsClean(t *testing.T) {
	stages, said := lint(t, read(t, "Dockerfile"))
	if len(said) > 0 {
		t.Errorf("the linter says:\n%s", strings.Join(said, "\n"))
	}
	if len(stages) != 2 || stages[0].Platform != "$BUILDPLATFORM" || stages[1].BaseName != "scratch" {
		t.Fatalf("the stages are %+v", stages)
	}
	last := stages[1]
	if got := find[*instructions.UserCommand](t, last).User; got != user {
		t.Errorf("the user is %s, want %s", got, user)
	}
	entrypoint := find[*instructions.EntrypointCommand](t, last)
	copied := find[*instructions.CopyCommand](t, last)
	if entrypoint.PrependShell || !slices.Equal(entrypoint.CmdLine, []string{copied.DestPath}) || copied.From != "build" {
		t.Errorf("the entrypoint %v is not what is copied to %s", entrypoint.CmdLine, copied.DestPath)
	}
	labels := source{version: "${VERSION}", commit: "${COMMIT}", date: "${DATE}"}.labels()
	for _, label := range find[*instructions.LabelCommand](t, last).Labels {
		if key := label.Key; labels[key] != strings.Trim(label.Value, `"`) {
			t.Errorf("label %s is %s, want %q", key, label.Value, labels[key])
		}
		delete(labels, label.Key)
	}
	if len(labels) > 0 {
		t.Errorf("these labels are missing: %v", labels)
	}
}

func TestTheLinterFindsMistakes(t *testing.T) {
	text := strings.Replace(read(t, "Dockerfile"), `ENTRYPOINT ["/calyptia-agent-operator"]`, "MAINTAINER me\nentrypoint /calyptia-agent-operator", 1)
	_, said := lint(t, text)
	for _, rule := range []string{"MaintainerDeprecated", "ConsistentInstructionCasing", "JSONArgsRecommended"} {
		if !strings.Contains(strings.Join(said, "\n"), rule) {
			t.Errorf("it says nothing of %s: %v", rule, said)
		}
	}
}

func TestTheBuildContextHasOnlyTheSources(t *testing.T) {
	patterns, err := ignorefile.ReadAll(strings.NewReader(read(t, ".dockerignore")))
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	is := func(name string) bool {
		matched, err := ignored.MatchesOrParentMatches(name)
		if err != nil {
			t.Fatal(err)
		}
		return matched
	}
	needed := append(sources(t), "go.mod", "go.sum")
	if len(needed) < 50 {
		t.Fatalf("the operator has only the files %v", needed)
	}
	for _, name := range needed {
		if is(name) {
			t.Errorf("%s is not in the context", name)
		}
	}
	for _, name := range []string{".git/config", "bin/demo", "main_test.go", "internal/cloud/list_test.go", "hack/image/main.go", "token", "docs/import.md"} {
		if !is(name) {
			t.Errorf("%s is in the context", name)
		}
	}
}

// sources are the source files of the operator in this module, for all platforms.
func sources(t *testing.T) []string {
	t.Helper()
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, platform := range platforms {
		system, architecture, _ := strings.Cut(platform, "/")
		list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=Dir,Module,GoFiles,EmbedFiles", ".")
		list.Dir = absolute
		list.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+architecture, "CGO_ENABLED=0", "GOWORK=off")
		raw, err := list.Output()
		if err != nil {
			t.Fatal(err)
		}
		for decoder := json.NewDecoder(bytes.NewReader(raw)); ; {
			var p struct {
				Dir                 string
				Module              *struct{ Path string }
				GoFiles, EmbedFiles []string
			}
			if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if p.Module == nil || p.Module.Path != module {
				continue
			}
			for _, file := range append(p.GoFiles, p.EmbedFiles...) {
				name, err := filepath.Rel(absolute, filepath.Join(p.Dir, file))
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, filepath.ToSlash(name))
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}
