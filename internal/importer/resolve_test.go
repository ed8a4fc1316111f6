/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

const (
	blueID    = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c01"
	greenID   = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c02"
	secondID  = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c03"
	stagingID = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c04"
)

func TestFleetsAndEnvironmentsByNameOrID(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{
		Fleets:       map[string]string{blueID: "blue", greenID: "green", secondID: "green"},
		Environments: map[string]string{stagingID: "staging"},
	})
	blue := blueID
	w.agent("in-blue", func(a *cloud.Agent) { a.FleetID = &blue })
	w.agent("in-staging", func(a *cloud.Agent) { a.EnvironmentName = "staging" })
	for _, row := range []struct {
		name   string
		args   []string
		agents []string
		fails  string
	}{
		{"a fleet by ID", []string{"--fleet", blueID}, []string{"in-blue"}, ""},
		{"a fleet by name", []string{"--fleet", "blue"}, []string{"in-blue"}, ""},
		{"a fleet that does not exist", []string{"--fleet", "red"}, nil, `--fleet: the project has no fleet "red"`},
		{"one of two fleets of a name", []string{"--fleet", "green"}, nil, `--fleet: the project has 2 fleets "green": give one of the IDs ` + greenID},
		{"an environment by name", []string{"--environment", "staging"}, []string{"in-staging"}, ""},
		{"an environment by ID", []string{"--environment", strings.ToUpper(stagingID)}, []string{"in-staging"}, ""},
		{"an environment that does not exist", []string{"--environment", blueID}, nil, `--environment: the project has no environment "` + blueID},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := w.run(row.args...)
			if row.fails != "" {
				if got.err == nil || got.usage() || !strings.Contains(got.err.Error(), row.fails) || got.stdout != "" {
					t.Errorf("it says %s, want %s", got.all(), row.fails)
				}
				return
			}
			if names := namesOf(t, got); got.err != nil || !slices.Equal(names, row.agents) {
				t.Errorf("it declares %q: %s", names, got.all())
			}
		})
	}
}

// Whoever writes the list of fleets may write one name very often.
func TestFleet_OfANameThatVeryManyHave_NamesSome(t *testing.T) {
	fleets := map[string]string{}
	for range 1000 {
		fleets[uuid.NewString()] = "green"
	}
	w := newWorld(t, cloudtest.Settings{Fleets: fleets})
	got := w.run("--fleet", "green")
	if got.err == nil || len(got.err.Error()) > 1000 || !strings.Contains(got.err.Error(), `the project has 1000 fleets "green": give one of the IDs `) {
		t.Errorf("it says %.300s", got.all())
	}
}

// What is in the form that agents show needs no list of fleets or environments; what is not needs one.
func TestAServiceWithoutListsOfNames(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	defer w.Inject(cloudtest.Fault{Match: func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/fleets") || strings.HasSuffix(r.URL.Path, "/environments")
	}, Status: 404, Body: "404 page not found\n"})()
	if got := w.run("--fleet", blueID, "--environment", "staging"); got.err != nil {
		t.Error(got.all())
	}
	for _, args := range [][]string{{"--fleet=blue"}, {"--environment=" + stagingID}} {
		if got := w.run(args...); got.err == nil || got.usage() || !strings.Contains(got.err.Error(), "give the ID of a fleet, or the name of an environment") {
			t.Errorf("%v: %s", args, got.all())
		}
	}
}
