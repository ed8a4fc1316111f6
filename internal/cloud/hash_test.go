/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

func TestJSONObjectsAreComparedByMeaning(t *testing.T) {
	for _, row := range []struct {
		name, a, b string
		same       bool
	}{
		{"order of keys", `{"a":1,"b":2}`, `{"b":2,"a":1}`, true},
		{"order of keys further in", `{"x":{"a":1,"b":[{"c":1,"d":2}]}}`, `{"x":{"b":[{"d":2,"c":1}],"a":1}}`, true},
		{"white space", `{"a":1}`, " {\n\t\"a\" : 1 } ", true},
		{"escapes", `{"a":"ü/"}`, `{"a":"\u00fc\/"}`, true},
		{"spellings of a number", `{"a":100}`, `{"a":1e2}`, true},
		{"negative zero", `{"a":0}`, `{"a":-0}`, true},
		{"a whole number with a fraction of none", `{"a":1}`, `{"a":1.0}`, true},
		{"null, absent and the empty object", `null`, `{}`, true},
		{"nothing at all and the empty object", ``, `{}`, true},
		{"order in a list counts", `{"a":[1,2]}`, `{"a":[2,1]}`, false},
		{"a number is no string", `{"a":1}`, `{"a":"1"}`, false},
		{"true is no string", `{"a":true}`, `{"a":"true"}`, false},
		{"a member that is null is there", `{"a":null}`, `{}`, false},
		{"an empty list is no null", `{"a":[]}`, `{"a":null}`, false},
		{"an empty object is no empty list", `{"a":{}}`, `{"a":[]}`, false},
		{"whole numbers beyond what a float64 distinguishes", `{"n":9007199254740993}`, `{"n":9007199254740992}`, false},
		{"a number beyond all bounds, and nothing", `{"n":1e400,"a":1}`, `{}`, false},
		{"case of keys counts", `{"A":1}`, `{"a":1}`, false},
		{"case of values counts", `{"a":"X"}`, `{"a":"x"}`, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, b := cloud.Canonical(json.RawMessage(row.a)), cloud.Canonical(json.RawMessage(row.b))
			if cmp.Equal(a, b) != row.same || (cloud.Hash(a) == cloud.Hash(b)) != row.same {
				t.Errorf("%v (%s) and %v (%s), same: want %v", a, cloud.Hash(a), b, cloud.Hash(b), row.same)
			}
		})
	}
}

// A changed hash makes every Agent of every cluster send everything again after an update of the operator.
func TestHashesStayTheSameFromReleaseToRelease(t *testing.T) {
	for _, row := range []struct {
		name  string
		value any
		want  string
	}{
		{"a string", "v4.0.0", "a48144850be3f06d"},
		{"an empty list", []string{}, "4f53cda18c2baa0c"},
		{"an empty object", cloud.Canonical(nil), "44136fa355b3678a"},
		{"an object", cloud.Canonical(json.RawMessage(`{"b":null,"a":1.0}`)), "46e0ff59f6164548"},
		{"what is no JSON", make(chan int), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := cloud.Hash(row.value); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
}
