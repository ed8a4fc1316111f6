/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	status "github.com/calyptia-agent-operator/operator/internal/testenv/kstatus"
)

func inUse(message ...string) expect {
	return expect{metav1.ConditionFalse, v1alpha1.ReasonInUse, message, false, status.TerminatingStatus}
}

func (w *world) delete(cp *v1alpha1.CloudProject) {
	w.Helper()
	noError(w, w.Client.Delete(w.Context(), cp))
}

func TestWithoutAgentsACloudProjectGoesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, secret := w.withCopy()
	requests := len(w.cloud.Requests())
	w.delete(cp)
	w.gone(cp)
	w.gone(secret)
	w.eventually("the project to be forgotten", func() bool { return w.projects.Lookup(cp.UID) == nil })
	if got := len(w.cloud.Requests()); got != requests {
		t.Errorf("the deletion made %d requests", got-requests)
	}
	if w.Secret(tokenName) == nil {
		t.Error("the user's own Secret is gone")
	}
}

func TestACloudProjectThatNeverWorkedGoesToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp := w.becomes(w.createOnly(), waitingFor(v1alpha1.ReasonSourceNotFound))
	w.delete(cp)
	w.gone(cp)
}

func TestAgentsDelayTheDeletionOfTheirCloudProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, secret := w.withCopy()
	var agents []*v1alpha1.Agent
	for i := range 7 {
		agents = append(agents, w.createAgent(w.Namespace, fmt.Sprintf("agent-%d", i), cp))
	}
	w.delete(cp)
	w.becomes(cp, inUse(w.Namespace+"/agent-0, ", w.Namespace+"/agent-4 and 2 more", "delete them", "orphan-agents"))
	p, err := w.projects.Get(cp, cp.Namespace)
	if err != nil {
		t.Fatalf("the Agents cannot be deleted: %v", err)
	}
	if p.RegistrationPaused() == nil {
		t.Error("a CloudProject that is being deleted registers Agents")
	}
	for _, agent := range agents[:6] {
		w.removeAgent(agent)
	}
	w.becomes(cp, inUse("Agent "+w.Namespace+"/agent-6, which"))
	w.removeAgent(agents[6])
	w.gone(cp)
	w.gone(secret)
}

func TestACloudProjectInUseIsStillVerified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, _ := w.withCopy()
	agent := w.createAgent(w.Namespace, "one", cp)
	w.delete(cp)
	w.becomes(cp, inUse())
	w.deleteSecret(tokenName)
	w.eventually("both troubles to show", func() bool {
		now := w.becomes(cp, inUse())
		return strings.Contains(apimeta.FindStatusCondition(now.Status.Conditions, ready).Message, "; also, spec.tokenSecretRef")
	})
	if _, err := w.projects.Get(cp, cp.Namespace); err != nil {
		t.Errorf("the Agent cannot be deleted: %v", err)
	}
	w.restart()
	w.eventually("the project to be usable again", func() bool { _, err := w.projects.Get(cp, cp.Namespace); return err == nil }, w.logged)
	if w.projects.Lookup(cp.UID).RegistrationPaused() == nil {
		t.Error("registration is not paused after a restart")
	}
	w.removeAgent(agent)
	w.gone(cp)
}

func TestAnAgentMissingFromTheCacheDelaysTheDeletionToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // Its cache knows one namespace alone.
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "cproj-other-"}}
	w.Create(other)
	cp, _ := w.withCopy()
	w.Edit(cp, func() { cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll} })
	agent := w.createAgent(other.Name, "elsewhere", cp)
	lists := w.reader.listed()
	w.delete(cp)
	w.becomes(cp, inUse(other.Name+"/elsewhere"))
	if w.reader.listed() == lists {
		t.Error("the release was decided without asking the API server")
	}
	w.removeAgent(agent)
	w.poke(cp)
	w.gone(cp)
}

func TestTheAnnotationEndsTheWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, secret := w.withCopy()
	w.createAgent(w.Namespace, "left", cp)
	w.delete(cp)
	w.becomes(cp, inUse())
	w.Edit(cp, func() { cp.Annotations = map[string]string{v1alpha1.AnnotationOrphanAgents: "true"} })
	w.gone(cp)
	w.gone(secret)
	want := []string{"Normal CredentialsVerified", "Warning InUse", "Warning InUse"}
	w.eventually("the last event, which comes after the release", func() bool { return len(w.events.all()) >= len(want) })
	if diff := cmp.Diff(want, kinds(w.events.all())); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if all := w.events.all(); !strings.Contains(all[2], "released by annotation") || !strings.Contains(all[2], "/left") {
		t.Errorf("the last event is %q", all[2])
	}
}

func TestANamespaceIsDeletedInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, _ := w.withCopy()
	agent := w.createAgent(w.Namespace, "one", cp)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}
	noError(t, w.Client.Delete(t.Context(), namespace))
	w.becomes(cp, inUse())
	w.eventually("the source to go", func() bool { return w.Secret(tokenName) == nil })
	w.restart()
	w.eventually("the copy to serve", func() bool { _, err := w.projects.Get(cp, cp.Namespace); return err == nil }, w.logged)
	w.stays("the copy is kept", func() bool { return w.Secret(copied) != nil })
	w.removeAgent(agent)
	w.gone(cp)
	w.gone(namespace)
}

// A copy that is deleted with its namespace, before the CloudProject is, must keep its finalizer:
// a new copy could not be created.
func TestInATerminatingNamespaceTheCopyIsNotRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, before := w.withCopy()
	blocker := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.Namespace, Name: "blocker", Finalizers: []string{"example.com/blocker"},
	}}
	w.Create(blocker)
	w.Edit(cp, func() { cp.Finalizers = append(cp.Finalizers, "example.com/blocker") })
	agent := w.createAgent(w.Namespace, "one", cp)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}
	noError(t, w.Client.Delete(t.Context(), namespace))
	w.eventually("the copy to be deleted", func() bool { return w.Secret(copied).DeletionTimestamp != nil })
	w.becomes(cp, inUse())
	w.stays("the copy is kept", func() bool {
		now := w.Secret(copied)
		return now != nil && now.UID == before.UID
	})
	w.removeAgent(agent)
	w.Edit(blocker, func() { blocker.Finalizers = nil })
	w.eventually("only the foreign finalizer to stay", func() bool {
		noError(t, w.Client.Get(t.Context(), client.ObjectKeyFromObject(cp), cp))
		return len(cp.Finalizers) == 1
	})
	w.Edit(cp, func() { cp.Finalizers = nil })
	w.gone(namespace)
}

func TestTheNumberOfAgentsIsWrittenRarely(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *options) { o.delays.AgentCountInterval = 700 * time.Millisecond })
	cp, _ := w.withCopy()
	started := time.Now()
	versions := map[string]bool{}
	count := func(want int32) func() bool {
		return func() bool {
			now := w.becomes(cp, verified)
			versions[now.ResourceVersion] = true
			return now.Status.Agents == want
		}
	}
	var agents []*v1alpha1.Agent
	for i := range 30 {
		agents = append(agents, w.createAgent(w.Namespace, fmt.Sprintf("agent-%d", i), cp))
	}
	w.eventually("30 Agents", count(30))
	before := len(w.cloud.Requests())
	for want := int32(29); want >= 27; want-- {
		w.removeAgent(agents[want])
		w.eventually("fewer Agents", count(want))
	}
	if writes, most := len(versions)-1, int(time.Since(started)/(700*time.Millisecond))+1; writes > most {
		t.Errorf("the number was written %d times in %s", writes, time.Since(started))
	}
	if got := len(w.cloud.Requests()) - before; got != 0 {
		t.Errorf("counting made %d requests", got)
	}
	for _, agent := range agents[:27] {
		w.removeAgent(agent)
	}
}

// Users of any namespace can write finalizers and intents. In a namespace that is not allowed these delay nothing, even
// right after a start, when the credentials that show a forged intent are not loaded yet.
func TestForgedFinalizerAndIntent_NamespaceNotAllowed_DelayNothing(t *testing.T) {
	for _, row := range []struct {
		name    string
		restart bool
		change  func(*v1alpha1.Agent)
	}{
		{"a finalizer", false, func(*v1alpha1.Agent) {}},
		{"an intent", false, func(a *v1alpha1.Agent) { a.Finalizers = nil; forgeIntent(a) }},
		{"both", false, forgeIntent},
		{"both, after a start", true, forgeIntent},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "cproj-other-"}}
			w.Create(other)
			cp, secret := w.withCopy()
			own := w.createAgent(w.Namespace, "own", cp)
			forged := w.createAgent(other.Name, "forged", cp)
			w.Edit(forged, func() { row.change(forged) })
			w.delete(cp)
			w.becomes(cp, inUse("Agent "+w.Namespace+"/own, which"))
			if row.restart {
				w.restart()
			}
			w.removeAgent(own)
			w.gone(cp)
			w.gone(secret)
			w.Edit(forged, func() { forged.Finalizers = nil })
		})
	}
}

func forgeIntent(a *v1alpha1.Agent) {
	metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent,
		time.Now().UTC().Format(time.RFC3339Nano)+"/0011223344556677-00112233445566770011223344556677")
}

// Credentials that were never there cannot have signed an intent.
func TestForgedIntent_CloudProjectNeverWorked_DelaysNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "cproj-other-"}}
	w.Create(other)
	cp := w.becomes(w.createOnly(), waitingFor(v1alpha1.ReasonSourceNotFound))
	forged := w.createAgent(other.Name, "forged", cp)
	w.Edit(forged, func() { forgeIntent(forged) })
	w.delete(cp)
	w.gone(cp)
	w.Edit(forged, func() { forged.Finalizers = nil })
}
