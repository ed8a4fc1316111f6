/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command charts writes what the charts take from config: the CRDs, the roles, and the schema of the
// values of charts/calyptia-agents.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// copies are the files of config in charts/calyptia-agent-operator, by their path in files.
var copies = map[string]string{
	"crds":   "config/crd/bases/*.yaml",
	"people": "config/rbac/*_{viewer,editor,admin}_role.yaml",
	"":       "config/rbac/{role,leader_election_role,metrics_auth_role,metrics_reader_role}.yaml",
}

// agentsSchema is the schema of the other chart's values, without the kinds.
//
//go:embed agents.schema.json
var agentsSchema []byte

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("charts: ", err)
	}
}

func run() error {
	files := filepath.Join("charts", "calyptia-agent-operator", "files")
	if err := os.RemoveAll(files); err != nil {
		return err
	}
	for place, pattern := range copies {
		if err := copyAll(pattern, filepath.Join(files, place)); err != nil {
			return err
		}
	}
	if err := writeSchema(filepath.Join("charts", "calyptia-agents", "values.schema.json")); err != nil {
		return err
	}
	return writeValues(filepath.Join("docs", "reference", "values.md"), "calyptia-agent-operator", "calyptia-agents")
}

// copyAll copies the files that match the pattern to a directory.
func copyAll(pattern, dir string) error {
	var found []string
	for _, p := range braces(pattern) {
		matches, err := filepath.Glob(p)
		if err != nil {
			return err
		}
		found = append(found, matches...)
	}
	if len(found) == 0 {
		return fmt.Errorf("nothing matches %s", pattern)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, path := range found {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// braces expands a {list,of,words}, which filepath.Glob does not support.
func braces(pattern string) []string {
	before, rest, found := strings.Cut(pattern, "{")
	if !found {
		return []string{pattern}
	}
	words, after, _ := strings.Cut(rest, "}")
	var all []string
	for word := range strings.SplitSeq(words, ",") {
		all = append(all, before+word+after)
	}
	return all
}

func writeSchema(path string) error {
	var schema map[string]any
	if err := json.Unmarshal(agentsSchema, &schema); err != nil {
		return err
	}
	definitions, ok := schema["$defs"].(map[string]any)
	if !ok {
		return fmt.Errorf("agents.schema.json has no $defs")
	}
	for name, plural := range map[string]string{
		"agentSpec": "agents", "agentSetSpec": "agentsets", "cloudProjectSpec": "cloudprojects",
	} {
		spec, err := specOf(plural)
		if err != nil {
			return err
		}
		definitions[name] = spec
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

// specOf is the schema of a kind's spec.
func specOf(plural string) (map[string]any, error) {
	content, err := os.ReadFile(filepath.Join("config", "crd", "bases", "cloud.calyptia.com_"+plural+".yaml"))
	if err != nil {
		return nil, err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(content, &crd); err != nil {
		return nil, err
	}
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	encoded, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	var schema map[string]any
	if err := json.Unmarshal(encoded, &schema); err != nil {
		return nil, err
	}
	return plain(schema), nil
}

// plain converts the schema of a CRD to one for values: without extensions of the API server, and without unknown
// fields; null removes a default or a value of another file. Required fields may come from the defaults, so at the
// top level only the API server requires them.
func plain(schema map[string]any) map[string]any {
	delete(schema, "required")
	return strict(schema)
}

func strict(schema map[string]any) map[string]any {
	open := schema["x-kubernetes-preserve-unknown-fields"] == true
	for key := range schema {
		if strings.HasPrefix(key, "x-kubernetes-") || key == "default" || key == "format" {
			delete(schema, key)
		}
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		for name, property := range properties {
			properties[name] = strict(property.(map[string]any))
		}
		schema["additionalProperties"] = open
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[key].(map[string]any); ok {
			schema[key] = strict(inner)
		}
	}
	if kind, ok := schema["type"].(string); ok {
		schema["type"] = []any{kind, "null"}
	}
	if values, ok := schema["enum"].([]any); ok && !slices.Contains(values, any(nil)) {
		schema["enum"] = append(values, nil)
	}
	return schema
}
