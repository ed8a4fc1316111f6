/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package plan

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

const (
	fleetA = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	fleetB = "0b7c3f5e-0c1d-4e2f-8a9b-1c2d3e4f5a6b"
)

// text is a configuration declared inline.
func text(data string) Configuration {
	return Configuration{Data: data, Digest: cloud.Hash(data), DigestOf: func(hash string) string { return hash }}
}

func declaredNames(declared []Declaration) []string { return names(Compare(declared, View{})) }

func hashes(declared []Declaration) map[string]string {
	all := map[string]string{}
	for _, d := range declared {
		all[d.Name] = d.Hash
	}
	return all
}

func object(raw string) *apiextensionsv1.JSON { return &apiextensionsv1.JSON{Raw: []byte(raw)} }

// ids are those of the names in these tests.
var ids = map[string]string{"edge": fleetA, "core": fleetB, "Staging": "staging", "prod": "production"}

// resolved replaces what package names finds.
func resolved(spec *v1alpha1.AgentSpec) (t Targets) {
	if f := spec.Fleet; f != nil {
		t.FleetID = f.ID + ids[f.Name]
	}
	if e := spec.Environment; e != nil {
		t.EnvironmentID, t.EnvironmentName = e.ID+ids[e.Name], e.Name
	}
	return t
}

func declare(spec *v1alpha1.AgentSpec, config Configuration) []Declaration {
	return Declare(spec, resolved(spec), config)
}

func byName(environment string) func(*v1alpha1.AgentSpec) {
	return func(s *v1alpha1.AgentSpec) { s.Environment = &v1alpha1.EnvironmentReference{Name: environment} }
}

// full declares every field there is; fullRemote is a remote agent that is just so.
func full(changes ...func(*v1alpha1.AgentSpec)) (v1alpha1.AgentSpec, Configuration) {
	spec := v1alpha1.AgentSpec{
		Name: "web-logs", Type: v1alpha1.AgentTypeFluentBit, Version: "v4.0.0", Edition: "community",
		Flags: []string{"--verbose", "-q"}, Metadata: object(`{"team":"payments","n":1}`),
		Fleet: &v1alpha1.FleetReference{ID: fleetA}, Environment: &v1alpha1.EnvironmentReference{ID: "staging"},
	}
	for _, change := range changes {
		change(&spec)
	}
	return spec, text("[INPUT]\n    name dummy\n")
}

func fullRemote(changes ...func(*cloud.Agent)) *cloud.Agent {
	a := &cloud.Agent{
		ID: "id", Name: "web-logs", MachineID: "machine", Type: "fluentbit", Version: "v4.0.0", Edition: "community",
		Flags: []string{"--verbose", "-q"}, Metadata: json.RawMessage(`{"n":1.0,"team":"payments"}`),
		FleetID: ptr.To(fleetA), RawConfig: "[INPUT]\n    name dummy\n", EnvironmentName: "Staging",
	}
	for _, change := range changes {
		change(a)
	}
	return a
}

func TestOnlyWhatTheSpecSetsIsManaged(t *testing.T) {
	_, config := full()
	for _, row := range []struct {
		name   string
		spec   v1alpha1.AgentSpec
		config Configuration
		want   []string
	}{
		{"nothing set", v1alpha1.AgentSpec{}, Configuration{}, nil},
		{"what cannot change is never sent", v1alpha1.AgentSpec{Type: "fluentbit", MachineID: "m", AgentID: "a"}, Configuration{}, nil},
		{"name", v1alpha1.AgentSpec{Name: "a"}, Configuration{}, []string{"name"}},
		{"version", v1alpha1.AgentSpec{Version: "v1.0.0"}, Configuration{}, []string{"version"}},
		{"edition", v1alpha1.AgentSpec{Edition: "enterprise"}, Configuration{}, []string{"edition"}},
		{"fleet", v1alpha1.AgentSpec{Fleet: &v1alpha1.FleetReference{ID: fleetA}}, Configuration{}, []string{"fleet"}},
		{"environment", v1alpha1.AgentSpec{Environment: &v1alpha1.EnvironmentReference{ID: "e"}}, Configuration{}, []string{"environment"}},
		{"rawConfig, wherever it came from", v1alpha1.AgentSpec{}, config, []string{"rawConfig"}},
		{"flags", v1alpha1.AgentSpec{Flags: []string{"-v"}}, Configuration{}, []string{"flags"}},
		{"an empty list of flags is a wish, too", v1alpha1.AgentSpec{Flags: []string{}}, Configuration{}, []string{"flags"}},
		{"metadata", v1alpha1.AgentSpec{Metadata: object(`{"a":1}`)}, Configuration{}, []string{"metadata"}},
		{"empty metadata is a wish, too", v1alpha1.AgentSpec{Metadata: object(`{}`)}, Configuration{}, []string{"metadata"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			fields := declare(&row.spec, row.config)
			if diff := cmp.Diff(row.want, declaredNames(fields)); diff != "" {
				t.Errorf("managed, -want +got:\n%s", diff)
			}
			sent := row.want
			if row.name == "fleet" || row.name == "environment" {
				sent = []string{row.name + "ID"} // as the API calls it
			}
			if got := Update(fields, declaredNames(fields)).Fields(); !slices.Equal(got, sent) {
				t.Errorf("a PATCH sends %v", got)
			}
		})
	}
}

