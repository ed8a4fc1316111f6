/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"sigs.k8s.io/yaml"
)

const kustomizationFile = "kustomization.yaml"

var errThere = errors.New("its file is there with another content: remove it, or pass --overwrite")

// outputError is a failure to write, which ends the command.
type outputError struct{ error }

func (e *outputError) Unwrap() error { return e.error }

func outputDir(err error) error { return &outputError{fmt.Errorf("--output-dir: %w", err)} }

// output writes the manifests: one by one to stdout, as one JSON List, as files, or as differences to files.
type output struct {
	*options
	items     []any // of the List
	differing int   // files
	files     []string
}

// add adds the objects of one manifest.
func (o *output) add(name string, objects []any) error {
	if o.output == "json" && o.outputDir == "" {
		o.items = append(o.items, objects...)
		return nil
	}
	var documents []byte
	var err error
	if o.output == "json" {
		documents, err = list(objects)
	} else {
		documents, err = encode(objects)
	}
	if err != nil {
		return err
	}
	if o.outputDir == "" {
		if _, err := o.stdout.Write(documents); err != nil {
			return &outputError{err}
		}
		return nil
	}
	o.files = append(o.files, name+"."+o.output)
	return o.file(name+"."+o.output, documents)
}

// close writes what depends on all manifests.
func (o *output) close() error {
	switch {
	case o.outputDir != "":
		err := o.kustomization()
		if errors.Is(err, errThere) {
			return fmt.Errorf("%s: %w", kustomizationFile, err)
		}
		return err
	case o.output == "json":
		documents, err := list(o.items)
		if err == nil {
			_, err = o.stdout.Write(documents)
		}
		return err
	}
	return nil
}

// list encodes objects as a List, of which kubectl takes any number of kinds.
func list(objects []any) ([]byte, error) {
	if objects == nil {
		objects = []any{}
	}
	var documents bytes.Buffer
	encoder := json.NewEncoder(&documents)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
	return documents.Bytes(), err
}

// kustomization lists the manifests, and those of an earlier import that are still there.
func (o *output) kustomization() error {
	entries, err := os.ReadDir(o.outputDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return outputDir(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, "agent-") && strings.HasSuffix(name, "."+o.output) || name == "cloudproject."+o.output {
			o.files = append(o.files, name)
		}
	}
	slices.Sort(o.files)
	content, err := yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": slices.Compact(o.files),
	})
	if err != nil {
		return err
	}
	return o.file(kustomizationFile, content)
}

// file writes one file, or shows how it would change.
func (o *output) file(name string, content []byte) error {
	path := filepath.Join(o.outputDir, name)
	there, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(there, content):
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return outputDir(err)
	case o.diff:
		return o.show(path, there, content)
	case err == nil && !o.overwrite:
		return errThere
	}
	if err := os.MkdirAll(o.outputDir, 0o755); err != nil {
		return outputDir(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return outputDir(err)
	}
	return nil
}

// show prints how a file would change.
func (o *output) show(path string, before, after []byte) error {
	o.differing++
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(string(before)), B: difflib.SplitLines(string(after)), FromFile: path, ToFile: path, Context: 3,
	})
	if err == nil {
		_, err = o.stdout.Write([]byte(text))
	}
	if err != nil {
		return &outputError{err}
	}
	return nil
}
