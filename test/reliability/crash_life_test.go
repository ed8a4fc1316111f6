/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// later is a row for what follows a registration: where the operator stops, and the end on three kinds of server: one
// that lists, one that lists and masks tokens, and one that does not list.
type later struct {
	name    string
	moments []moment
	ends    [3]end
	// look is true if the new operator finds it only at its next sync of the remote agent.
	look bool
}

var laterServers = [3]server{servers[0], servers[2], servers[4]}

// playLater runs the rows, none of which registers anything. Each distinct end of a row has one scene; if all kinds of
// server have the same end, the rows alternate between them.
func playLater(t *testing.T, rows []later, prepare, act func(*scene), check func(*scene)) {
	t.Helper()
	t.Parallel()
	for n, row := range rows {
		played := map[end]bool{}
		for turn := range laterServers {
			i := (n + turn) % len(laterServers)
			server := laterServers[i]
			if played[row.ends[i]] {
				continue
			}
			played[row.ends[i]] = true
			t.Run(row.name+"/"+server.name, func(t *testing.T) {
				s := newScene(t, server.settings)
				prepare(s)
				s.Cloud.ResetRequests()
				s.die(act, row.moments...)
				s.revive(false)
				if row.look {
					s.syncAgain()
				}
				s.finish(cell{row.ends[i], 0})
				check(s)
			})
		}
	}
}

func update(s *scene) {
	s.wanted = secondConfig
	s.Change("web", func(a *v1alpha1.Agent) { a.Spec.RawConfig, a.Spec.Version = secondConfig, "v4.1.0" })
}

// updates checks that updates came to Calyptia Cloud, and not in a loop. An update may arrive twice, if the cache
// did not have the status of the first pass yet.
func updates(s *scene) {
	if got := s.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent); got < 1 || got > 2 {
		s.t.Errorf("%d updates reached Calyptia Cloud, want one or two: %s", got, s.calls())
	}
}

func TestCrash_Updating_EndsAsDeclared(t *testing.T) {
	sent := once(patchRemote)
	playLater(t, []later{
		{"before the update leaves", at(before(patchRemote)), [3]end{one, one, one}, false},
		{"the update takes effect, the response is lost", at(after(patchRemote)), [3]end{one, one, one}, false},
		{"updated, before it is read back", at(sent, before(getRemote)), [3]end{one, one, one}, false},
		{"updated, the reading is lost", at(sent, after(getRemote)), [3]end{one, one, one}, false},
		{"updated, before the status is written", at(sent, once(getRemote), before(patchStatus)), [3]end{one, one, one}, false},
		{"the status is written, the response is lost", at(sent, after(patchStatus)), [3]end{one, one, one}, false},
	}, settle, update, updates)
}

// registeredExternally registers an agent externally.
func registeredExternally(s *scene) string { return s.Register("legacy", "machine-1").ID }

func stranger(s *scene) { s.adopted, s.lost = true, ""; registeredExternally(s) }

func adopt(s *scene) {
	id := s.Remote()[0].ID
	s.Apply("web", func(a *v1alpha1.Agent) { a.Spec.AgentID = id })
}

func TestCrash_Adopting_EndsAsDeclared(t *testing.T) {
	ends := [3]end{one, tokenless, one} // The masked token of an adopted agent was never returned.
	playLater(t, []later{
		{"before the finalizer is written", at(before(patchAgent)), ends, false},
		{"the finalizer is written, the response is lost", at(after(patchAgent)), ends, false},
		{"before the Secret is written", at(once(patchAgent), before(createSecret)), ends, false},
		{"the Secret is written, the response is lost", at(after(createSecret)), ends, false},
		{"before the update leaves", at(once(createSecret), before(patchRemote)), ends, false},
		{"the update takes effect, the response is lost", at(after(patchRemote)), ends, false},
		{"before the status is written", at(once(patchRemote), before(patchStatus)), ends, false},
		{"the status is written, the response is lost", at(once(patchRemote), after(patchStatus)), ends, false},
	}, stranger, adopt, updates)
}

func TestCrash_Deleting_NothingIsLeft(t *testing.T) {
	ends := [3]end{none, none, none}
	playLater(t, []later{
		{"before the deletion leaves", at(before(deleteRemote)), ends, false},
		{"the deletion takes effect, the response is lost", at(after(deleteRemote)), ends, false},
		{"deleted, before the finalizer is released", at(once(deleteRemote), before(patchAgent)), ends, false},
		{"the finalizer is released, the response is lost", at(once(deleteRemote), after(patchAgent)), ends, false},
	}, settle, deleteAgent, nothing)
}

func retainIt(s *scene) {
	s.Change("web", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
}

func TestCrash_SecretDisowned_EndsAsDeclared(t *testing.T) {
	ends := [3]end{one, one, one}
	playLater(t, []later{
		{"before the Secret is let go", at(before(updateSecret)), ends, false},
		{"the Secret is let go, the response is lost", at(after(updateSecret)), ends, false},
	}, settle, retainIt, nothing)
}

func TestCrash_Retaining_KeepsAgentAndSecret(t *testing.T) {
	ends := [3]end{kept, kept, kept}
	retained := func(s *scene) {
		settle(s)
		retainIt(s)
		s.Eventually("the policy is seen", s.ready)
	}
	playLater(t, []later{
		{"before the finalizer is released", at(before(patchAgent)), ends, false},
		{"the finalizer is released, the response is lost", at(after(patchAgent)), ends, false},
	}, retained, deleteAgent, nothing)
}

func TestCrash_SecretRecreated_EndsAsDeclared(t *testing.T) {
	ends := [3]end{one, tokenless, one} // Where tokens are masked, only the Secret had it.
	playLater(t, []later{
		{"before it is written", at(before(createSecret)), ends, false},
		{"it is written, the response is lost", at(after(createSecret)), ends, true},
	}, settle, removeSecret, nothing)
}

func removeSecret(s *scene) {
	if err := s.Client.Delete(s.t.Context(), s.World.Secret(s.secret)); err != nil {
		s.t.Error(err)
	}
}

func TestCrash_SecretRepaired_EndsAsDeclared(t *testing.T) {
	ends := [3]end{one, one, one}
	playLater(t, []later{
		{"before it is written", at(before(updateSecret)), ends, false},
		{"it is written, the response is lost", at(after(updateSecret)), ends, false},
	}, settle, spoilSecret, nothing)
}

// spoilSecret removes the operator's label, which the operator restores.
func spoilSecret(s *scene) {
	secret := s.World.Secret(s.secret)
	secret.Labels["app.kubernetes.io/managed-by"] = "somebody"
	if err := s.Client.Update(s.t.Context(), secret); err != nil {
		s.t.Error(err)
	}
}

func rename(s *scene) {
	s.former, s.secret = s.secret, "web-renamed"
	s.Change("web", func(a *v1alpha1.Agent) { a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: s.secret} })
}

func TestCrash_SecretRenamed_KeepsTheToken(t *testing.T) {
	ends := [3]end{one, one, one}
	made, removed := once(createOther), once(deleteSecret)
	playLater(t, []later{
		{"before the new one is written", at(before(createOther)), ends, false},
		{"the new one is written, the response is lost", at(after(createOther)), ends, false},
		{"before the old one is removed", at(made, before(deleteSecret)), ends, false},
		{"the old one is removed, the response is lost", at(made, after(deleteSecret)), ends, false},
		{"before the status is written", at(made, removed, before(patchStatus)), ends, false},
		{"the status is written, the response is lost", at(made, removed, after(patchStatus)), ends, false},
	}, settle, rename, nothing)
}
