/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package kubecache

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// many repeats a part of a JSON text with numbers that no other object has.
func many(salt, count int, part string) string {
	parts := make([]string, count)
	for i := range parts {
		parts[i] = fmt.Sprintf(part, fmt.Sprintf("%x%05x", salt, i))
	}
	return strings.Join(parts, ",")
}

// Kubernetes bounds neither the labels, finalizers and owners of an object nor the number of its annotations, so whoever may write one
// object could fill the memory that all teams share.
func TestTrimKeepsABoundedPartOfWhatAnybodyMayWrite(t *testing.T) {
	const objects, most = 2, 320 << 10
	label := fmt.Sprintf("%q:%q", v1alpha1.LabelAgentUID, "uid")
	for _, row := range []struct {
		name     string
		metadata func(salt int) string
	}{
		{"labels", func(salt int) string { return `"labels":{` + label + "," + many(salt, 20_000, `"%s":""`) + "}" }},
		{"long labels", func(salt int) string {
			return `"labels":{` + label + "," + many(salt, 3_000, `"`+strings.Repeat("a", 250)+`/%s":"`+strings.Repeat("b", 63)+`"`) + "}"
		}},
		{"annotations", func(salt int) string { return `"annotations":{` + many(salt, 20_000, `"%s":""`) + "}" }},
		{"a long annotation", func(int) string { return `"annotations":{"a":"` + strings.Repeat("a", 256<<10) + `"}` }},
		{"finalizers", func(salt int) string { return `"finalizers":[` + many(salt, 20_000, `"a/%s"`) + "]" }},
		{"owners", func(salt int) string {
			return `"labels":{` + label + `},"ownerReferences":[` +
				many(salt, 20_000, `{"apiVersion":"v1","kind":"A","name":"a","uid":"%s"}`) + "]"
		}},
		{"long owners", func(salt int) string {
			long := strings.Repeat("a", 40_000)
			return `"labels":{` + label + `},"ownerReferences":[` +
				many(salt, 30, `{"apiVersion":"v1","kind":"A","name":"`+long+`","uid":"%s"}`) + "]"
		}},
		{"its own text", func(int) string { return `"generateName":"` + strings.Repeat("a", 1_000_000) + `"` }},
	} {
		for kind, object := range map[string]func() client.Object{
			"an Agent":             func() client.Object { return &v1alpha1.Agent{} },
			"an AgentSet":          func() client.Object { return &v1alpha1.AgentSet{} },
			"a CloudProject":       func() client.Object { return &v1alpha1.CloudProject{} },
			"metadata of a Secret": func() client.Object { return &metav1.PartialObjectMetadata{} },
		} {
			var kept []any
			before := testenv.Heap()
			for salt := range objects {
				o := object()
				if err := json.Unmarshal([]byte(`{"metadata":{"name":"a",`+row.metadata(salt)+`}}`), o); err != nil {
					t.Fatal(err)
				}
				trimmed, err := Trim(o)
				if err != nil {
					t.Fatal(err)
				}
				kept = append(kept, trimmed)
			}
			each := (testenv.Heap() - before) / objects
			runtime.KeepAlive(kept)
			t.Logf("%s with %s: %d KiB", kind, row.name, each>>10)
			if each > most {
				t.Errorf("%s with %s takes %d KiB in memory, want %d at most", kind, row.name, each>>10, most>>10)
			}
		}
	}
}

// What the CRDs allow takes no more in memory than etcd takes for one object, some 1.5 MB.
func TestTheLargestSpecsTakeNoMoreInMemoryThanInEtcd(t *testing.T) {
	const most = 2 << 20
	metadata := `"metadata":{"a":[` + strings.Repeat(`{},`, 466_000) + `{}]}`
	for name, row := range map[string]struct {
		object client.Object
		spec   string
	}{
		"metadata of an Agent":             {&v1alpha1.Agent{}, metadata},
		"metadata of an AgentSet's Agents": {&v1alpha1.AgentSet{}, `"template":{"spec":{` + metadata + `}}`},
		"a configuration":                  {&v1alpha1.Agent{}, `"rawConfig":"` + strings.Repeat("\U0001F600", 131_072) + `"`},
		"a selector": {&v1alpha1.CloudProject{}, `"allowedNamespaces":{"selector":{"matchLabels":{` + many(0, 64, `"%s":""`) + `},"matchExpressions":[` +
			strings.TrimSuffix(strings.Repeat(`{"key":"a","operator":"In","values":[`+many(0, 1024, `"%s"`)+`]},`, 16), ",") + `]}}`},
	} {
		text := []byte(`{"spec":{` + row.spec + `}}`)
		before := testenv.Heap()
		if err := json.Unmarshal(text, row.object); err != nil {
			t.Fatal(err)
		}
		kept, err := Trim(row.object)
		if err != nil {
			t.Fatal(err)
		}
		each := testenv.Heap() - before
		runtime.KeepAlive(kept)
		t.Logf("%s: %d KiB in memory, %d in JSON", name, each>>10, len(text)>>10)
		if each > most {
			t.Errorf("%s takes %d KiB in memory, want %d at most", name, each>>10, most>>10)
		}
		runtime.KeepAlive(text)
	}
}
