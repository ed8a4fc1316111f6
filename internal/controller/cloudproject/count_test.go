/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	intents "github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
)

var here = connection.Endpoint{URL: "https://cloud.example", ProjectID: projectID}

const projectUID = "uid-of-the-project"

// signer is a Signer that nobody else has.
func signer(text string) string { return fmt.Sprintf("%x", text) }

func TestCount_AgentsThatAreNotAllowed_CountOnlyWithEvidence(t *testing.T) {
	in := func(namespace string, change ...func(*v1alpha1.Agent)) v1alpha1.Agent {
		agent := v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, UID: "uid"}}
		for _, f := range change {
			f(&agent)
		}
		return agent
	}
	recorded := func(place connection.Endpoint) func(*v1alpha1.Agent) {
		return func(a *v1alpha1.Agent) {
			a.Status.CloudProjectUID = projectUID
			a.Status.ID, a.Status.URL, a.Status.ProjectID = otherID, place.URL, place.ProjectID
		}
	}
	authentic := func(a *v1alpha1.Agent) {
		intent, err := intents.NewIntent(time.Now(), intents.Attempt{}, intents.Intent{}, remoteagent.Subject(a, "", here.URL), signer)
		noError(t, err)
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent.String())
	}
	finalized := func(a *v1alpha1.Agent) { a.Finalizers = []string{v1alpha1.AgentFinalizer} }
	for _, row := range []struct {
		name  string
		agent v1alpha1.Agent
		place connection.Endpoint
		sign  intents.Signer
		want  int
	}{
		{"allowed, and new", in("allowed"), here, signer, 1},
		{"not allowed", in("other"), here, signer, 0},
		{"not allowed, with a finalizer", in("other", finalized), here, signer, 0},
		{"not allowed, recorded here", in("other", recorded(here)), here, signer, 1},
		{"not allowed, recorded here with a token that did not contain the project", in("other", recorded(connection.Endpoint{URL: here.URL})), here, signer, 1},
		{"not allowed, recorded here in another project", in("other", recorded(connection.Endpoint{URL: here.URL, ProjectID: otherID})), here, signer, 0},
		{"not allowed, recorded here through another CloudProject", in("other", recorded(here), func(a *v1alpha1.Agent) {
			a.Status.CloudProjectUID = "another"
		}), here, signer, 0},
		{"not allowed, recorded elsewhere", in("other", recorded(connection.Endpoint{URL: "https://else.example"})), here, signer, 0},
		{"not allowed, recorded nowhere, and the project is nowhere", in("other", recorded(connection.Endpoint{})), connection.Endpoint{}, signer, 0},
		{"not allowed, with a forged intent", in("other", forgeIntent), here, signer, 0},
		{"not allowed, with an authentic intent", in("other", authentic), here, signer, 1},
		{"not allowed, with an intent that cannot be authenticated yet", in("other", authentic), here, nil, 0},
		{"in a namespace that cannot be read", in("unreadable"), here, signer, 0},
		{"in a namespace that cannot be read, recorded here", in("unreadable", recorded(here)), here, signer, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := &needs{uid: projectUID, place: row.place, sign: row.sign, known: map[string]bool{}, allows: func(namespace string) (bool, error) {
				if namespace == "unreadable" {
					return false, errors.New("no")
				}
				return namespace == "allowed", nil
			}}
			want := map[string]int{}
			if row.want > 0 {
				want[row.agent.Namespace] = row.want
			}
			counted, listed := n.count([]v1alpha1.Agent{row.agent})
			if diff := cmp.Diff(want, counted); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
			if found := listed["uid"] != ""; found != (row.want > 0 && row.agent.Status.ID != "") {
				t.Errorf("recorded: %v", listed)
			}
		})
	}
}

// The safeguard counts what Agents registered with this token, also through a CloudProject that was created again. Another one may only
// claim the project.
func TestCount_RecordedThroughAFormerCloudProject_OnlyIfRegisteredWithThisToken(t *testing.T) {
	closed := func(url string, sign intents.Signer) func(*v1alpha1.Agent) {
		return func(a *v1alpha1.Agent) {
			intent, err := intents.NewIntent(time.Now(), intents.Attempt{}, intents.Intent{}, remoteagent.Subject(a, "", url), sign)
			noError(t, err)
			a.Status.RegistrationIntent = intent.String()
		}
	}
	another := func(text string) string { return signer("another" + text) }
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		origin v1alpha1.Origin
		place  connection.Endpoint
		sign   intents.Signer
		want   bool
	}{
		{"registered with this token", closed(here.URL, signer), v1alpha1.OriginRegistered, here, signer, true},
		{"adopted", closed(here.URL, signer), v1alpha1.OriginAdopted, here, signer, false},
		{"registered with another token", closed(here.URL, another), v1alpha1.OriginRegistered, here, signer, false},
		{"registered at another URL", closed("https://else.example", signer), v1alpha1.OriginRegistered, here, signer, false},
		{"this token is not known yet", closed(here.URL, signer), v1alpha1.OriginRegistered, here, nil, false},
		{"this is another project", closed(here.URL, signer), v1alpha1.OriginRegistered, connection.Endpoint{URL: here.URL, ProjectID: otherID}, signer, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			agent := v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "allowed", UID: "uid"}}
			agent.Status = v1alpha1.AgentStatus{CloudProjectUID: "the-former", ID: otherID, URL: here.URL, ProjectID: here.ProjectID, Origin: row.origin}
			row.change(&agent)
			n := &needs{uid: projectUID, place: row.place, sign: row.sign, known: map[string]bool{}, allows: func(string) (bool, error) { return true, nil }}
			if _, recorded := n.count([]v1alpha1.Agent{agent}); (recorded["uid"] != "") != row.want {
				t.Errorf("recorded: %v", recorded)
			}
		})
	}
}

