/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// strict is the most difficult server: it shows a token once, lists nothing, and makes a duplicate of every second registration.
var strict = cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble, MaskTokens: true}

// live is a row in which the operator keeps running: the disturbed request, and the expected end.
type live struct {
	name         string
	prepare, act func(*scene)
	at           request
	want         cell
}

// writes are all kinds of write in the life of an Agent.
var writes = []live{
	{"the intent and the finalizer", nothing, apply, patchAgent, cell{one, 1}},
	{"the registration", nothing, apply, postRemote, cell{one, 1}},
	{"the new Secret", nothing, apply, createSecret, cell{one, 1}},
	{"the status of a registration", nothing, apply, patchStatus, cell{one, 1}},
	{"the intent of a re-registration", settle, lose, patchAgent, cell{one, 1}},
	{"the Secret of a re-registration", settle, lose, updateSecret, cell{one, 1}},
	{"the update", settle, update, patchRemote, cell{one, 0}},
	{"the status of an update", settle, update, patchStatus, cell{one, 0}},
	{"the finalizer of an adoption", stranger, adopt, patchAgent, cell{tokenless, 0}},
	{"the Secret of an adoption", stranger, adopt, createSecret, cell{tokenless, 0}},
	{"the status of an adoption", stranger, adopt, patchStatus, cell{tokenless, 0}},
	{"the repair of the Secret", settle, spoilSecret, updateSecret, cell{one, 0}},
	{"the Secret of the new name", settle, rename, createOther, cell{one, 0}},
	{"the removal of the old Secret", settle, rename, deleteSecret, cell{one, 0}},
	{"the session", settle, wantSession, createSession, cell{one, 0}},
	{"the removal of the session", settleWithSession, unwantSession, deleteSession, cell{one, 0}},
	{"the deletion", settle, deleteAgent, deleteRemote, cell{none, 0}},
	{"the release of the finalizer", settle, deleteAgent, patchAgent, cell{none, 0}},
}

func wantSession(s *scene) {
	s.Change("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: "web-session"} })
}

func unwantSession(s *scene) {
	s.Change("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = nil })
}

func settleWithSession(s *scene) {
	settle(s)
	wantSession(s)
	s.Eventually("the session is there", s.one)
}

// playLive interferes with the one request of each row.
func playLive(t *testing.T, rows []live, what func(*scene) deed, check func(*scene, live)) {
	t.Helper()
	t.Parallel()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newScene(t, strict)
			row.prepare(s)
			s.Cloud.ResetRequests()
			reached := s.expect(moment{row.at, what(s)})
			row.act(s)
			s.await(reached)
			s.finish(row.want)
			check(s, row)
		})
	}
}

// must is for calls inside a request, where t.Fatal is not allowed.
func (s *scene) must(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

// labeled labels the Agent and its Secret externally.
func labeled(s *scene) deed {
	return deed{reach: true, meddle: func() {
		s.must(s.edit(func(a *v1alpha1.Agent) { metav1.SetMetaDataLabel(&a.ObjectMeta, "team", "web") }))
		var secret corev1.Secret
		if s.Client.Get(s.t.Context(), s.Key("web-token"), &secret) == nil {
			base := secret.DeepCopy()
			metav1.SetMetaDataLabel(&secret.ObjectMeta, "team", "web")
			s.must(s.Client.Patch(s.t.Context(), &secret, client.MergeFrom(base)))
		}
	}}
}

func TestALabelAtEachWriteIsKept(t *testing.T) {
	playLive(t, writes, labeled, func(s *scene, row live) {
		if row.want.end == none {
			return
		}
		if s.Get("web").Labels["team"] != "web" {
			s.t.Error("somebody's label is lost")
		}
	})
}

func TestAChangedSpecAtEachWriteIsApplied(t *testing.T) {
	var rows []live
	for _, row := range writes {
		if row.want.end != none {
			rows = append(rows, row)
		}
	}
	changed := func(s *scene) deed {
		s.wanted = "[INPUT]\n    name mem\n"
		return deed{reach: true, meddle: func() {
			s.must(s.edit(func(a *v1alpha1.Agent) { a.Spec.RawConfig, a.Spec.Version = "[INPUT]\n    name mem\n", "v9.0.0" }))
		}}
	}
	for i, row := range rows {
		act := row.act
		rows[i].act = func(s *scene) {
			wanted := s.wanted
			act(s)
			s.wanted = wanted
		}
	}
	playLive(t, rows, changed, func(s *scene, _ live) {
		if remote := s.Remote()[0]; remote.Version != "v9.0.0" {
			s.t.Errorf("the remote agent has version %s", remote.Version)
		}
	})
}

func TestADeletionAtEachWriteLeavesNothing(t *testing.T) {
	rows := []live{
		{"the intent and the finalizer", nothing, apply, patchAgent, cell{none, 0}},
		{"the registration", nothing, apply, postRemote, cell{none, 1}},
		{"the new Secret", nothing, apply, createSecret, cell{none, 1}},
		{"the status of a registration", nothing, apply, patchStatus, cell{none, 1}},
		{"the intent of a re-registration", settle, lose, patchAgent, cell{none, 0}},
		{"the Secret of a re-registration", settle, lose, updateSecret, cell{none, 1}},
		{"the update", settle, update, patchRemote, cell{none, 0}},
		{"the status of an update", settle, update, patchStatus, cell{none, 0}},
		{"the repair of the Secret", settle, spoilSecret, updateSecret, cell{none, 0}},
		{"the Secret of the new name", settle, rename, createOther, cell{none, 0}},
		{"the removal of the old Secret", settle, rename, deleteSecret, cell{none, 0}},
	}
	playLive(t, rows, func(s *scene) deed {
		return deed{reach: true, meddle: func() {
			a, err := s.agent()
			s.must(err)
			s.must(s.Client.Delete(s.t.Context(), a))
		}}
	}, func(*scene, live) {})
}

// The status of another writer, such as a new leader, is not overwritten.
func TestAnExternalStatusIsKept(t *testing.T) {
	var rows []live
	for _, row := range writes {
		if row.at.path == patchStatus.path {
			rows = append(rows, row)
		}
	}
	foreign := metav1.Condition{Type: "Foreign", Status: metav1.ConditionTrue, Reason: "Test", Message: "by somebody else"}
	playLive(t, rows, func(s *scene) deed {
		return deed{reach: true, meddle: func() {
			a, err := s.agent()
			s.must(err)
			base := a.DeepCopy()
			meta.SetStatusCondition(&a.Status.Conditions, foreign)
			s.must(s.Client.Status().Patch(s.t.Context(), a, client.MergeFrom(base)))
		}}
	}, func(s *scene, _ live) {
		if meta.FindStatusCondition(s.Get("web").Status.Conditions, foreign.Type) == nil {
			s.t.Error("somebody's condition is lost")
		}
	})
}

// Errors that the API server returns once, whether or not the write takes effect.
func TestAnErrorOfTheAPIServerAtEachWrite(t *testing.T) {
	t.Parallel()
	for _, trouble := range []struct {
		name string
		deed
	}{
		{"500", deed{status: http.StatusInternalServerError}},
		{"a timeout of a request that takes effect", deed{status: http.StatusGatewayTimeout, reach: true}},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			var rows []live
			for _, row := range writes {
				if !row.at.cloud {
					rows = append(rows, row)
				}
			}
			playLive(t, rows, func(*scene) deed { return trouble.deed }, func(*scene, live) {})
		})
	}
}

