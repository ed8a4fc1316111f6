/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// ownObject is the name of an object of an installation; behind # it is the name of a heading.
var ownObject = regexp.MustCompile(`(?:^|[^#\w])(calyptia-agent-operator(?:-[a-z]+)+)\b`)

// rendered are the names of the default objects of the operator's chart, and of config/default.
func rendered(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, command := range []*exec.Cmd{
		exec.Command(must(helmPath())(t), "template", operatorChart, "charts/"+operatorChart, "--set-string", "image.tag=test"),
		exec.Command(must(kustomizePath())(t), "build", "config/default"),
	} {
		command.Dir = testenv.ModuleRoot()
		objects, err := documents(string(must(command.Output())(t)))
		if err != nil || len(objects) < 10 {
			t.Fatalf("%s: %d objects, %v", command, len(objects), err)
		}
		for _, object := range objects {
			names[object.GetName()] = true
		}
	}
	return names
}

func TestEveryObjectOfAnInstallationExists(t *testing.T) {
	known := rendered(t)
	for name, want := range map[string]bool{"calyptia-agent-operator-metrics-reader": true, "calyptia-agent-operator-metrics-writer": false} {
		if known[name] != want || !ownObject.MatchString("`"+name+"`") {
			t.Errorf("%s: %v", name, known[name])
		}
	}
	// A page may choose the name of a release.
	find(t, 1, `helm install ([\w-]+)`, func(_ string, match []string) { known[match[1]] = true })
	find(t, 20, ownObject.String(), func(at string, match []string) {
		if !known[match[1]] {
			t.Errorf("%s: nothing brings %s", at, match[1])
		}
	})
}

// comments are the comments of a YAML file.
func comments(path string, source []byte) (all []piece) {
	for i, line := range strings.Split(string(source), "\n") {
		if _, text, found := strings.Cut(" "+line, " #"); found {
			all = append(all, piece{at: fmt.Sprintf("%s:%d", path, i+1), text: strings.TrimLeft(text, " #")})
		}
	}
	return all
}

// wrongComment reports a command, a flag or a field in a comment that does not exist.
func wrongComment(text string, r *reader, flags map[string]bool, kinds map[string]schema) error {
	commands := regexp.MustCompile("`("+programs+"[^`]+)`").FindAllStringSubmatch(text, -1)
	if match := regexp.MustCompile(`^(?:-- )?(` + programs + `.*)`).FindStringSubmatch(text); match != nil {
		commands, text = append(commands, match), ""
	}
	for _, match := range commands {
		if err := r.understood(match[1]); err != nil {
			return err
		}
		text = strings.Replace(text, match[0], "", 1)
	}
	for _, match := range flagWord.FindAllStringSubmatch(text, -1) {
		if !flags[match[1]] && match[1] != "--flag" { // A placeholder.
			return fmt.Errorf("the operator has no flag %s", match[1])
		}
	}
	for _, match := range regexp.MustCompile(`\b(spec|status)(\.[A-Za-z]+)+\b`).FindAllString(text, -1) {
		path := strings.Split(match, ".")
		if !kinds["Agent"].has(path) && !kinds["AgentSet"].has(path) && !kinds["CloudProject"].has(path) {
			return fmt.Errorf("no kind has a field %s", match)
		}
	}
	return nil
}

func TestTheCommentsOfTheValuesAreRight(t *testing.T) {
	r, known, kinds := newReader(t), flags(t, must(operatorPath())(t)), crds(t)
	for text, want := range map[string]bool{
		"Default of spec.projectRef, see `kubectl explain agent.spec`.": true, "see `kubectl explain agents.spec` and `helm tset`": false,
		"of spec.projectReference": false, "as --read-only": true, "as --read-once": false, "such as [\"--flag=value\"]": true,
		"helm install ... --set-file a=b": true, "helm install ... --set-dir a=b": false,
	} {
		if err := wrongComment(text, r, known, kinds); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, path := range filesUnder(t, "charts", "values.yaml") {
		all := comments(path, read(t, path))
		if len(all) < 20 {
			t.Errorf("%s has only %d comments", path, len(all))
		}
		for _, comment := range all {
			if err := wrongComment(comment.text, r, known, kinds); err != nil {
				t.Errorf("%s: %v", comment.at, err)
			}
		}
	}
}

// foreignPrograms have flags in inline code that no test can check.
var foreignPrograms = regexp.MustCompile(`^docker `)

// TestEveryFlagExists checks code that begins with a flag, TestEveryCommandOfThePages code that begins with a program.
func TestNoOtherInlineCodeHasFlags(t *testing.T) {
	for text, want := range map[string]bool{
		"--shard": false, "kubectl get --x": false, "x --shard": true, "docker build --tag x": false, "`a` -- b": false,
		"ARGS=--shard": true, "go test ./hack/bench": false,
	} {
		if strayFlag(text) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
	for _, p := range pages(t) {
		for _, span := range p.spans(p.tree) {
			if strayFlag(span.text) {
				t.Errorf("%s: `%s` has a flag that nobody looks at", span.at, span.text)
			}
		}
	}
}

func strayFlag(text string) bool {
	return flagWord.MatchString(text) && !strings.HasPrefix(text, "--") && !inline.MatchString(text) && !foreignPrograms.MatchString(text)
}

// The flags that make passes to the benchmark have to exist.
func TestEveryFlagOfTheBenchmarkExists(t *testing.T) {
	known := map[string]bool{}
	for _, path := range filesUnder(t, filepath.Join("hack", "bench"), ".go") {
		for _, match := range regexp.MustCompile(`flags\.\w+\((?:&[\w.]+, )?"([a-z-]+)"`).FindAllStringSubmatch(string(read(t, path)), -1) {
			known["-"+match[1]] = true
		}
	}
	find(t, 2, `BENCHFLAGS=("[^"]*"|\S+)`, func(at string, match []string) {
		for _, word := range strings.Fields(strings.Trim(match[1], "\"`")) {
			if strings.HasPrefix(word, "-") && !known[word] {
				t.Errorf("%s: the benchmark has no flag %s", at, word)
			}
		}
	})
}