// A namespace is read once for all of its Agents, and not at all for those that are recorded.
func TestCount_TenThousandAgents_ReadsEachNamespaceOnce(t *testing.T) {
	reads := 0
	n := &needs{uid: projectUID, place: here, sign: signer, known: map[string]bool{}, allows: func(string) (bool, error) { reads++; return true, nil }}
	agents := make([]v1alpha1.Agent, 10_000)
	for i := range agents {
		agents[i].Namespace = fmt.Sprint("tenant-", i%10)
		if i%10 >= 5 {
			agents[i].Status = v1alpha1.AgentStatus{CloudProjectUID: projectUID, ID: otherID, URL: here.URL, ProjectID: here.ProjectID}
		}
	}
	if counted, _ := n.count(agents); len(counted) != 10 || counted["tenant-0"] != 1000 || counted["tenant-9"] != 1000 {
		t.Errorf("counted %v", counted)
	}
	if reads != 5 {
		t.Errorf("%d namespaces were read, want 5", reads)
	}
}

// Duplicates are named while their Agent is checked here; that the API server does not respond does not end that.
func TestDuplicates_AreThoseOfAgentsThatAreChecked(t *testing.T) {
	var agents []v1alpha1.Agent
	recorded := map[types.UID]string{}
	for _, namespace := range []string{"allowed", "other", "unreadable", "gone"} {
		agents = append(agents, v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, UID: types.UID(namespace)}})
		if namespace != "gone" {
			recorded[types.UID(namespace)] = otherID
		}
	}
	n := &needs{known: map[string]bool{}, allows: func(namespace string) (bool, error) {
		if namespace == "unreadable" {
			return false, errors.New("no")
		}
		return namespace == "allowed", nil
	}}
	of := func(who types.UID) []string { return []string{"duplicate of " + string(who)} }
	want := []string{"duplicate of allowed", "duplicate of unreadable"}
	if diff := cmp.Diff(want, n.duplicates(agents, recorded, of)); diff != "" {
		t.Errorf("duplicates (-want +got):\n%s", diff)
	}
}

// Anybody may refer to a CloudProject. Agents that it does not allow are not in its status, and stretch nothing.
func TestStatusAgents_NamespaceNotAllowed_IsNotCounted(t *testing.T) {
	t.Parallel()
	other := newNamespace(t)
	w := newWorld(t, func(o *options) { o.beside = other })
	cp, _ := w.withCopy()
	for i := range 3 {
		w.createAgent(other, fmt.Sprint("guest-", i), cp)
	}
	w.createAgent(w.Namespace, "own", cp)
	counts := func(want int32) {
		t.Helper()
		w.eventually(fmt.Sprint(want, " Agents"), func() bool { return w.becomes(cp, verified).Status.Agents == want })
	}
	counts(1)
	w.Edit(cp, func() { cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll} })
	counts(4)
	w.Edit(cp, func() { cp.Spec.AllowedNamespaces = nil })
	counts(1)
	for i := range 3 {
		w.removeAgent(&v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: fmt.Sprint("guest-", i)}})
	}
	w.removeAgent(&v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "own"}})
}

// An Agent that was created from the manifest of another, and was not registered since, has nothing to delete.
func TestHolds_TheIntentOfAnother_DelaysNothing(t *testing.T) {
	original := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "allowed", Name: "web", UID: "uid"}}
	intent, err := intents.NewIntent(time.Now(), intents.Attempt{}, intents.Intent{}, remoteagent.Subject(original, "blue", here.URL), signer)
	noError(t, err)
	metav1.SetMetaDataAnnotation(&original.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent.String())
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		want   bool
	}{
		{"its own", func(*v1alpha1.Agent) {}, true},
		{"restored from a backup", func(a *v1alpha1.Agent) { a.UID = "another" }, true},
		{"copied under another name", func(a *v1alpha1.Agent) { a.UID, a.Name = "another", "copy" }, false},
		{"copied under another name, and registered since", func(a *v1alpha1.Agent) {
			a.UID, a.Name, a.Status.ID = "another", "copy", otherID
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			agent := original.DeepCopy()
			row.change(agent)
			n := &needs{id: "blue", uid: projectUID, place: here, sign: signer, allows: func(string) (bool, error) { return true, nil }, known: map[string]bool{}}
			if got := n.holds(agent); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}
