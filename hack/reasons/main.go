/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command reasons writes docs/reference/reasons.md: every condition reason,
// with its meaning from the API package and the messages that the code gives it.
package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	apiFile = "api/v1alpha1/condition_types.go"
	page    = "docs/reference/reasons.md"
)

// reason is a constant of the API, with its messages in the code.
type reason struct {
	value, meaning, group string
	messages              map[string]string // message to class
}

func main() {
	if err := run(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "reasons:", err)
		os.Exit(1)
	}
}

func run() error {
	reasons, order, err := constants(apiFile)
	if err != nil {
		return err
	}
	err = filepath.WalkDir("internal", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return messages(path, reasons)
	})
	if err != nil {
		return err
	}
	out, err := os.Create(page) //nolint:gosec // A page of the documentation.
	if err != nil {
		return err
	}
	write(out, reasons, order)
	return out.Close()
}

// constants reads the reasons in the order of their declaration.
func constants(path string) (map[string]*reason, []string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return nil, nil, err
	}
	reasons, order := map[string]*reason{}, []string{}
	for _, decl := range file.Decls {
		group, isGroup := decl.(*ast.GenDecl)
		if !isGroup || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			value := spec.(*ast.ValueSpec)
			name := value.Names[0].Name
			text, isText := value.Values[0].(*ast.BasicLit)
			if !strings.HasPrefix(name, "Reason") || !isText {
				continue
			}
			unquoted, err := strconv.Unquote(text.Value)
			if err != nil {
				return nil, nil, err
			}
			_, meaning, _ := strings.Cut(oneLine(value.Doc.Text()), ": ")
			reasons[name] = &reason{value: unquoted, meaning: meaning, group: oneLine(group.Doc.Text()), messages: map[string]string{}}
			order = append(order, name)
		}
	}
	return reasons, order, nil
}

// messages adds the message templates of a package.
func messages(dir string, reasons map[string]*reason) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	texts := stringConstants(files)
	for _, file := range files {
		ast.Inspect(file, func(node ast.Node) bool {
			if call, isCall := node.(*ast.CallExpr); isCall {
				record(call, texts, reasons)
			}
			return true
		})
	}
	return nil
}

var classes = map[string]string{
	"Terminalf": "user action", "Waitingf": "waits", "Retryablef": "retries",
}

func record(call *ast.CallExpr, texts map[string]string, reasons map[string]*reason) {
	function, isSelector := call.Fun.(*ast.SelectorExpr)
	if !isSelector || len(call.Args) < 2 {
		return
	}
	class, isFault := classes[function.Sel.Name]
	constant, isConstant := call.Args[0].(*ast.SelectorExpr)
	if !isFault || !isConstant {
		return
	}
	found := reasons[constant.Sel.Name]
	text, known := evaluate(call.Args[1], texts)
	if found == nil || !known {
		return
	}
	found.messages[placeholders.ReplaceAllString(text, "…")] = class
}

var placeholders = regexp.MustCompile(`%(\[\d+\])?[+#]?[a-z]`)

// stringConstants are the string constants of the package, which are parts of messages.
func stringConstants(files []*ast.File) map[string]string {
	texts := map[string]string{}
	for _, file := range files {
		ast.Inspect(file, func(node ast.Node) bool {
			spec, isSpec := node.(*ast.ValueSpec)
			if !isSpec || len(spec.Names) != len(spec.Values) {
				return true
			}
			for i, name := range spec.Names {
				if text, known := evaluate(spec.Values[i], nil); known {
					texts[name.Name] = text
				}
			}
			return true
		})
	}
	return texts
}

// evaluate returns the text of a constant expression.
func evaluate(expr ast.Expr, texts map[string]string) (string, bool) {
	switch e := expr.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, known := texts[e.Name]
		return text, known
	case *ast.BinaryExpr:
		left, knownLeft := evaluate(e.X, texts)
		right, knownRight := evaluate(e.Y, texts)
		if !knownRight {
			right, knownRight = "…", true
		}
		return left + right, knownLeft && knownRight && e.Op == token.ADD
	}
	return "", false
}

func write(out io.Writer, reasons map[string]*reason, order []string) {
	_, _ = fmt.Fprint(out, `# Condition reasons

Written by `+"`make docs`"+` from the code. Each condition of an Agent, AgentSet or CloudProject has one of these reasons. Its message says
what happened, then what to do; `+"`…`"+` means a name or a value. *User action* means that the object is Stalled until you
change something. *Waits* ends with a change elsewhere, such as a CloudProject that becomes Ready. *Retries* is tried again
automatically, after 1 second at first and 5 minutes at most.
`)
	group := ""
	for _, name := range order {
		r := reasons[name]
		if r.group != group {
			group = r.group
			_, _ = fmt.Fprintf(out, "\n## %s\n", strings.TrimSuffix(group, "."))
		}
		_, _ = fmt.Fprintf(out, "\n### %s\n\n%s\n", r.value, sentence(r.meaning))
		texts := slices.SortedFunc(maps.Keys(r.messages), func(a, b string) int {
			return cmp.Or(strings.Compare(r.messages[a], r.messages[b]), strings.Compare(a, b))
		})
		if len(texts) == 0 {
			continue
		}
		_, _ = fmt.Fprint(out, "\n| message | then |\n| --- | --- |\n")
		for _, text := range texts {
			_, _ = fmt.Fprintf(out, "| %s | %s |\n", strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(text), r.messages[text])
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}
