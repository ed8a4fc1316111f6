/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package plan

import (
	"encoding/json"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// An Agent declares empty metadata. Whoever has the agent's token wrote other: longer than any that can be declared, or no object.
func TestAsDeclared_EmptyMetadata_DiffersFromWhatIsNone(t *testing.T) {
	spec := &v1alpha1.AgentSpec{Metadata: &apiextensionsv1.JSON{Raw: []byte(`{}`)}}
	for name, row := range map[string]struct {
		metadata string
		declared bool
	}{
		"an object of 2 MiB": {`{"a":"` + strings.Repeat("x", 2<<20) + `"}`, false},
		"an array":           {`["a"]`, false},
		"a text":             {`"a"`, false},
		"a number":           {`0`, false},
		"null":               {`null`, true},
		"an empty object":    {`{ }`, true},
		"an empty array":     {`[ ]`, true}, // As some languages write an empty object.
	} {
		t.Run(name, func(t *testing.T) {
			var remote cloud.Agent
			body := `{"id":"8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11","metadata":` + row.metadata + `}`
			if err := json.Unmarshal([]byte(body), &remote); err != nil {
				t.Fatal(err)
			}
			changes := Compare(Declare(spec, Targets{}, Configuration{}), View{Agent: &remote})
			if got := AsDeclared(changes); got != row.declared {
				t.Errorf("as declared: %t", got)
			}
		})
	}
}
