/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

var listFleets = request{cloud: true, method: http.MethodGet, path: "/fleets"}

// applyNamed declares the Agent in the fleet "edge".
func applyNamed(s *scene) {
	s.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{Name: "edge"} })
}

// named checks that the remote agent, and every double, is in the fleet.
func (s *scene) named(fleet string) error {
	for _, remote := range s.Remote() {
		if remote.FleetID == nil || *remote.FleetID != fleet {
			return fmt.Errorf("agent %s is in fleet %v, want %s", remote.ID, remote.FleetID, fleet)
		}
	}
	return nil
}

// The lookup of a name adds no way to register twice, and nothing is registered without its fleet.
func TestCrash_RegisteringByName_ExactlyOneOrAsDocumented(t *testing.T) {
	t.Parallel()
	listed, written := once(listFleets), once(patchAgent)
	for _, row := range []crash{
		{"BeforeTheFleetsAreListed", at(before(listFleets)), ends{listUnique: {one, 1}}},
		{"FleetsListed_ResponseLost", at(after(listFleets)), ends{duplicates: {one, 1}}},
		{"FleetsListed_BeforeTheIntentIsWritten", at(listed, before(patchAgent)), ends{conflicts: {one, 1}}},
		{"FleetsListed_BeforeTheRequestIsSent", at(listed, written, before(postRemote)), ends{listDuplicates: {one, 1}}},
		{"Registered_ResponseLost", at(listed, after(postRemote)), ends{listUnique: {one, 1}, upserts: {one, 2}, duplicates: {two, 2}}},
	} {
		for kind, want := range row.ends {
			t.Run(row.name+"/"+servers[kind].name, func(t *testing.T) {
				s := newScene(t, servers[kind].settings)
				fleet := s.Cloud.AddNamed(s.ProjectID, cloud.Fleets, "edge")
				s.Cloud.ResetRequests()
				s.die(applyNamed, row.moments...)
				s.revive(false)
				s.finish(want)
				if err := s.named(fleet); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A fleet that is deleted and made again while no operator runs has another ID. What was registered with the old one
// is found, and follows.
func TestCrash_FleetRecreatedMeanwhile_TheAgentFollows(t *testing.T) {
	t.Parallel()
	listed := once(listFleets)
	for _, row := range []crash{
		{"BeforeTheRequestIsSent", at(listed, once(patchAgent), before(postRemote)), ends{listUnique: {one, 1}}},
		{"Registered_ResponseLost", at(listed, after(postRemote)), ends{listUnique: {one, 1}, upserts: {one, 2}}},
	} {
		for kind, want := range row.ends {
			t.Run(row.name+"/"+servers[kind].name, func(t *testing.T) {
				s := newScene(t, servers[kind].settings)
				old := s.Cloud.AddNamed(s.ProjectID, cloud.Fleets, "edge")
				s.Cloud.ResetRequests()
				s.die(applyNamed, row.moments...)
				s.Cloud.RemoveNamed(s.ProjectID, cloud.Fleets, old)
				fleet := s.Cloud.AddNamed(s.ProjectID, cloud.Fleets, "edge")
				s.revive(false)
				s.finish(want)
				s.Eventually("the new fleet", func() error { return s.named(fleet) })
			})
		}
	}
}
