/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// everyApplet are those of a busybox that is built with little: the one of Debian has no install, for one.
var everyApplet = []string{"sh", "cp", "chmod", "mkdir", "mv"}

// smallPath is a directory for the PATH that has everyApplet and nothing else: of busybox where there is one.
func smallPath(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, applet := range everyApplet {
		program, err := exec.LookPath("busybox")
		if err != nil {
			program, err = exec.LookPath(applet)
		}
		if err == nil {
			err = os.Symlink(program, filepath.Join(dir, applet))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// copySession runs the init container's command with its mounts below root.
func copySession(t *testing.T, init corev1.Container, path, root string) error {
	t.Helper()
	place := strings.NewReplacer("/session/", root+"/session/", tokensecret.StorePath+"/", root+tokensecret.StorePath+"/",
		tokensecret.StorePath+"\n", root+tokensecret.StorePath+"\n")
	var args []string
	for _, arg := range append(init.Command, init.Args...) {
		args = append(args, place.Replace(arg))
	}
	program, err := filepath.EvalSymlinks(filepath.Join(path, args[0]))
	if err != nil {
		return fmt.Errorf("no busybox need have %s", args[0])
	}
	// The name under which busybox is called says what it does.
	command := &exec.Cmd{Path: program, Args: args, Env: []string{"PATH=" + path}, Dir: root}
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// TestTheFluentBitSampleCopiesItsSession has each pod of the sample copy it, with what any busybox has.
func TestTheFluentBitSampleCopiesItsSession(t *testing.T) {
	t.Parallel()
	for name, spec := range samplePods(t) {
		for _, row := range []struct {
			name    string
			source  fs.FileMode
			before  fs.FileMode // of the copy that is there from an earlier start; 0 for none
			without bool
		}{
			{name: "the first start", source: 0o644},
			{name: "a Secret that the group may read", source: 0o440},
			{name: "a Secret that its owner may read", source: 0o400},
			{name: "the init container runs again", source: 0o644, before: 0o600},
			{name: "a copy that others can read is there", source: 0o644, before: 0o666},
			{name: "no session", without: true},
		} {
			t.Run(name+"/"+row.name, func(t *testing.T) {
				root := t.TempDir()
				store := filepath.Join(root, tokensecret.StorePath, "calyptia")
				secret := filepath.Join(root, "session", "..data") // As the kubelet mounts it: by links.
				for dir, mode := range map[string]fs.FileMode{filepath.Dir(store): 0o777, secret: 0o755} {
					if err := os.MkdirAll(dir, mode); err != nil {
						t.Fatal(err)
					}
				}
				write(t, filepath.Join(secret, tokensecret.SessionKey), "session", row.source)
				if !row.without {
					link := filepath.Join(root, "session", tokensecret.SessionKey)
					if err := os.Symlink(filepath.Join("..data", tokensecret.SessionKey), link); err != nil {
						t.Fatal(err)
					}
				}
				if row.before != 0 {
					if err := os.Mkdir(store, 0o755); err != nil {
						t.Fatal(err)
					}
					write(t, filepath.Join(store, tokensecret.SessionKey), "an older and longer session", row.before)
				}
				err := copySession(t, spec.InitContainers[0], smallPath(t), root)
				if row.without {
					if err == nil {
						t.Error("the pod starts without a session")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				content, err := os.ReadFile(filepath.Join(store, tokensecret.SessionKey))
				info, statErr := os.Lstat(filepath.Join(store, tokensecret.SessionKey))
				if err != nil || statErr != nil || string(content) != "session" || info.Mode() != 0o600 {
					t.Errorf("it is %q, %v, mode %v; want the session with mode 0600", content, err, info.Mode())
				}
				if entries, err := os.ReadDir(store); err != nil || len(entries) != 1 {
					t.Errorf("beside it are %v, %v", entries, err)
				}
				if row.before == 0 {
					if dir, err := os.Stat(store); err != nil || dir.Mode().Perm()&0o077 != 0 {
						t.Errorf("its directory has the mode %v, %v", dir.Mode(), err)
					}
				}
			})
		}
	}
}

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}
