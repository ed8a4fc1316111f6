/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const valuesHead = `# Values of the charts

Written by ` + "`make charts`" + ` from the charts' values.yaml. Other values are refused.
`

// writeValues writes the page with a table for each chart.
func writeValues(path string, charts ...string) error {
	var page strings.Builder
	page.WriteString(valuesHead)
	for _, chart := range charts {
		content, err := os.ReadFile(filepath.Join("charts", chart, "values.yaml"))
		if err != nil {
			return err
		}
		rows, err := table(content)
		if err != nil {
			return fmt.Errorf("%s: %w", chart, err)
		}
		fmt.Fprintf(&page, "\n## %s\n\n| value | default | meaning |\n| --- | --- | --- |\n%s", chart, rows)
	}
	return os.WriteFile(path, []byte(page.String()), 0o644)
}

// table has a row for each value that has no values below it. Its meaning is the comment above it that begins with two
// dashes, or that of its parent.
func table(content []byte) (string, error) {
	var defaults map[string]any
	if err := yaml.Unmarshal(content, &defaults); err != nil {
		return "", err
	}
	var rows strings.Builder
	var path, meanings []string
	comment, meant := "", false
	for line := range strings.Lines(string(content)) {
		text := strings.TrimSpace(line)
		if words, is := strings.CutPrefix(text, "#"); is {
			words, begins := strings.CutPrefix(strings.TrimSpace(words), "-- ")
			meant = meant || begins
			if meant {
				comment = strings.TrimSpace(comment + " " + words)
			}
			continue
		}
		key, _, isKey := strings.Cut(text, ":")
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		if !isKey || strings.HasPrefix(text, "- ") || depth > len(path) {
			comment, meant = "", false
			continue
		}
		path, meanings = append(path[:depth], key), append(meanings[:depth], comment)
		comment, meant = "", false
		value, known := lookup(defaults, path)
		if object, ok := value.(map[string]any); !known || ok && len(object) > 0 {
			continue
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&rows, "| `%s` | `%s` | %s |\n", strings.Join(path, "."), escape(string(encoded)), escape(last(meanings)))
	}
	return rows.String(), nil
}

// lookup is the value at a path.
func lookup(values map[string]any, path []string) (any, bool) {
	value, known := values[path[0]]
	if below, ok := value.(map[string]any); ok && len(path) > 1 {
		return lookup(below, path[1:])
	}
	return value, known && len(path) == 1
}

// last is the last non-empty text.
func last(texts []string) string {
	for i := len(texts) - 1; i >= 0; i-- {
		if texts[i] != "" {
			return texts[i]
		}
	}
	return ""
}

// escape escapes a text for a table cell.
func escape(text string) string {
	return strings.ReplaceAll(text, "|", `\|`)
}
