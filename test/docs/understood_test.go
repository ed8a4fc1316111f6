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
	"slices"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// reader checks commands without running them, by the help of their programs.
type reader struct {
	programs map[string]string // their paths
	helps    map[string]string
	kinds    map[string]bool // as kubectl understands them
	served   map[string]bool // the same, as manifests name them
}

func newReader(t *testing.T) *reader {
	t.Helper()
	kubectl := filepath.Join(must(testenv.Assets())(t), "kubectl")
	r := &reader{helps: map[string]string{}, kinds: map[string]bool{}, served: map[string]bool{}, programs: map[string]string{
		"kubectl": kubectl, "helm": must(helmPath())(t), "calyptia-agent-operator": must(operatorPath())(t),
	}}
	list := exec.Command(kubectl, "api-resources", "--no-headers", "--kubeconfig", harness.Plane().Kubeconfig)
	out := must(list.Output())(t)
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line) // NAME SHORTNAMES APIVERSION NAMESPACED KIND, of which SHORTNAMES may be missing.
		name, kind, version := words[0], words[len(words)-1], words[len(words)-3]
		r.kinds[name], r.kinds[strings.ToLower(kind)], r.served[kind] = true, true, true
		if group, _, found := strings.Cut(version, "/"); found {
			r.kinds[name+"."+group], r.kinds[strings.ToLower(kind)+"."+group] = true, true
		}
		if len(words) == 5 {
			for short := range strings.SplitSeq(words[1], ",") {
				r.kinds[short] = true
			}
		}
	}
	return r
}

// understood reports a subcommand, a flag, a kind or a target of make that does not exist. It ignores what follows a
// pipe or the like, and commands of other programs.
func (r *reader) understood(command string) error {
	words := wordsOf(command)
	if len(words) == 0 {
		return nil
	}
	if words[0] == "make" {
		out, err := dry(command)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}
	words[0] = strings.TrimPrefix(words[0], "bin/")
	if r.programs[words[0]] == "" {
		return nil
	}
	flags, rest := split(words[1:])
	path := words[:1]
	for len(rest) > 0 && r.has(append(slices.Clone(path), rest[0])) {
		path, rest = append(slices.Clone(path), rest[0]), rest[1:]
	}
	if len(path) == 1 && len(rest) > 0 {
		return fmt.Errorf("%s has no subcommand %s", path[0], rest[0])
	}
	for _, flag := range flags {
		if !regexp.MustCompile(`(?m)(^|[\s,])` + regexp.QuoteMeta(flag) + `([=,\s]|$)`).MatchString(r.help(path)) {
			return fmt.Errorf("%s has no flag %s", strings.Join(path, " "), flag)
		}
	}
	if ofKinds := []string{"get", "describe", "delete", "wait", "annotate", "label", "patch", "explain"}; path[0] == "kubectl" &&
		slices.Contains(ofKinds, path[len(path)-1]) && len(rest) > 0 {
		return r.areKinds(rest[0], path[1] == "explain")
	}
	return nil
}

func (r *reader) areKinds(words string, field bool) error {
	for word := range strings.SplitSeq(words, ",") {
		kind, _, _ := strings.Cut(word, "/")
		if field {
			kind, _, _ = strings.Cut(kind, ".")
		}
		if !r.kinds[kind] {
			return fmt.Errorf("there is no kind %s", kind)
		}
	}
	return nil
}

// help is the help of a subcommand, with the global flags.
func (r *reader) help(path []string) string {
	key := strings.Join(path, " ")
	if r.helps[key] == "" {
		out, _ := exec.Command(r.programs[path[0]], append(slices.Clone(path[1:]), "--help")...).CombinedOutput()
		if path[0] == "kubectl" {
			options, _ := exec.Command(r.programs[path[0]], "options").Output()
			out = append(append(out, "\n  --help\n"...), options...)
		}
		r.helps[key] = string(out)
	}
	return r.helps[key]
}

func (r *reader) has(path []string) bool {
	usage := regexp.MustCompile(`(?m)^\s+` + regexp.QuoteMeta(strings.Join(path, " ")) + `(\s|$)`)
	_, help, _ := strings.Cut(r.help(path), "Usage:")
	return usage.MatchString(help)
}

// wordsOf are the words of the first command in a line; a quoted text is one word.
func wordsOf(command string) []string {
	command = strings.ReplaceAll(command, "\\\n", " ")
	command = regexp.MustCompile(`'[^']*'|"[^"]*"`).ReplaceAllString(command, "x")
	command, _, _ = strings.Cut(command+"\n", "\n")
	command = regexp.MustCompile(`\s(\||>|<|#|;|&&)|[;|]`).Split(command, 2)[0]
	return strings.Fields(command)
}

// withValue are flags whose value may be a separate word.
var withValue = strings.Fields("-n --namespace -o --output -f --filename -k -l --selector --for --timeout --values --set --set-string")

// split separates flags and other words. A lone … is neither.
func split(words []string) (flags, rest []string) {
	for i := 0; i < len(words); i++ {
		switch word := words[i]; {
		case word == "…" || word == "...":
		case strings.HasPrefix(word, "-"):
			flag, _, joined := strings.Cut(word, "=")
			flags = append(flags, flag)
			if !joined && slices.Contains(withValue, flag) {
				i++
			}
		default:
			rest = append(rest, word)
		}
	}
	return flags, rest
}

// dry runs make without executing recipes.
func dry(command string) ([]byte, error) {
	run := exec.Command("bash", "-c", strings.Replace(command, "make ", "make --dry-run ", 1))
	run.Dir = testenv.ModuleRoot()
	return run.CombinedOutput()
}

// The reader must be able to fail.
func TestTheReaderOfCommandsCanFail(t *testing.T) {
	r := newReader(t)
	for command, want := range map[string]string{
		"kubectl get agents -o wide":                                 "",
		"kubectl get agent,ns --colour":                              "no flag --colour",
		"kubectl gets agents":                                        "no subcommand gets",
		"kubectl --namespace logging describe deployment x | grep y": "",
		"kubectl --namespace logging describe deploymentz x":         "no kind deploymentz",
		"kubectl wait --for=delete agents.cloud.calyptia.com --all":  "",
		"kubectl wait --for=delete agents.calyptia.com --all":        "no kind agents.calyptia.com",
		"kubectl rollout restart deployment x":                       "",
		"kubectl logs deployment/x --all-pods --previous":            "",
		"kubectl logs deployment/x --some-pods":                      "no flag --some-pods",
		"kubectl explain agent.spec":                                 "",
		"kubectl explain agentz.spec":                                "no kind agentz",
		"kubectl patch agent … --type=merge":                         "",
		"helm install --wait":                                        "",
		"helm install x y --set a=b --wheel":                         "no flag --wheel",
		"helm repo add fluent https://example.com":                   "",
		"calyptia-agent-operator import --token-file token":          "",
		"calyptia-agent-operator import --token token":               "no flag --token",
		"bin/calyptia-agent-operator import --tokens x":              "no flag --tokens",
		"calyptia-agent-operator export":                             "no subcommand export",
		"calyptia-agent-operator --shard=a":                          "",
		"make test PKG=./internal/cloud/...":                         "",
		"make tests":                                                 "No rule to make target",
		"fluent-bit -c x":                                            "",
	} {
		err := r.understood(command)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
	}
}
