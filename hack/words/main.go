/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command words finds retired words in the files that git tracks, each with the word to use instead.
package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed retired.txt
var list string

// rule is a retired word and its replacement.
type rule struct {
	word    *regexp.Regexp
	instead string
}

// rules reads the list.
func rules(text string) (retired []rule, allowed []*regexp.Regexp, err error) {
	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		phrase, isAllowed := strings.CutPrefix(line, "allow ")
		word, instead, isRule := strings.Cut(line, " => ")
		switch {
		case line == "" || line[0] == '#':
		case isAllowed:
			allowed = append(allowed, regexp.MustCompile(`(?i)\b`+regexp.QuoteMeta(phrase)+`\b`))
		case !isRule:
			return nil, nil, fmt.Errorf("line %d: no ' => ' and no 'allow': write one of them", number+1)
		default:
			pattern, err := regexp.Compile(`(?i)\b(?:` + strings.ReplaceAll(word, " ", `\s+`) + `)\b`)
			if err != nil {
				return nil, nil, fmt.Errorf("line %d: %w", number+1, err)
			}
			retired = append(retired, rule{pattern, instead})
		}
	}
	return retired, allowed, nil
}

var (
	hump = regexp.MustCompile(`([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])`)
	// What others named, or what is written by a tool from others' words.
	skipped = regexp.MustCompile(`(^|/)(go\.(mod|sum)|CHANGELOG\.md|retired\.txt)$|\.(svg|png)$|/testdata/fuzz/`)
	scanned = []string{".go", ".md", ".yaml", ".yml", ".json", ".lua", ".tpl", ".txt", ".sh", ".tmpl", ".toml", ""}
)

// words is a line as it is read aloud: identifiers become their words.
func words(line string) string {
	return strings.NewReplacer("_", " ", "-", " ").Replace(hump.ReplaceAllString(line, "$1$3 $2$4"))
}

// check reports the retired words in one file and returns their number.
func check(name string, in io.Reader, out io.Writer, retired []rule, allowed []*regexp.Regexp) (found int) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for number := 1; lines.Scan(); number++ {
		text := words(lines.Text())
		for _, phrase := range allowed {
			text = phrase.ReplaceAllString(text, "")
		}
		for _, r := range retired {
			if hit := r.word.FindString(text); hit != "" {
				found++
				_, _ = fmt.Fprintf(out, "%s:%d: %q is retired: write %s\n", name, number, hit, r.instead)
			}
		}
	}
	return found
}

func run(out io.Writer, paths []string) (int, error) {
	retired, allowed, err := rules(list)
	if err != nil {
		return 0, err
	}
	tracked, err := exec.Command("git", append([]string{"ls-files", "-z", "--"}, paths...)...).Output()
	if err != nil {
		return 0, fmt.Errorf("git ls-files: %w", err)
	}
	found := 0
	for name := range strings.SplitSeq(strings.TrimRight(string(tracked), "\x00"), "\x00") {
		if skipped.MatchString(name) || !slices.Contains(scanned, filepath.Ext(name)) {
			continue
		}
		file, err := os.Open(name) //nolint:gosec // git names the files.
		if err != nil {
			return 0, err
		}
		found += check(name, file, out, retired, allowed)
		_ = file.Close()
	}
	return found, nil
}

func main() {
	found, err := run(os.Stdout, os.Args[1:])
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(2)
	}
	if found > 0 {
		_, _ = fmt.Fprintf(os.Stderr, "words: %d retired words; hack/words/retired.txt says what to write instead\n", found)
		os.Exit(1)
	}
}
