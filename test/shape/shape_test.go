/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package shape_test limits the size of functions, files and types, so that a reader can keep each in mind.
package shape_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	mostMethods  = 15
	mostFields   = 12
	mostLines    = 60  // lines of a function, counted as funlen does: without its first and last
	mostFileSize = 400 // lines of a file, tests included
)

// records are exempt: lists of plain values, or the fake of a whole server, which are clearer in one piece.
var records = []string{
	"internal/cloud.Agent",              // a body of the API
	"internal/registration.Facts",       // the input of a decision
	"internal/options.Options",          // the flags of the operator
	"internal/importer.options",         // the flags of import
	"internal/cloud/cloudtest.Settings", // the behavior of the fake server
	"internal/testenv.ControlPlane",     // the servers of a control plane
	"internal/cloud/cloudtest.Fault",
	"internal/cloud/cloudtest.Server",
}

// finding is a type, function or file that is too large.
type finding struct{ where, what string }

// measure finds what is too large in the packages below a folder.
func measure(t *testing.T, root string) (found []finding, files int) {
	t.Helper()
	fields, methods := map[string]int{}, map[string]int{}
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		if lines := strings.Count(string(source), "\n"); lines > mostFileSize {
			found = append(found, finding{path, fmt.Sprintf("%d lines", lines)})
		}
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(set, path, source, 0)
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil {
					methods[filepath.Dir(path)+"."+receiver(d.Recv.List[0].Type)]++
				}
				if lines := set.Position(d.End()).Line - set.Position(d.Pos()).Line - 1; lines > mostLines {
					found = append(found, finding{path, fmt.Sprintf("%s has %d lines", d.Name.Name, lines)})
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok {
						count(filepath.Dir(path)+"."+s.Name.Name, s.Type, fields, methods)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range fields {
		if n > mostFields {
			found = append(found, finding{name, fmt.Sprintf("%d fields", n)})
		}
	}
	for name, n := range methods {
		if n > mostMethods {
			found = append(found, finding{name, fmt.Sprintf("%d methods", n)})
		}
	}
	return found, files
}

// count counts the fields of a struct, including those of nested structs, and the methods of an interface.
func count(name string, kind ast.Expr, fields, methods map[string]int) {
	switch k := kind.(type) {
	case *ast.StructType:
		for _, field := range k.Fields.List {
			fields[name] += max(len(field.Names), 1)
			count(name, field.Type, fields, methods)
		}
	case *ast.InterfaceType:
		methods[name] += len(k.Methods.List)
	}
}

func receiver(kind ast.Expr) string {
	switch k := kind.(type) {
	case *ast.StarExpr:
		return receiver(k.X)
	case *ast.IndexExpr:
		return receiver(k.X)
	case *ast.Ident:
		return k.Name
	default:
		return fmt.Sprintf("%T", kind)
	}
}

func TestNothingIsTooLarge(t *testing.T) {
	const root = "../.."
	found, files := measure(t, filepath.Join(root, "internal"))
	if files < 100 {
		t.Fatalf("only %d files were measured", files)
	}
	large := map[string]bool{}
	for _, f := range found {
		where, err := filepath.Rel(root, f.where)
		if err != nil {
			t.Fatal(err)
		}
		large[where] = true
		if !slices.Contains(records, where) {
			t.Errorf("%s: %s", where, f.what)
		}
	}
	for _, name := range records {
		if !large[name] {
			t.Errorf("%s is exempt but not too large: remove it from the list", name)
		}
	}
}

// Each kind of finding is detected.
func TestMeasure_FindsEachKind(t *testing.T) {
	fields := strings.Repeat("\ta, b int\n", mostFields/2)
	for _, row := range []struct {
		name, source string
		want         int
	}{
		{"as large as allowed", "type t struct {\n" + fields + "}\n", 0},
		{"a field too many", "type t struct {\n" + fields + "\tc int\n}\n", 1},
		{"an embedded field too many", "type t struct {\n" + fields + "\tu\n}\n", 1},
		{"fields in a field", "type t struct {\n" + fields + "}\ntype u struct{ v struct {\n" + fields + "} }\n", 1},
		{"as many methods as allowed", strings.Repeat("func (t) m() {}\n", mostMethods), 0},
		{"a method too many", strings.Repeat("func (t *t) m() {}\n", mostMethods+1), 1},
		{"a method of a generic type too many", strings.Repeat("func (t t[T]) m() {}\n", mostMethods+1), 1},
		{"an interface too large", "type t interface {\n" + strings.Repeat("\tm()\n", mostMethods+1) + "}\n", 1},
		{"a function as long as allowed", "func f() {\n" + strings.Repeat("\tf()\n", mostLines) + "}\n", 0},
		{"a function too long", "func f() {\n" + strings.Repeat("\tf()\n", mostLines+1) + "}\n", 1},
		{"a file too long", strings.Repeat("\n", mostFileSize), 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("package a\n"+row.source), 0o600); err != nil {
				t.Fatal(err)
			}
			if found, _ := measure(t, dir); len(found) != row.want {
				t.Errorf("%v", found)
			}
		})
	}
}
