/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// toy is a repository with the layout of this one, with programs that only print their version.
var toy = map[string]string{
	"go.mod":                            "module example.com/operator\n\ngo 1.26\n",
	"main.go":                           "package main\n\nfunc main() {}\n",
	"hack/demo/main.go":                 "package main\n\nfunc main() {}\n",
	"hack/controlplane/go.mod":          "module example.com/controlplane\n\ngo 1.26\n\n// k8s.io/kubernetes v1.37.2\n",
	"hack/controlplane/demo/main.go":    toyProgram,
	"hack/controlplane/manager/main.go": toyProgram,
	"hack/controlplane/kubectl/main.go": toyProgram,
}

const toyProgram = "package main\n\nfunc main() { println(\"Kubernetes v1.37.2\") }\n"

// newToy is the preparation of a toy on a machine whose PATH has only Go. It returns its output, too.
func newToy(t *testing.T) (*preparation, *bytes.Buffer) {
	t.Helper()
	t.Setenv("KUBEBUILDER_ASSETS", "")
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	noError(t, err)
	t.Setenv("PATH", filepath.Join(strings.TrimSpace(string(goroot)), "bin"))
	root := t.TempDir()
	for name, content := range toy {
		write(t, filepath.Join(root, name), content, 0o644)
	}
	var said bytes.Buffer
	return &preparation{
		progress: &progress{out: &said, now: time.Now, began: time.Now()},
		root:     root, platform: "linux/amd64", release: release{Version: "v1.36.2"},
	}, &said
}

func write(t *testing.T, file, content string, mode os.FileMode) {
	t.Helper()
	noError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	noError(t, os.WriteFile(file, []byte(content), mode))
}

// install puts programs that print this version into a directory.
func install(t *testing.T, dir, version string, names ...string) {
	t.Helper()
	for _, name := range names {
		write(t, filepath.Join(dir, name), "#!/bin/sh\necho "+version+"\n", 0o755)
	}
}

// sources are the shortened targets of the links for the demo.
func sources(t *testing.T, p *preparation) string {
	t.Helper()
	var lines []string
	for _, name := range []string{etcd, apiserver, manager, kubectl} {
		target, err := os.Readlink(p.path("bin", "controlplane", "for-demo", name))
		if err != nil {
			target = "/none/"
		}
		dir, _, _ := strings.Cut(filepath.Base(filepath.Dir(target)), "-")
		lines = append(lines, dir)
	}
	return strings.Join(lines, " ")
}

