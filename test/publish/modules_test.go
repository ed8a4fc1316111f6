/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package publish_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// A module that imports the API gets the dependencies of its types, and none of the operator's. Still, api/ is no separate
// module: it would need a replace in go.mod, which `go install` of the operator refuses.
func TestTheAPIHasFewDependencies(t *testing.T) {
	command := exec.CommandContext(t.Context(), "go", "list", "-f", `{{join .Imports "\n"}}`, "./api/...")
	command.Dir = path()
	command.Env = append(os.Environ(), "GOWORK=off")
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	little := regexp.MustCompile(`^k8s\.io/(apimachinery|apiextensions-apiserver/pkg/apis)/|^[a-z/]+$`)
	for imported := range strings.FieldsSeq(string(out)) {
		if !little.MatchString(imported) {
			t.Errorf("api/ imports %s", imported)
		}
	}
}

// Dependencies that only tests need are in the modules of these tests.
func TestTheOperatorsModuleHasNoTestLibraries(t *testing.T) {
	mod := read(t, "go.mod")
	for _, name := range []string{"kin-openapi", "goldmark", "gopher-lua", "cli-utils", "msgpack"} {
		if strings.Contains(mod, name) {
			t.Errorf("go.mod names %s", name)
		}
	}
	if strings.Contains(mod, "replace ") {
		t.Error("go.mod has a replacement, so the go command refuses to install a released operator")
	}
}
