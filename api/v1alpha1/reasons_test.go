/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

func TestEveryReasonIsKnownAsOne(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "condition_types.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		if !v1alpha1.IsReason(reason) {
			t.Errorf("%s is missing among the reasons", spec.Names[0].Name)
		}
		return true
	})
	if found < 20 {
		t.Errorf("only %d reasons were found", found)
	}
	if v1alpha1.IsReason("Whatever") {
		t.Error("anything is taken for a reason")
	}
}
