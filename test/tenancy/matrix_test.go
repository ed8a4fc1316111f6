/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"testing"
)

// verb is what a tenant may do in its namespace.
type verb string

// asset is something that another team owns.
type asset string

var (
	verbs = []verb{"create", "update", "delete", "annotations", "finalizers", "labels", "status", "secrets", "configmaps", "cloudprojects"}
	// The deletion is last: the victim's namespace is gone after it.
	assets = []asset{"token", "agent", "configuration", "calls", "time", "deletion"}
)

// cell is an attack with one verb on one asset, and the expected outcome.
type cell struct {
	verb    verb
	asset   asset
	attack  func(*scene)
	outcome outcome
}

// outcome checks the result of an attack. In every case the victim's agents are unharmed and nothing leaked.
type outcome func(*scene)

// matrix has a cell for each verb and asset. The reason of an impossible combination would be in impossible.
var matrix = []cell{
	{"create", "token", createClaims, learnsNothing},
	{"create", "agent", createClaimsAndDelete, harmsNothing},
	{"create", "configuration", createNamesakes, harmsNothing},
	{"create", "calls", createMany, costs(70)},
	{"create", "time", createHuge, staysPrompt},
	{"create", "deletion", createUsers, completesOnceOrphaned},

	{"update", "token", updateToAdopt, learnsNothing},
	{"update", "agent", updateToAdoptAndDelete, harmsNothing},
	{"update", "configuration", updateProjectBackAndForth, harmsNothing},
	{"update", "calls", updateSuspend, costs(45)},
	{"update", "time", updateFast, staysPrompt},
	{"update", "deletion", updateToForeignProject, completes},

	{"delete", "token", deleteAndTakeTheName, learnsNothing},
	{"delete", "agent", deleteClaims, harmsNothing},
	{"delete", "configuration", deleteInDoubt, harmsNothing},
	{"delete", "calls", deleteChurn, costs(160)},
	{"delete", "time", deleteChurnUnderALimit, staysPrompt},
	{"delete", "deletion", deleteButStay, completes},

	{"annotations", "token", annotateWithAnothersIntent, learnsNothing},
	{"annotations", "agent", annotateAndDelete, harmsNothing},
	{"annotations", "configuration", annotateClaims, harmsNothing},
	{"annotations", "calls", annotatePokes, costs(150)},
	{"annotations", "time", annotateHuge, staysPrompt},
	{"annotations", "deletion", annotateIntents, completes},

	{"finalizers", "token", finalizeClaims, learnsNothing},
	{"finalizers", "agent", finalizeClaimsAndDelete, harmsNothing},
	{"finalizers", "configuration", finalizersTaken, harmsNothing},
	{"finalizers", "calls", finalizersForgedByAStranger, costs(0)},
	{"finalizers", "time", finalizersOnSecrets, staysPrompt},
	{"finalizers", "deletion", finalizersOnTheLiving, completes},

	{"labels", "token", labelLikeTheSelector, learnsNothing},
	{"labels", "agent", labelSecretsAsTheVictims, harmsNothing},
	{"labels", "configuration", labelAgentsAsTheVictims, harmsNothing},
	{"labels", "calls", labelFlips, costs(5)},
	{"labels", "time", labelManySecrets, staysPrompt},
	{"labels", "deletion", labelAndOwn, completes},

	// User roles do not grant it. TestStatus_GrantedToATenant shows what happens otherwise.
	{"status", "token", forge(`{"status":{"id":"%s"}}`), refused},
	{"status", "agent", forge(`{"status":{"id":"%s","origin": "Registered"}}`), refused},
	{"status", "configuration", forge(`{"status":{"id":"%s","applied":{"generation":9}}}`), refused},
	{"status", "calls", forge(`{"status":{"duplicatesToDelete":["%s"]}}`), refused},
	{"status", "time", forge(`{"status":{"conditions":[],"id":"%s"}}`), refused},
	{"status", "deletion", forge(`{"status":{"id":"%s","registration":"x"}}`), completes},

	{"secrets", "token", secretsOfOthers, learnsNothing},
	{"secrets", "agent", secretsWithForeignIDs, harmsNothing},
	{"secrets", "configuration", secretsWithForeignSessions, harmsNothing},
	{"secrets", "calls", secretsEdited, costs(90)},
	{"secrets", "time", secretsHuge, staysPrompt},
	{"secrets", "deletion", secretsLikeTheCredentials, completes},

	{"configmaps", "token", configMapsOfOthers, learnsNothing},
	{"configmaps", "agent", configMapsWithForeignSessions, harmsNothing},
	{"configmaps", "configuration", configMapsNamedAsTheVictims, harmsNothing},
	{"configmaps", "calls", configMapsEdited, costs(70)},
	{"configmaps", "time", configMapsHuge, staysPrompt},
	{"configmaps", "deletion", configMapsMissing, completes},

	{"cloudprojects", "token", projectsNamedAsTheVictims, learnsNothing},
	{"cloudprojects", "agent", projectsThatLie, harmsNothing},
	{"cloudprojects", "configuration", projectsWithTheVictimsID, harmsNothing},
	{"cloudprojects", "calls", projectsWithoutALimit, costs(0)},
	{"cloudprojects", "time", projectsThatHang, staysPrompt},
	{"cloudprojects", "deletion", projectsThatStay, completes},
}

// impossible says why a combination of verb and asset cannot exist. There is none today.
var impossible = map[verb]map[asset]string{}

func TestMatrix_HasACellForEachVerbAndAsset(t *testing.T) {
	for _, v := range verbs {
		for _, a := range assets {
			cells := 0
			for _, c := range matrix {
				if c.verb == v && c.asset == a && c.attack != nil && c.outcome != nil {
					cells++
				}
			}
			if reason := impossible[v][a]; (cells == 1) == (reason != "") {
				t.Errorf("%s on %s: %d attacks and the reason %q, want one of both", v, a, cells, reason)
			}
		}
	}
	if want := len(verbs) * len(assets); len(matrix) > want {
		t.Errorf("%d cells, want at most %d: a cell names an unknown verb or asset", len(matrix), want)
	}
}

// Each verb has its own victim, which is attacked by one cell after the other.
func TestMatrix(t *testing.T) {
	for _, v := range verbs {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			for _, a := range assets {
				for _, c := range matrix {
					if c.verb == v && c.asset == a {
						t.Run(string(a), func(t *testing.T) { s.play(t, c) })
					}
				}
			}
		})
	}
}
