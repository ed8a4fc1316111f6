/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// readCRDs returns the CRDs in config/crd/bases.
func readCRDs(t *testing.T) []apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testenv.ModuleRoot(), "config", "crd", "bases", "*.yaml"))
	noError(t, err)
	crds := make([]apiextensionsv1.CustomResourceDefinition, len(paths))
	for i, path := range paths {
		content, err := os.ReadFile(path)
		noError(t, err)
		noError(t, yaml.UnmarshalStrict(content, &crds[i]))
	}
	if len(crds) != 3 {
		t.Fatalf("%d CRDs, want 3", len(crds))
	}
	return crds
}

// walk visits schema and all below it, with their paths as the API server writes them.
func walk(path string, schema *apiextensionsv1.JSONSchemaProps, visit func(string, *apiextensionsv1.JSONSchemaProps)) {
	visit(path, schema)
	for name, property := range schema.Properties {
		walk(strings.TrimPrefix(path+"."+name, "."), &property, visit)
	}
	if schema.Items != nil {
		walk(path+"[*]", schema.Items.Schema, visit)
	}
}

// constraint is something that the schema of a kind refuses.
type constraint struct{ kind, field, message string }

var index = regexp.MustCompile(`\[\d+\]`)

func (c constraint) refusedOneOf(seen []refusal) bool {
	return slices.ContainsFunc(seen, func(r refusal) bool {
		return r.kind == c.kind && index.ReplaceAllString(r.field, "[*]") == c.field && strings.Contains(r.message, c.message)
	})
}

// constraints returns every rule of the CRDs and every other constraint of the specs; statuses are the operator's own.
func constraints(t *testing.T) []constraint {
	t.Helper()
	var all []constraint
	for _, crd := range readCRDs(t) {
		kind := crd.Spec.Names.Kind
		walk("", crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			for _, rule := range schema.XValidations {
				field := strings.TrimPrefix(path+rule.FieldPath, ".")
				if field == "" {
					field = onTheRoot
				}
				all = append(all, constraint{kind, field, rule.Message})
			}
			if !strings.HasPrefix(path, "spec.") {
				return
			}
			for _, message := range bounds(schema) {
				all = append(all, constraint{kind, path, message})
			}
			for _, name := range schema.Required {
				all = append(all, constraint{kind, path + "." + name, required})
			}
		})
	}
	return all
}

// bounds returns what the API server says of a value beyond each bound.
func bounds(schema *apiextensionsv1.JSONSchemaProps) (messages []string) {
	if schema.MinLength != nil {
		messages = append(messages, fmt.Sprintf("should be at least %d chars long", *schema.MinLength))
	}
	if schema.MaxLength != nil {
		messages = append(messages, tooLong(int(*schema.MaxLength)))
	}
	if schema.Pattern != "" {
		messages = append(messages, "should match '"+schema.Pattern+"'")
	}
	if schema.Minimum != nil {
		messages = append(messages, fmt.Sprint("should be greater than or equal to ", *schema.Minimum))
	}
	if schema.Maximum != nil {
		messages = append(messages, fmt.Sprint("should be less than or equal to ", *schema.Maximum))
	}
	if schema.MaxItems != nil {
		messages = append(messages, fmt.Sprintf("must have at most %d items", *schema.MaxItems))
	}
	if schema.MaxProperties != nil {
		messages = append(messages, fmt.Sprintf("must have at most %d items", *schema.MaxProperties))
	}
	if schema.Enum != nil {
		messages = append(messages, "supported values: ")
	}
	return messages
}

func TestEveryFieldIsDescribed(t *testing.T) {
	for _, crd := range readCRDs(t) {
		walk("", crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			described := schema.Description != "" || path == "metadata" || strings.HasSuffix(path, "[*]")
			if !described {
				t.Errorf("%s %s has no description", crd.Spec.Names.Kind, path)
			}
		})
	}
}

func TestPrinterColumns(t *testing.T) {
	want := map[string]string{
		"Agent":        "Ready, Status, Version, ID, Age; wide: Reason, Message, Environment, Last metrics, Project",
		"AgentSet":     "Desired, Ready, Reporting, Age; wide: Up-to-date, Target, Reason",
		"CloudProject": "Ready, URL, Project ID, Agents, Age; wide: Reason, Message, Authentication",
	}
	for _, crd := range readCRDs(t) {
		var always, wide []string
		for _, column := range crd.Spec.Versions[0].AdditionalPrinterColumns {
			if column.Priority == 0 {
				always = append(always, column.Name)
			} else {
				wide = append(wide, column.Name)
			}
		}
		got := strings.Join(always, ", ") + "; wide: " + strings.Join(wide, ", ")
		if kind := crd.Spec.Names.Kind; got != want[kind] {
			t.Errorf("columns of %s are %q, want %q", kind, got, want[kind])
		}
	}
}