func TestTheFirstAvailableControlPlaneIsUsed(t *testing.T) {
	all := []string{etcd, apiserver, manager, kubectl}
	current := func(t *testing.T, p *preparation) {
		install(t, p.path("bin", "controlplane", "current"), "Kubernetes v1.37.2", all...)
	}
	path := func(t *testing.T, version string, names ...string) {
		dir := filepath.Join(t.TempDir(), "path")
		install(t, dir, version, names...)
		t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	good := pack(t, official)
	for _, row := range []struct {
		name  string
		setup func(t *testing.T, p *preparation)
		want  string // where etcd, kube-apiserver, kube-controller-manager and kubectl come from
		says  []string
	}{
		{"KUBEBUILDER_ASSETS before all else", func(t *testing.T, p *preparation) {
			current(t, p)
			dir := filepath.Join(t.TempDir(), "assets")
			install(t, dir, "Kubernetes v1.35.0", all...)
			t.Setenv("KUBEBUILDER_ASSETS", dir)
		}, "assets assets assets assets", []string{"KUBEBUILDER_ASSETS: Kubernetes v1.35.0"}},
		{"KUBEBUILDER_ASSETS of setup-envtest has no controller manager: it is built", func(t *testing.T, _ *preparation) {
			dir := filepath.Join(t.TempDir(), "assets")
			install(t, dir, "Kubernetes v1.35.0", etcd, apiserver, kubectl)
			t.Setenv("KUBEBUILDER_ASSETS", dir)
		}, "assets assets built assets", nil},
		{"the one for tests", current, "current current current current", []string{"make control-plane built"}},
		{"on a fresh machine, whatever others put here", func(t *testing.T, p *preparation) {
			current(t, p)
			path(t, "Kubernetes v1.33.1", etcd, apiserver)
			p.fresh = true
		}, "built built built built", []string{"built from source instead"}},
		{"one on the PATH", func(t *testing.T, _ *preparation) { path(t, "Kubernetes v1.33.1", etcd, apiserver) },
			"path path built built", []string{"on the PATH: Kubernetes v1.33.1"}},
		{"one on the PATH that is too old", func(t *testing.T, _ *preparation) { path(t, "Kubernetes v1.28.15", etcd, apiserver) },
			"built built built built", []string{"v1.28.15, and the operator needs v1.29"}},
		{"one on the PATH that does not run", func(t *testing.T, _ *preparation) {
			dir := filepath.Join(t.TempDir(), "path")
			write(t, filepath.Join(dir, etcd), "\x7fELF of another machine", 0o755)
			write(t, filepath.Join(dir, apiserver), "\x7fELF of another machine", 0o755)
			t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
		}, "built built built built", []string{"does not run"}},
		{"kubectl on the PATH", func(t *testing.T, _ *preparation) { path(t, "Client Version: v1.32.4-dispatcher", kubectl) },
			"built built built path", []string{"built from source instead"}},
		{"an old kubectl on the PATH", func(t *testing.T, _ *preparation) { path(t, "Client Version: v1.20.0", kubectl) },
			"built built built built", nil},
		{"official binaries", func(t *testing.T, p *preparation) {
			p.official = impatient()
			p.release.Archives = map[string]archive{p.platform: serve(t, good, plainly(good))}
		}, "official official built official", []string{"the pinned SHA-512: Kubernetes v1.36.2"}},
		{"official binaries with another checksum", func(t *testing.T, p *preparation) {
			p.official = impatient()
			p.release.Archives = map[string]archive{p.platform: serve(t, append(bytes.Clone(good), 0), plainly(good))}
		}, "built built built built", []string{"SHA-512", "built from source instead"}},
		{"official binaries that do not run here", func(t *testing.T, p *preparation) {
			other := pack(t, []entry{{name: etcd, content: "\x7fELF"}, {name: apiserver, content: "\x7fELF"}})
			p.official = impatient()
			p.release.Archives = map[string]archive{p.platform: serve(t, other, plainly(other))}
		}, "built built built built", []string{"does not run", "built from source instead"}},
		{"a platform without official binaries", func(_ *testing.T, p *preparation) {
			p.official = impatient()
		}, "built built built built", []string{"none are pinned for linux/amd64", "built from source instead"}},
		{"nothing at all", func(*testing.T, *preparation) {}, "built built built built", []string{"built from source instead"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, said := newToy(t)
			row.setup(t, p)
			if err := p.run(t.Context()); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if got := sources(t, p); got != row.want {
				t.Errorf("the programs are from %s, want %s\n%s", got, row.want, said)
			}
			for _, words := range row.says {
				if !strings.Contains(said.String(), words) {
					t.Errorf("it does not say %q:\n%s", words, said)
				}
			}
			for _, file := range []string{"bin/calyptia-agent-operator", "bin/demo"} {
				if _, err := os.Stat(p.path(file)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestASecondPreparationReusesTheFirst(t *testing.T) {
	good := pack(t, official)
	for _, row := range []struct {
		name, says string
		setup      func(t *testing.T, p *preparation)
	}{
		{"built", "the one built earlier", func(*testing.T, *preparation) {}},
		{"official", "the official binaries, downloaded earlier", func(t *testing.T, p *preparation) {
			p.official = impatient()
			p.release.Archives = map[string]archive{p.platform: serve(t, good, plainly(good))}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, said := newToy(t)
			row.setup(t, p)
			noError(t, p.run(t.Context()))
			p.release.Archives = nil
			said.Reset()
			noError(t, p.run(t.Context()))
			if !strings.Contains(said.String(), row.says) || strings.Contains(said.String(), "instead") {
				t.Errorf("the second says:\n%s\nwant %q", said, row.says)
			}
			// A build is only reused for the same sources.
			write(t, p.path("hack/controlplane/demo/more.go"), "package main\n", 0o644)
			said.Reset()
			noError(t, p.run(t.Context()))
			if again := strings.Contains(said.String(), "instead"); again != (row.name == "built") {
				t.Errorf("with other sources it says:\n%s", said)
			}
		})
	}
}

func TestAPreparationFailsWithTheCause(t *testing.T) {
	for _, row := range []struct {
		name, want string
		setup      func(t *testing.T, p *preparation)
	}{
		{"KUBEBUILDER_ASSETS without an API server", "lacks kube-apiserver, kube-controller-manager, kubectl: correct it, or unset it",
			func(t *testing.T, _ *preparation) {
				dir := t.TempDir()
				install(t, dir, "Kubernetes v1.36.2", etcd)
				t.Setenv("KUBEBUILDER_ASSETS", dir)
			}},
		{"the operator does not compile", "undefined: nothing", func(t *testing.T, p *preparation) {
			write(t, p.path("main.go"), "package main\n\nfunc main() { nothing() }\n", 0o644)
		}},
		{"the control plane does not compile", "undefined: nothing", func(t *testing.T, p *preparation) {
			write(t, p.path("hack/controlplane/demo/main.go"), "package main\n\nfunc main() { nothing() }\n", 0o644)
		}},
		{"a module that is not there", "go list in", func(t *testing.T, p *preparation) {
			t.Setenv("GOPROXY", "off")
			write(t, p.path("main.go"), "package main\n\nimport _ \"example.com/elsewhere\"\n\nfunc main() {}\n", 0o644)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, said := newToy(t)
			row.setup(t, p)
			if err := p.run(t.Context()); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the error is %v, want %q\n%s", err, row.want, said)
			}
			if _, err := os.Stat(p.path("bin", "controlplane", "for-demo")); err == nil {
				t.Error("it left links for the demo")
			}
		})
	}
}

func TestAPreparationEndsWithItsContext(t *testing.T) {
	p, _ := newToy(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	if err := p.run(ctx); err == nil {
		t.Error("it succeeded")
	}
}

func TestProgressShowsShareAndTimeLeft(t *testing.T) {
	var said bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{out: &said, began: now, now: func() time.Time { return now }}
	p.expect(100)
	for range 4 {
		now = now.Add(10 * time.Second)
		p.did(25, "k8s.io/api")
	}
	p.did(25, "more than was expected")
	const want = "demo: 25 %, about 30s left\ndemo: 50 %, about 20s left\ndemo: 75 %, about 10s left\ndemo: 99 %, about 0s left\n"
	if said.String() != want {
		t.Errorf("it says\n%swant\n%s", &said, want)
	}
	said.Reset()
	p = &progress{out: &said, began: now, now: func() time.Time { return now }, terminal: true}
	p.expect(100)
	p.did(1, "runtime")
	now = now.Add(time.Second)
	p.did(49, "k8s.io/api")
	p.say("done")
	if want := "\r\x1b[Kdemo:  1 %: runtime\r\x1b[Kdemo: 50 %, about 1s left: k8s.io/api\r\x1b[Kdemo: done\n"; said.String() != want {
		t.Errorf("on a terminal it says\n%q, want\n%q", &said, want)
	}
}

func TestCompilerMessagesAreNotProgress(t *testing.T) {
	const output = "go: downloading k8s.io/api v0.37.2\ninternal/abi\nk8s.io/api/core/v1\n# example.com/operator\n./main.go:3: undefined: x\n"
	var compiled []string
	rest := follow(strings.NewReader(output), func(pkg string) { compiled = append(compiled, pkg) })
	if got := fmt.Sprint(compiled); got != "[internal/abi k8s.io/api/core/v1]" {
		t.Errorf("compiled are %s", got)
	}
	if want := "# example.com/operator\n./main.go:3: undefined: x\n"; rest != want {
		t.Errorf("the rest is %q, want %q", rest, want)
	}
}
