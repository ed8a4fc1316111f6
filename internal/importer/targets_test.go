/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// Fleets and environments are declared by name where that is unambiguous, and fleets by ID otherwise.
func TestFleetsAndEnvironmentsAreDeclaredByName(t *testing.T) {
	long := strings.Repeat("x", 33)
	fault := func(status int, body string) *cloudtest.Fault { return &cloudtest.Fault{Status: status, Body: body} }
	settings := cloudtest.Settings{
		Fleets:       map[string]string{blueID: "blue", greenID: "green", secondID: "green", stagingID: long},
		Environments: map[string]string{stagingID: "staging"},
	}
	for _, row := range []struct {
		name               string
		fleet, environment string
		fault              *cloudtest.Fault
		want               string
		fails              string
	}{
		{"a fleet", blueID, "", nil, "{ blue} <nil>", ""},
		{"one of two fleets of a name", greenID, "", nil, "{" + greenID + " } <nil>", ""},
		{"a fleet whose name is too long for a manifest", stagingID, "", nil, "{" + stagingID + " } <nil>", ""},
		{"a fleet that is not listed", strings.Replace(blueID, "5f", "6f", 1), "", nil, "{" + strings.Replace(blueID, "5f", "6f", 1) + " } <nil>", ""},
		{"an environment", "", "staging", nil, "<nil> { staging}", ""},
		{"an environment that is not listed", "", "default", nil, "<nil> <nil>", ""},
		{"both", blueID, "staging", nil, "{ blue} { staging}", ""},
		{"both, without a list", blueID, "staging", fault(404, "404 page not found\n"), "{" + blueID + " } <nil>", ""},
		{"both, and the token may not list", blueID, "staging", fault(403, `{"error":"permission denied"}`), "{" + blueID + " } <nil>", ""},
		{"a list that cannot be read", blueID, "staging", fault(200, `{}`), "", "the fleets cannot be listed"},
		{"an outage", blueID, "staging", fault(503, ""), "", "the fleets cannot be listed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, settings)
			w.agent("web", func(a *cloud.Agent) {
				a.EnvironmentName = row.environment
				if row.fleet != "" {
					a.FleetID = &row.fleet
				}
			})
			if row.fault != nil {
				row.fault.Header = http.Header{"Content-Type": {"application/json"}}
				row.fault.Match = func(r *http.Request) bool {
					return strings.HasSuffix(r.URL.Path, "/fleets") || strings.HasSuffix(r.URL.Path, "/environments")
				}
				w.Inject(*row.fault)
			}
			got := w.run()
			if row.fails != "" {
				if got.err == nil || got.usage() || !strings.Contains(got.err.Error(), row.fails) || got.stdout != "" {
					t.Errorf("it says %s, want %s", got.all(), row.fails)
				}
				return
			}
			agents, _ := objects(t, got)
			if got.err != nil || len(agents) != 1 {
				t.Fatal(got.all())
			}
			shown, spec := []string{"<nil>", "<nil>"}, agents[0].Spec
			if spec.Fleet != nil {
				shown[0] = fmt.Sprint(*spec.Fleet)
			}
			if spec.Environment != nil {
				shown[1] = fmt.Sprint(*spec.Environment)
			}
			if strings.Join(shown, " ") != row.want {
				t.Errorf("it declares %q, want %s", shown, row.want)
			}
			for _, left := range []string{"spec.fleet", "spec.environment"} {
				if strings.Contains(got.stderr, left) {
					t.Errorf("it says %s", got.stderr)
				}
			}
		})
	}
}

// A list that a flag needed serves the manifests, too.
func TestListsOfNamesAreReadOnce(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{Fleets: map[string]string{blueID: "blue"}})
	blue := blueID
	for i := range 3 {
		w.agent(fmt.Sprintf("web-%d", i), func(a *cloud.Agent) { a.FleetID = &blue })
	}
	w.ResetRequests()
	if got := w.run("--fleet=blue"); got.err != nil {
		t.Fatal(got.all())
	}
	for _, route := range []cloudtest.Route{cloudtest.RouteFleets, cloudtest.RouteEnvironments} {
		if got := w.Count(http.MethodGet, route); got != 1 {
			t.Errorf("%d requests to %s, want one", got, route)
		}
	}
}