// The operator keeps running and gives up on the registration, which Calyptia Cloud commits later.
func TestALateRegistrationWithoutARestart(t *testing.T) {
	t.Parallel()
	ends := [len(servers)]cell{{one, 1}, {one, 1}, {tokenless, 1}, {one, 2}, {stranded, 2}, {two, 2}}
	for i, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			s := newScene(t, server.settings)
			before := 0
			reached := s.expect(moment{postRemote, deed{late: true, meddle: func() { before = len(s.Cloud.Requests()) }}})
			apply(s)
			s.await(reached)
			if server.settings.NoList {
				s.commitNow() // It waits for the slack, and then has nothing to look with.
			} else {
				s.commitAfterASearch(before)
			}
			s.finish(ends[i])
		})
	}
}

// Neither a refused write of the Secret nor an edit of the Agent right afterwards loses the ID: the status has it at once.
func TestARefusedSecretAndAConflictDoNotLoseTheID(t *testing.T) {
	s := newScene(t, cloudtest.Settings{NoList: true})
	reached := s.expect(moment{createSecret, deed{status: http.StatusForbidden}}, moment{patchStatus, labeled(s)})
	apply(s)
	s.await(reached)
	s.must(s.stalledSoon(v1alpha1.ReasonSecretWriteRefused))
	s.Poke("web")
	s.finish(cell{one, 1})
}

func (s *scene) stalledSoon(reason string) error {
	s.Eventually("stalled", func() error { return s.stalled(reason) })
	if id, remote := s.Get("web").Status.ID, s.Remote(); len(remote) != 1 || id != remote[0].ID {
		return fmt.Errorf("status.id is %q at %d remote agents", id, len(remote))
	}
	return nil
}

// A clean shutdown neither interrupts a registration in progress nor loses its response.
func TestShutdownWhileRegistering(t *testing.T) {
	s := newScene(t, strict)
	reached := s.expect(moment{postRemote, deed{reach: true, meddle: func() { s.Halt() }}})
	apply(s)
	s.await(reached)
	s.Stop()
	s.Start()
	s.finish(cell{one, 1})
}

// The same where the request takes longer than the shutdown would wait.
func TestShutdownDoesNotInterruptARegistration(t *testing.T) {
	s := newScene(t, strict)
	entered, block := make(chan struct{}), make(chan struct{})
	cut := make(chan struct{})
	remove := s.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Times: 1, Entered: entered, Block: block, Match: func(r *http.Request) bool {
		context.AfterFunc(r.Context(), func() { close(cut) })
		return true
	}})
	defer remove()
	apply(s)
	<-entered
	s.Halt()
	select {
	case <-cut:
		t.Error("the shutdown cut the registration")
	case <-time.After(300 * time.Millisecond):
	}
	close(block)
	s.Stop()
	s.Start()
	s.finish(cell{one, 1})
}

// A token that Calyptia Cloud returns only once is kept until a Secret holds it, even if neither the Secret nor the
// status can be written and the agent has to be found again.
func TestATokenShownOnceSurvivesTwoRefusedWrites(t *testing.T) {
	for _, settings := range []cloudtest.Settings{{MaskTokens: true}, {MaskTokens: true, UniqueMachineIDs: cloudtest.MachineIDDouble}} {
		t.Run(fmt.Sprint("machine IDs ", settings.UniqueMachineIDs), func(t *testing.T) {
			s := newScene(t, settings)
			trouble := deed{status: http.StatusInternalServerError}
			reached := s.expect(moment{createSecret, trouble}, moment{patchStatus, trouble})
			apply(s)
			s.await(reached)
			s.finish(cell{one, 1})
		})
	}
}
