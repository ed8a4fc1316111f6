/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"sigs.k8s.io/yaml"
)

// run reads the agents, and prints what declares them.
func (o *options) run(ctx context.Context) error {
	if o.outputDir != "" {
		if err := os.MkdirAll(o.outputDir, 0o755); err != nil {
			return fmt.Errorf("--output-dir: %w", err)
		}
	}
	agents, err := o.readAll(ctx)
	if err != nil {
		return err
	}
	chosen, refused := 0, 0
	for _, a := range o.inOrder(agents) {
		if !o.chosen(&a.Agent) {
			continue
		}
		chosen++
		objects, left, err := o.declare(&a)
		var documents []byte
		if err == nil {
			documents, err = encode(objects)
		}
		if err != nil {
			refused++
			o.say("agent %s (%s) is not declared: %v", a.ID, a.object, err)
			continue
		}
		for _, why := range left {
			o.say("agent %s (%s): %s", a.ID, a.object, why)
		}
		switch err := o.write(&a, documents); {
		case errors.Is(err, errThere):
			refused++
			o.say("agent %s (%s) is not written: %v", a.ID, a.object, err)
		case err != nil:
			return err
		}
	}
	o.say("%d of the project's %d agents chosen, %d declared", chosen, len(agents), chosen-refused)
	if refused > 0 {
		return fmt.Errorf("%d of %d agents could not be declared: the lines above say why", refused, chosen)
	}
	return nil
}

// say tells a person something.
func (o *options) say(format string, args ...any) {
	_, _ = fmt.Fprintf(o.stderr, format+"\n", args...) // Nobody is left to tell of a stderr that fails.
}

var errThere = errors.New("its file is there with another content: remove it, or pass --overwrite")

// write puts the documents of one agent where they belong.
func (o *options) write(a *named, documents []byte) error {
	if o.outputDir == "" {
		_, err := o.stdout.Write(documents)
		return err
	}
	// The prefix keeps an agent from being called kustomization.yaml.
	name := filepath.Join(o.outputDir, "agent-"+a.object+".yaml")
	there, err := os.ReadFile(name)
	switch {
	case err == nil && bytes.Equal(there, documents):
		return nil
	case err == nil && !o.overwrite:
		return errThere
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("--output-dir: %w", err)
	}
	if err := os.WriteFile(name, documents, 0o644); err != nil {
		return fmt.Errorf("--output-dir: %w", err)
	}
	return nil
}

// encode writes objects as YAML documents, each led in by its separator.
func encode(objects []any) ([]byte, error) {
	var documents bytes.Buffer
	for _, object := range objects {
		plain, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		text, err := yaml.JSONToYAML(plain)
		if err != nil || !equal(plain, text) {
			return nil, errors.New("it holds characters that YAML does not keep: take them out of its configuration, flags or metadata")
		}
		documents.WriteString("---\n")
		documents.Write(text)
	}
	return documents.Bytes(), nil
}

// equal reports whether a YAML document says what the JSON says.
func equal(plain, document []byte) bool {
	back, err := yaml.YAMLToJSON(document)
	if err != nil {
		return false
	}
	var want, got any
	return json.Unmarshal(plain, &want) == nil && json.Unmarshal(back, &got) == nil && reflect.DeepEqual(want, got)
}
