/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// One agent must never be two because of the letters in which an ID is written.
func TestIDsAreNormalizedWhereTheyAreRead(t *testing.T) {
	fleet := strings.ToUpper(fleetID)
	s := cloudtest.New(cloudtest.Settings{UpperIDs: true})
	web := s.Start()
	defer web.Close()
	client := newClient(t, web.URL, cloud.Config{
		Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: s.AddProject(strings.ToUpper(projectID))},
	})
	r := registration("machine-1")
	r.FleetID = fleetID
	registered, err := client.Register(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.ToLower(registered.ID)
	if registered.ID != id {
		t.Errorf("registered as %s", registered.ID)
	}
	check := func(t *testing.T, agent cloud.Agent) {
		t.Helper()
		if agent.ID != id || agent.FleetID == nil || *agent.FleetID != fleetID {
			t.Errorf("agent %s of fleet %v, want %s of %s", agent.ID, agent.FleetID, id, fleetID)
		}
	}
	for name, asked := range map[string]string{"in small letters": id, "in capitals": strings.ToUpper(id)} {
		t.Run("read "+name, func(t *testing.T) {
			agent, err := client.Get(t.Context(), asked)
			if err != nil {
				t.Fatal(err)
			}
			check(t, *agent)
			if err := client.Update(t.Context(), asked, cloud.Update{Name: new("other")}); err != nil {
				t.Error(err)
			}
		})
	}
	// What informs may have any shape; then agents are read in another way.
	plain := `{"id":"` + strings.ToUpper(id) + `","machineID":"m","type":"fluentbit","fleetID":"` + fleet + `"}`
	odd := `{"id":"` + strings.ToUpper(id) + `","machineID":"m","type":"fluentbit","fleetID":"` + fleet + `","metricsCount":"many"}`
	for name, body := range map[string]string{"plain": "", "odd": "[" + plain + "," + odd + "]"} {
		for how, read := range map[string]func(*cloud.RawPage) (*cloud.Page, error){
			"with configurations": (*cloud.RawPage).Page, "with hashes": pageOfDigests,
		} {
			t.Run("list, "+name+", "+how, func(t *testing.T) {
				if body != "" {
					defer s.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: 200, Body: body})()
				}
				raw, err := client.Fetch(t.Context(), projectID, cloud.ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				page, err := read(raw)
				if err != nil || len(page.Agents) == 0 {
					t.Fatal(page, err)
				}
				for _, agent := range page.Agents {
					check(t, agent)
				}
			})
		}
	}
	t.Run("a fleet that is no UUID", func(t *testing.T) {
		defer s.Inject(cloudtest.Fault{Status: 200, Body: `{"id":"` + id + `","machineID":"m","type":"t","fleetID":"Edge"}`})()
		if agent, err := client.Get(t.Context(), id); err != nil || *agent.FleetID != "Edge" {
			t.Error(agent, err)
		}
	})
	t.Run("token", func(t *testing.T) {
		claims := base64.RawURLEncoding.EncodeToString([]byte(`{"ProjectID":"` + strings.ToUpper(projectID) + `"}`))
		if got, ok := cloud.NewToken(claims + ".signature").ProjectID(); !ok || got != projectID {
			t.Errorf("project %s, %t", got, ok)
		}
	})
	if err := client.Delete(t.Context(), strings.ToUpper(id)); err != nil || len(s.Agents(projectID)) != 0 {
		t.Error("the agent is not deleted:", err)
	}
}

func TestNormalID(t *testing.T) {
	for _, row := range []struct{ name, id, want string }{
		{"small letters", fleetID, fleetID},
		{"capitals", strings.ToUpper(fleetID), fleetID},
		{"mixed", strings.Replace(fleetID, "f", "F", 1), fleetID},
		{"a name", "Edge", "Edge"},
		{"a UUID in braces", "{" + strings.ToUpper(fleetID) + "}", "{" + strings.ToUpper(fleetID) + "}"},
		{"without hyphens", strings.ToUpper(strings.ReplaceAll(fleetID, "-", "")), strings.ToUpper(strings.ReplaceAll(fleetID, "-", ""))},
		{"nothing", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := cloud.NormalID(row.id); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
}

func TestMachineIDs(t *testing.T) {
	for _, row := range []struct {
		name, id string
		want     bool
	}{
		{"a UUID", fleetID, true},
		{"one character", "a", true},
		{"every kind of character", "A9._:-", true},
		{"as long as may be", strings.Repeat("a", 128), true},
		{"longer", strings.Repeat("a", 129), false},
		{"nothing", "", false},
		{"a hyphen first", "-a", false},
		{"a space", "a b", false},
		{"a slash", "a/b", false},
		{"a line break after it", "a\n", false},
		{"a line break first", "\na", false},
		{"an escape", "a\x1b[31m", false},
		{"a NUL", "a\x00", false},
		{"another script", "é", false},
		{"a letter that looks like one", "\u0430", false},
		{"a direction mark", "a\u202e", false},
		{"bytes", "a\xff", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := cloud.ValidMachineID(row.id); got != row.want {
				t.Errorf("%q: %t", row.id, got)
			}
		})
	}
	// What may be declared and what may be read are the same.
	declared, err := os.ReadFile("../../api/v1alpha1/agent_types.go")
	if err != nil {
		t.Fatal(err)
	}
	_, field, _ := strings.Cut(string(declared), "// machineID identifies")
	field, _, _ = strings.Cut(field, "json:")
	if !strings.Contains(field, "self.matches('"+cloud.MachineIDPattern+"')") || !strings.Contains(field, "MaxLength=128\n") {
		t.Errorf("spec.machineID is declared by another rule:\n%s", field)
	}
}
