/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// page is one Markdown file.
type page struct {
	path   string // relative to the module's root
	source []byte
	tree   ast.Node
}

// block is a code block; lang is empty for an indented block.
type block struct {
	at, lang, text string
}

// piece is a part of a page's text, with its position.
type piece struct {
	at, text string
}

var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM))

func parse(path string, source []byte) *page {
	return &page{path: path, source: source, tree: markdown.Parser().Parse(text.NewReader(source))}
}

// pages are the README, the READMEs of the charts, and all pages of docs/.
func pages(t *testing.T) []*page {
	t.Helper()
	paths := append(filesUnder(t, "docs", ".md"), append(filesUnder(t, "charts", ".md"), "README.md")...)
	if len(paths) < 5 {
		t.Fatalf("only %q", paths)
	}
	var all []*page
	for _, path := range paths {
		all = append(all, parse(path, read(t, path)))
	}
	return all
}

// filesUnder are the files with one of the extensions, relative to the module's root.
func filesUnder(t *testing.T, dir string, extensions ...string) (paths []string) {
	t.Helper()
	root := testenv.ModuleRoot()
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		for _, extension := range extensions {
			if strings.HasSuffix(path, extension) {
				relative, err := filepath.Rel(root, path)
				if err != nil {
					return err
				}
				paths = append(paths, relative)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(testenv.ModuleRoot(), path))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func (p *page) at(offset int) string {
	return fmt.Sprintf("%s:%d", p.path, bytes.Count(p.source[:offset], []byte("\n"))+1)
}

func (p *page) walk(visit func(ast.Node)) {
	_ = ast.Walk(p.tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			visit(n)
		}
		return ast.WalkContinue, nil
	})
}

func (p *page) blocks() (all []block) {
	p.walk(func(n ast.Node) {
		var lang string
		switch n := n.(type) {
		case *ast.FencedCodeBlock:
			lang = string(n.Language(p.source))
		case *ast.CodeBlock:
		default:
			return
		}
		if lines := n.Lines(); lines.Len() > 0 {
			all = append(all, block{at: p.at(lines.At(0).Start), lang: lang, text: string(lines.Value(p.source))})
		}
	})
	return all
}

// spans are the pieces of inline code below a node.
func (p *page) spans(below ast.Node) (all []piece) {
	_ = ast.Walk(below, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		span, ok := n.(*ast.CodeSpan)
		if ok && entering && span.FirstChild() != nil {
			first := span.FirstChild().(*ast.Text)
			all = append(all, piece{at: p.at(first.Segment.Start), text: p.words(span)})
		}
		return ast.WalkContinue, nil
	})
	return all
}

// words are the text of a node without markup.
func (p *page) words(node ast.Node) string {
	var words strings.Builder
	_ = ast.Walk(node, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			switch n := n.(type) {
			case *ast.Text:
				words.Write(n.Segment.Value(p.source))
				if n.SoftLineBreak() {
					words.WriteByte(' ')
				}
			case *ast.String:
				words.Write(n.Value)
			}
		}
		return ast.WalkContinue, nil
	})
	return words.String()
}

func (p *page) tables() (all []*extast.Table) {
	p.walk(func(n ast.Node) {
		if table, ok := n.(*extast.Table); ok {
			all = append(all, table)
		}
	})
	return all
}

// links are the destinations of links and images.
func (p *page) links() (all []string) {
	p.walk(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Link:
			all = append(all, string(n.Destination))
		case *ast.Image:
			all = append(all, string(n.Destination))
		}
	})
	return all
}

// anchors are the link targets of the headings of a page, as GitHub makes them.
func (p *page) anchors() map[string]bool {
	anchors := map[string]bool{}
	p.walk(func(n ast.Node) {
		if heading, ok := n.(*ast.Heading); ok {
			base := slug(p.words(heading))
			anchor := base
			for i := 1; anchors[anchor]; i++ {
				anchor = fmt.Sprintf("%s-%d", base, i)
			}
			anchors[anchor] = true
		}
	})
	return anchors
}

func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		default:
			return -1
		}
	}, heading)
}

func TestEveryRelativeLinkLeadsSomewhere(t *testing.T) {
	checked := 0
	for _, p := range pages(t) {
		for _, link := range p.links() {
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			checked++
			if err := leads(p, link); err != nil {
				t.Errorf("%s: the link %q: %v", p.path, link, err)
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d links were found", checked)
	}
}

// leads checks a relative link of a page: the file exists, and has the anchor.
func leads(from *page, link string) error {
	parsed, err := url.Parse(link)
	if err != nil {
		return err
	}
	target := from
	if parsed.Path != "" {
		path := filepath.Join(filepath.Dir(from.path), parsed.Path)
		if !filepath.IsLocal(path) {
			return fmt.Errorf("it leads out of the repository")
		}
		full := filepath.Join(testenv.ModuleRoot(), path)
		if _, err := os.Stat(full); err != nil || parsed.Fragment == "" {
			return err
		}
		source, err := os.ReadFile(full)
		if err != nil {
			return err
		}
		target = parse(path, source)
	}
	if parsed.Fragment != "" && !target.anchors()[parsed.Fragment] {
		return fmt.Errorf("%s has no heading #%s", target.path, parsed.Fragment)
	}
	return nil
}
