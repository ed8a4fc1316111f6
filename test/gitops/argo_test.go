/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package gitops_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// health is the result of an Argo CD script.
type health struct{ Status, Message string }

// The four statuses that a script may return for an existing object.
const (
	healthy     = "Healthy"
	progressing = "Progressing"
	degraded    = "Degraded"
	suspended   = "Suspended"
)

func file(t testing.TB, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{testenv.ModuleRoot()}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// upstream is the directory of the scripts, with the layout of Argo CD's repository.
var upstream = []string{"config", "argocd", "resource_customizations", "cloud.calyptia.com"}

func script(t testing.TB, kind string) string {
	t.Helper()
	return file(t, append(upstream, kind, "health.lua")...)
}

// argo computes the health of an object as Argo CD does: an object that is being deleted without the script, every other
// with the script, which gets the object as the global obj, has only the base and table libraries, and returns a table.
func argo(source string, object *unstructured.Unstructured) (health, error) {
	if object.GetDeletionTimestamp() != nil {
		return health{progressing, "Pending deletion"}, nil
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		err := state.CallByParam(lua.P{Fn: state.NewFunction(open), NRet: 0, Protect: true}, lua.LString(name))
		if err != nil {
			return health{}, err
		}
	}
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(source); err != nil {
		return health{}, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return health{}, fmt.Errorf("the script returned %s, not a table", state.Get(-1).Type())
	}
	result := health{Status: table.RawGetString("status").String(), Message: table.RawGetString("message").String()}
	switch result.Status {
	case healthy, progressing, degraded, suspended:
		return result, nil
	default:
		return result, fmt.Errorf("the script returned the status %q", result.Status)
	}
}

// value converts JSON for a script.
func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case string:
		return lua.LString(from)
	case int64:
		return lua.LNumber(from)
	case float64:
		return lua.LNumber(from)
	case []any:
		table := state.NewTable()
		for _, element := range from {
			table.Append(value(state, element))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, element := range from {
			table.RawSetString(key, value(state, element))
		}
		return table
	default:
		return lua.LNil
	}
}

// agree reports whether Argo CD and kstatus agree.
func agree(h health, s status.Status) bool {
	switch h.Status {
	case healthy:
		return s == status.CurrentStatus
	case degraded:
		return s == status.FailedStatus
	case progressing:
		return s == status.InProgressStatus || s == status.TerminatingStatus
	default:
		return s == status.InProgressStatus
	}
}

func TestTheConfigMapForArgoHoldsTheScripts(t *testing.T) {
	t.Parallel()
	var configMap corev1.ConfigMap
	if err := yaml.UnmarshalStrict([]byte(file(t, "docs", "gitops", "argocd", "argocd-cm.yaml")), &configMap); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Agent", "AgentSet", "CloudProject"} {
		key := "resource.customizations.health.cloud.calyptia.com_" + kind
		if configMap.Data[key] != script(t, kind) {
			t.Errorf("%s is not the content of %s/health.lua: put it there, indented", key, kind)
		}
	}
	if len(configMap.Data) != 3 {
		t.Errorf("%d keys, want the three of the scripts", len(configMap.Data))
	}
}

// TestTheScriptsPassTheirTestData runs the tests next to the scripts as Argo CD does. They are ready to be sent upstream.
func TestTheScriptsPassTheirTestData(t *testing.T) {
	for kind, statuses := range map[string]int{"Agent": 4, "CloudProject": 3} {
		dir := append(slices.Clone(upstream), kind)
		var tests struct {
			Tests []struct {
				HealthStatus health `json:"healthStatus"`
				InputPath    string `json:"inputPath"`
			} `json:"tests"`
		}
		if err := yaml.UnmarshalStrict([]byte(file(t, append(slices.Clone(dir), "health_test.yaml")...)), &tests); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, row := range tests.Tests {
			object := &unstructured.Unstructured{}
			if err := yaml.UnmarshalStrict([]byte(file(t, append(slices.Clone(dir), row.InputPath)...)), &object.Object); err != nil {
				t.Fatal(err)
			}
			if object.GetKind() != kind {
				t.Errorf("%s is a %s", row.InputPath, object.GetKind())
			}
			got, err := argo(script(t, kind), object)
			if err != nil || got != row.HealthStatus {
				t.Errorf("%s: %v %v, want %v", row.InputPath, got, err, row.HealthStatus)
			}
			seen[got.Status] = true
		}
		data, err := filepath.Glob(filepath.Join(append([]string{testenv.ModuleRoot()}, append(dir, "testdata", "*.yaml")...)...))
		if err != nil || len(data) != len(tests.Tests) || len(seen) != statuses {
			t.Errorf("%s: %d files for %d tests of %d statuses, want %d (%v)", kind, len(data), len(tests.Tests), len(seen), statuses, err)
		}
	}
}
