/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// metadataRow is a value of spec.metadata.id as a user writes it, and the result.
type metadataRow struct {
	name, yaml string
	want       any    // as the API server reads it
	refused    string // the path that the message has
}

var metadataRows = []metadataRow{
	{name: "an integer that loses digits", yaml: "1234567890123456789", refused: "metadata.id"},
	{name: "a negative one", yaml: "-1234567890123456789", refused: "metadata.id"},
	{name: "the first that loses digits", yaml: "9007199254740993", refused: "metadata.id"},
	{name: "the first that others become", yaml: "9007199254740992", refused: "metadata.id"},
	{name: "the first negative that others become", yaml: "-9007199254740992", refused: "metadata.id"},
	{name: "the largest of 64 bits", yaml: "9223372036854775807", refused: "metadata.id"},
	{name: "the largest without a sign", yaml: "18446744073709551615", refused: "metadata.id"},
	{name: "beyond 64 bits", yaml: "123456789012345678901234567890", refused: "metadata.id"},
	{name: "with an exponent", yaml: "1.234567890123456789e+18", refused: "metadata.id"},
	{name: "in hexadecimal", yaml: "0x112210F47DE98115", refused: "metadata.id"},
	{name: "in a list", yaml: "[1, 1234567890123456789]", refused: "metadata.id[1]"},
	{name: "in a map", yaml: "{a: {b: 1234567890123456789}}", refused: "metadata.id.a.b"},
	{name: "in a map in a list in a list", yaml: "[[], [{id: 1234567890123456789}]]", refused: "metadata.id[1][0].id"},

	{name: "the largest safe integer", yaml: "9007199254740991", want: int64(9007199254740991)},
	{name: "the smallest safe integer", yaml: "-9007199254740991", want: int64(-9007199254740991)},
	{name: "an ordinary integer", yaml: "42", want: int64(42)},
	{name: "a million", yaml: "1000000", want: int64(1000000)},
	{name: "zero", yaml: "0", want: int64(0)},
	{name: "a fraction", yaml: "1.5", want: 1.5},
	{name: "a small fraction", yaml: "1.5e-7", want: 1.5e-7},
	{name: "a string of digits", yaml: `"1234567890123456789"`, want: "1234567890123456789"},
	{name: "a string with an exponent", yaml: `"1e400"`, want: "1e400"},
	{name: "true", yaml: "true", want: true},
	{name: "false", yaml: "false", want: false},
	{name: "nothing within a list", yaml: "[null, a, {b: true}]", want: []any{nil, "a", map[string]any{"b": true}}},
}

// TestNumbersOfMetadata: Helm reads numbers as floating point, and the chart refuses those that lose digits.
func TestNumbersOfMetadata(t *testing.T) {
	for version, path := range helms {
		for _, row := range metadataRows {
			t.Run(version+"/"+row.name, func(t *testing.T) {
				t.Parallel()
				checkMetadata(t, path, row, "--values", writeFile(t, "agents: {a: {spec: {metadata: {id: "+row.yaml+"}}}}\n"))
			})
		}
	}
}

// TestNumbersFromOtherSources sets the same numbers on the command line and in the defaults of all agents.
func TestNumbersFromOtherSources(t *testing.T) {
	const large = "1234567890123456789"
	refused := metadataRow{refused: "metadata.id"}
	for version, path := range helms {
		for _, way := range []struct {
			name string
			row  metadataRow
			args []string
		}{
			{"--set", refused, []string{"--set", "agents.a.spec.metadata.id=" + large}},
			{"--set of a list", metadataRow{refused: "metadata.id[0]"}, []string{"--set", "agents.a.spec.metadata.id={" + large + "}"}},
			{"--set-json", refused, []string{"--set-json", `agents={"a":{"spec":{"metadata":{"id":` + large + `}}}}`}},
			{"the defaults", refused, []string{"--values", writeFile(t, "agentDefaults: {metadata: {id: "+large+"}}\nagents: {a: {}}\n")}},
			{"--set-string", metadataRow{want: large}, []string{"--set-string", "agents.a.spec.metadata.id=" + large}},
			{"--set-literal", metadataRow{want: large}, []string{"--set-literal", "agents.a.spec.metadata.id=" + large}},
			{"--set of a small one", metadataRow{want: int64(42)}, []string{"--set", "agents.a.spec.metadata.id=42"}},
		} {
			t.Run(version+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				checkMetadata(t, path, way.row, way.args...)
			})
		}
	}
}

func checkMetadata(t *testing.T, path func() (string, error), row metadataRow, args ...string) {
	t.Helper()
	out, err := helmBy(t, path, nil, append([]string{"template", "r", agentsChart, "--namespace", "ns", kubeVersion}, args...)...)
	if row.refused != "" {
		want := "agents.a: spec." + row.refused + " "
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "make it a string") {
			t.Errorf("it is %v and\n%s\nwant an error with %q", err, out, want)
		}
		return
	}
	objects := must(parse(out))
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := unstructured.NestedFieldNoCopy(only(t, objects(t), "Agent").Object, "spec", "metadata", "id")
	if err != nil {
		t.Fatal(err)
	}
	if whole, ok := got.(float64); ok && whole == float64(int64(whole)) {
		got = int64(whole) // As the API server reads them; parse reads all numbers as one type.
	}
	if diff := cmp.Diff(row.want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func writeFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
