/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// wholes are minimal objects of each kind, to which a fragment is added.
const wholes = `
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata: {name: whole}
spec: {type: fluentbit, version: v4.0.0, rawConfig: x}
---
apiVersion: cloud.calyptia.com/v1alpha1
kind: CloudProject
metadata: {name: whole}
spec: {tokenSecretRef: {name: x}}
`

// completes adds a fragment to an object of each kind, until the API server accepts the result.
func completes(ctx context.Context, c client.Client, fragment any) error {
	fields, isObject := fragment.(map[string]any)
	if !isObject {
		return fmt.Errorf("it is no object, but %T", fragment)
	}
	objects, err := documents(wholes)
	if err != nil {
		return err
	}
	var errs []error
	for _, object := range objects {
		merge(object.Object, fields)
		err := dryRun(ctx, c, object)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// merge adds fields to an object recursively.
func merge(into, fields map[string]any) {
	for key, value := range fields {
		below, isObject := value.(map[string]any)
		if there, both := into[key].(map[string]any); isObject && both {
			merge(there, below)
		} else {
			into[key] = value
		}
	}
}

// chartTakes renders a chart with values, which helm validates by the chart's schema.
func chartTakes(t *testing.T, chart string, values any) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, must(yaml.Marshal(values))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(testenv.ModuleRoot(), "charts", chart)
	args := []string{"template", "release", path, "--values", file}
	if chart == operatorChart {
		args = append(args, "--set-string", "image.tag=test") // An unreleased chart has no default image.
	}
	out, err := exec.Command(must(helmPath())(t), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// otherFragments are files that are neither part of a kind nor values of a chart, with the test that checks them.
var otherFragments = map[string]string{
	"docs/gitops/agents/kustomizeconfig.yaml": "TestTheManifestsOfThePageCanBeRenamed",
}

// YAML without a kind is part of an object, or values of a chart; in the README of a chart, values of this chart.
func TestEveryFragmentIsTaken(t *testing.T) {
	c := must(client.New(harness.Plane().Config, client.Options{}))(t)
	checked := 0
	for _, m := range manifests(t) {
		if otherFragments[m.at] != "" {
			continue
		}
		_, fragments, err := separate(m.text)
		if err != nil {
			t.Errorf("%s: %v", m.at, err)
		}
		for _, fragment := range fragments {
			checked++
			var whole error
			chart := operatorChart // Other pages show its values, too.
			if match := ownChart.FindStringSubmatch(m.at); match != nil {
				chart = match[1]
			} else if whole = completes(t.Context(), c, fragment); whole == nil {
				continue
			}
			if err := chartTakes(t, chart, fragment); err != nil {
				err = errors.Join(whole, err)
				t.Errorf("%s: %v", m.at, err)
			}
		}
	}
	if checked < 3 {
		t.Errorf("only %d fragments were found", checked)
	}
}

// The check above must be able to fail.
func TestAWrongFragmentIsRefused(t *testing.T) {
	c := must(client.New(harness.Plane().Config, client.Options{}))(t)
	for _, row := range []struct{ text, chart, word string }{
		{text: "spec: {sessionSecretRef: {name: x}}"},
		{text: "spec: {rateLimit: {burst: 3}}"},
		{text: "spec: {sessionSecret: {name: x}}", word: "sessionSecret"},
		{text: "spec: {syncPolicy: Watch}", word: "Watch"},
		{text: "agents: {}", word: "agents"},
		{text: "[1]", word: "no object"},
		{text: "agents: {web: {spec: {type: fluentbit}}}", chart: agentsChart},
		{text: "agents: {web: {spec: {tipe: fluentbit}}}", chart: agentsChart, word: "tipe"},
		{text: "image: {tag: x}", chart: operatorChart},
		{text: "image: {tga: x}", chart: operatorChart, word: "tga"},
	} {
		_, fragments, err := separate(row.text)
		if err != nil || len(fragments) != 1 {
			t.Fatalf("%s: %v %v", row.text, fragments, err)
		}
		if row.chart != "" {
			err = chartTakes(t, row.chart, fragments[0])
		} else {
			err = completes(t.Context(), c, fragments[0])
		}
		if row.word == "" && err != nil || row.word != "" && (err == nil || !strings.Contains(err.Error(), row.word)) {
			t.Errorf("%s: %v", row.text, err)
		}
	}
}