func TestAChangeIsNoticedFieldByField(t *testing.T) {
	before, config := full()
	applied := State{Applied: hashes(declare(&before, config))}
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.AgentSpec)
		config Configuration
		want   []string
	}{
		{"none", func(*v1alpha1.AgentSpec) {}, config, nil},
		{"name", func(s *v1alpha1.AgentSpec) { s.Name = "web" }, config, []string{"name"}},
		{"version", func(s *v1alpha1.AgentSpec) { s.Version = "v4.0.1" }, config, []string{"version"}},
		{"edition", func(s *v1alpha1.AgentSpec) { s.Edition = "enterprise" }, config, []string{"edition"}},
		{"fleet", func(s *v1alpha1.AgentSpec) { s.Fleet = &v1alpha1.FleetReference{ID: fleetB} }, config, []string{"fleet"}},
		{"a fleet by the name of the same ID", func(s *v1alpha1.AgentSpec) { s.Fleet = &v1alpha1.FleetReference{Name: "edge"} }, config, nil},
		{"a fleet by another name", func(s *v1alpha1.AgentSpec) { s.Fleet = &v1alpha1.FleetReference{Name: "core"} }, config, []string{"fleet"}},
		{"environment", func(s *v1alpha1.AgentSpec) { s.Environment = &v1alpha1.EnvironmentReference{ID: "e"} }, config, []string{"environment"}},
		{"an environment by the name of the same ID", byName("Staging"), config, nil},
		{"an environment by another name", byName("prod"), config, []string{"environment"}},
		{"rawConfig", func(*v1alpha1.AgentSpec) {}, text("[INPUT]\n    name dummy"), []string{"rawConfig"}},
		{"the source's version alone", func(*v1alpha1.AgentSpec) {}, config, nil},
		{"a flag more", func(s *v1alpha1.AgentSpec) { s.Flags = append(s.Flags, "-x") }, config, []string{"flags"}},
		{"flags in another order", func(s *v1alpha1.AgentSpec) { s.Flags = []string{"-q", "--verbose"} }, config, []string{"flags"}},
		{"flags cleared", func(s *v1alpha1.AgentSpec) { s.Flags = []string{} }, config, []string{"flags"}},
		{"flags no longer managed", func(s *v1alpha1.AgentSpec) { s.Flags = nil }, config, nil},
		{"metadata", func(s *v1alpha1.AgentSpec) { s.Metadata = object(`{"team":"payments","n":2}`) }, config, []string{"metadata"}},
		{"metadata in another order and spelling", func(s *v1alpha1.AgentSpec) { s.Metadata = object(`{ "n":1.0, "team":"payments"}`) }, config, nil},
		{"metadata cleared", func(s *v1alpha1.AgentSpec) { s.Metadata = object(`{}`) }, config, []string{"metadata"}},
		{"everything unset", func(s *v1alpha1.AgentSpec) { *s = v1alpha1.AgentSpec{} }, Configuration{}, nil},
		{"two at once", func(s *v1alpha1.AgentSpec) { s.Name, s.Version = "a", "v5.0.0" }, config, []string{"name", "version"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			after, _ := full(row.change)
			got := applied.Unapplied(Compare(declare(&after, row.config), View{}))
			if diff := cmp.Diff(row.want, names(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if got := (State{}).Unapplied(Compare(declare(&before, config), View{})); len(got) != 8 {
		t.Errorf("nothing was applied, and only %v are changed", names(got))
	}
}

func TestADifferenceIsNoticedFieldByField(t *testing.T) {
	for _, row := range []struct {
		name   string
		spec   func(*v1alpha1.AgentSpec)
		remote func(*cloud.Agent)
		want   []string
	}{
		{"none", nil, nil, nil},
		{"name", nil, func(a *cloud.Agent) { a.Name = "other" }, []string{"name"}},
		{"version", nil, func(a *cloud.Agent) { a.Version = "v9.9.9" }, []string{"version"}},
		{"edition", nil, func(a *cloud.Agent) { a.Edition = "enterprise" }, []string{"edition"}},
		{"rawConfig by a line's end", nil, func(a *cloud.Agent) { a.RawConfig = "[INPUT]\n    name dummy" }, []string{"rawConfig"}},
		{"another fleet", nil, func(a *cloud.Agent) { a.FleetID = ptr.To(fleetB) }, []string{"fleet"}},
		{"no fleet", nil, func(a *cloud.Agent) { a.FleetID = nil }, []string{"fleet"}},
		{"an environment by name", byName("Staging"), nil, nil},
		{"another environment than the name", byName("Staging"), func(a *cloud.Agent) { a.EnvironmentName = "other" }, []string{"environment"}},
		{"an environment by ID cannot be compared", nil, func(a *cloud.Agent) { a.EnvironmentName = "other" }, nil},
		{"type and machine ID are no declared fields", nil, func(a *cloud.Agent) { a.Type, a.MachineID = "fluentd", "x" }, nil},
		{"flags", nil, func(a *cloud.Agent) { a.Flags = []string{"-q"} }, []string{"flags"}},
		{"flags null where some are declared", nil, func(a *cloud.Agent) { a.Flags = nil }, []string{"flags"}},
		{"flags null where none are declared", func(s *v1alpha1.AgentSpec) { s.Flags = []string{} }, func(a *cloud.Agent) { a.Flags = nil }, nil},
		{"flags empty where none are declared", func(s *v1alpha1.AgentSpec) { s.Flags = []string{} }, func(a *cloud.Agent) { a.Flags = []string{} }, nil},
		{"flags where none are declared", func(s *v1alpha1.AgentSpec) { s.Flags = []string{} }, nil, []string{"flags"}},
		{"flags that are unmanaged", func(s *v1alpha1.AgentSpec) { s.Flags = nil }, func(a *cloud.Agent) { a.Flags = []string{"-x"} }, nil},
		{"metadata", nil, func(a *cloud.Agent) { a.Metadata = json.RawMessage(`{"team":"search","n":1}`) }, []string{"metadata"}},
		{"a further member of metadata", nil, func(a *cloud.Agent) { a.Metadata = json.RawMessage(`{"team":"payments","n":1,"os":"linux"}`) }, []string{"metadata"}},
		{"no metadata", nil, func(a *cloud.Agent) { a.Metadata = nil }, []string{"metadata"}},
		{"no metadata where it is declared empty", func(s *v1alpha1.AgentSpec) { s.Metadata = object(`{}`) }, func(a *cloud.Agent) { a.Metadata = nil }, nil},
		{"metadata that is unmanaged", func(s *v1alpha1.AgentSpec) { s.Metadata = nil }, func(a *cloud.Agent) { a.Metadata = nil }, nil},
		{"everything that is shown", nil, func(a *cloud.Agent) { *a = cloud.Agent{} },
			[]string{"edition", "flags", "fleet", "metadata", "name", "rawConfig", "version"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			spec, config := full()
			remote := fullRemote()
			if row.spec != nil {
				row.spec(&spec)
			}
			if row.remote != nil {
				row.remote(remote)
			}
			fields := declare(&spec, config)
			if diff := cmp.Diff(row.want, names(different(Compare(fields, View{Agent: remote})))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if again := declare(&spec, config); len(again) != len(fields) {
				t.Error("comparing changed what is declared")
			}
		})
	}
}

// A name that is not in the list says that the list is old: what changed in the spec is sent, and nothing is drift.
func TestAnEnvironmentThatIsNotListedIsNoDrift(t *testing.T) {
	listed := func(name string) bool { return name == "staging" || name == "production" }
	targets := Targets{EnvironmentID: "1", EnvironmentName: "staging", EnvironmentListed: listed}
	for _, row := range []struct {
		shows string
		want  Remote
		sent  bool // where it was applied before
	}{{"staging", Same, false}, {"production", Different, true}, {"renamed", NotShown, false}, {"", NotShown, false}} {
		fields := Compare(Declare(&v1alpha1.AgentSpec{}, targets, Configuration{}), View{Agent: &cloud.Agent{EnvironmentName: row.shows}})
		if len(fields) != 1 || fields[0].Remote != row.want {
			t.Errorf("%q: %+v", row.shows, fields)
		}
		in := Input{Policy: v1alpha1.SyncEnforce, Fields: fields, State: State{Applied: map[string]string{"environment": fields[0].Hash}}}
		if got := Decide(in).Step == Send; got != row.sent {
			t.Errorf("%q: sent is %t", row.shows, got)
		}
		in.State.Applied = nil
		if got := Decide(in).Step == Send; got != (row.shows != "staging") {
			t.Errorf("%q, changed in the spec: sent is %t", row.shows, got)
		}
	}
}

func TestHashesShowNoValue(t *testing.T) {
	spec, config := full(func(s *v1alpha1.AgentSpec) { s.Metadata = object(`{"password":"hunter2"}`) })
	for name, got := range hashes(declare(&spec, config)) {
		if len(got) != 16 || slices.Contains([]string{"hunter2", config.Data}, got) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestUpdateSendsValuesAsTheyAreDeclared(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.AgentSpec)
		pick   []string
		want   string
	}{
		{"everything", nil, nil, `{"name":"web-logs","version":"v4.0.0","edition":"community","rawConfig":"[INPUT]\n    name dummy\n",` +
			`"fleetID":"` + fleetA + `","environmentID":"staging","flags":["--verbose","-q"],"metadata":{"team":"payments","n":1}}`},
		{"one field", nil, []string{"version"}, `{"version":"v4.0.0"}`},
		{"an empty list of flags is sent as a list", func(s *v1alpha1.AgentSpec) { s.Flags = []string{} }, []string{"flags"}, `{"flags":[]}`},
		{"empty metadata is sent as an object", func(s *v1alpha1.AgentSpec) { s.Metadata = object(`{}`) }, []string{"metadata"}, `{"metadata":{}}`},
		{"nothing", nil, []string{"none"}, `{}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			spec, config := full()
			if row.change != nil {
				row.change(&spec)
			}
			fields := declare(&spec, config)
			pick := row.pick
			if pick == nil {
				pick = declaredNames(fields)
			}
			got, err := json.Marshal(Update(fields, pick))
			if err != nil || string(got) != row.want {
				t.Errorf("%s, error %v; want %s", got, err, row.want)
			}
		})
	}
}

func TestRegistrationHoldsEverythingTheServiceRequires(t *testing.T) {
	spec, config := full()
	for _, row := range []struct {
		name string
		spec v1alpha1.AgentSpec
		want string
	}{
		{"everything declared", spec, `{"name":"web-logs","machineID":"m","type":"fluentbit","version":"v4.0.0","edition":"community",` +
			`"flags":["--verbose","-q"],"rawConfig":"[INPUT]\n    name dummy\n","metadata":{"team":"payments","n":1},` +
			`"fleetID":"` + fleetA + `","environmentID":"staging"}`},
		{"the least: name and edition have defaults, flags are null, the rest is left out",
			v1alpha1.AgentSpec{Type: v1alpha1.AgentTypeFluentd, Version: "v1.16.2"},
			`{"name":"web","machineID":"m","type":"fluentd","version":"v1.16.2","edition":"community","flags":null,"rawConfig":"[INPUT]\n    name dummy\n"}`},
		{"no flags, on purpose", v1alpha1.AgentSpec{Type: v1alpha1.AgentTypeFluentd, Version: "v1.16.2", Edition: "enterprise", Flags: []string{}},
			`{"name":"web","machineID":"m","type":"fluentd","version":"v1.16.2","edition":"enterprise","flags":[],"rawConfig":"[INPUT]\n    name dummy\n"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := json.Marshal(Registration("web", &row.spec, resolved(&row.spec), config.Data, "m"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Whoever declares or writes many small values does not take the memory of the operator: many Agents are compared at once.
func TestMetadataOfManyValuesTakesLittleMemory(t *testing.T) {
	small := `{"a":[` + strings.Repeat(`{},`, 1400<<10/3) + `{}]}`
	for name, row := range map[string]struct {
		declared, remote string
		same             Remote
	}{
		"declared": {small, small, Same},
		"remote":   {`{"a":1}`, `{"a":[` + strings.Repeat(`{},`, 8<<20/3) + `{}]}`, Different},
		"indented": {`{"a":1}`, `{` + strings.Repeat(" ", 1000) + `"a":1}`, Same},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			declared := Declare(&v1alpha1.AgentSpec{Metadata: object(row.declared)}, Targets{}, Configuration{})
			fields := Compare(declared, View{Agent: &cloud.Agent{Metadata: []byte(row.remote)}})
			runtime.ReadMemStats(&after)
			if len(fields) != 1 || fields[0].Remote != row.same {
				t.Errorf("compared as %v", fields)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 48 {
				t.Errorf("it took %d MiB", took)
			}
		})
	}
}
