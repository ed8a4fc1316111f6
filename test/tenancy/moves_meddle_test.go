/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// ofTheThief reports whether a request registers an Agent of the thief with the shared project's token.
func (w *walk) ofTheThief(r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	header := fmt.Sprint(r.Header)
	return err == nil && strings.Contains(string(body), `"name":"thief-`) &&
		!slices.ContainsFunc(w.thiefs.tokens, func(own string) bool { return strings.Contains(header, own) })
}

// between adds a fault of something between the operator and the API.
func (w *walk) between(f cloudtest.Fault) {
	w.thiefs.faults = append(w.thiefs.faults, w.Cloud.Inject(f))
}

// clear removes all faults.
func (w *walk) clear() {
	for _, remove := range w.thiefs.faults {
		remove()
	}
	if len(w.thiefs.faults) > 0 {
		w.did("   the faults end")
	}
	w.thiefs.faults = nil
}

// interfere draws what happens to the next registrations of the thief.
func (l *life) interfere(d draws) string {
	post := cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Match: l.ofTheThief, Times: 1}
	choice := d.IntN(14)
	switch {
	case choice < 2:
		return "none"
	case choice < 4:
		post.Cut = cloudtest.CutAfter
		l.between(post)
		return "lost"
	case choice == 4:
		post.Cut, post.Times = cloudtest.CutBefore, 0
		l.between(post)
		return "lost before"
	case choice < 10:
		post.Status, post.Header, post.Times = http.StatusForbidden, http.Header{"Content-Type": {"text/html"}}, 0
		post.Body = "<html>blocked</html>"
		l.between(post)
		return "filtered"
	}
	// The response is that of a victim's registration. A filter may also have the read fail that follows.
	post.After, post.Status, post.Header = true, http.StatusCreated, http.Header{"Content-Type": {"application/json"}}
	post.Body = fmt.Sprintf(`{"id":%q,"token":%q,"name":%q,"createdAt":%q,"environmentName":"default"}`,
		l.target.ID, l.target.Token.Reveal(), l.target.Name, l.target.CreatedAt.UTC().Format(time.RFC3339))
	l.between(post)
	if d.oneOf(2) {
		l.between(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Latency: 1500 * time.Millisecond})
	}
	if d.oneOf(2) {
		l.thiefs.uncertain = true
		id := "/v1/agents/" + l.target.ID
		l.between(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: http.StatusBadGateway,
			Match: func(r *http.Request) bool { return r.URL.Path == id }, Times: 1 + d.IntN(3)})
	}
	return "swapped"
}

// meddles changes what is evidence about the Agent of the life.
func (l *life) meddles(d draws) {
	l.Helper()
	if l.variant.granted && d.oneOf(2) {
		l.forgeStatus(d, l.name)
		return
	}
	switch d.IntN(11) {
	case 0, 1:
		l.register(d)
	case 2, 3:
		l.overwrite(d, l.name)
	case 4, 5:
		l.dropSecrets(l.name)
	case 6:
		l.forgeSecret(d, l.name)
	case 7:
		l.unfence(l.name)
	case 8:
		l.policy(d, l.name)
	case 9:
		l.poke(l.name)
	default:
		l.restart(d)
	}
}

// register has another cluster register an agent, which the life is about from now on.
func (l *life) register(d draws) {
	l.Helper()
	if l.variant.granted {
		return
	}
	machineID := fmt.Sprintf("machine-elsewhere-%d", len(l.victims))
	if d.oneOf(4) {
		machineID = l.derivedID("another-" + machineID)
	}
	made := l.Register("elsewhere-later", machineID)
	l.age(made.ID) // Within 2 seconds it cannot be distinguished from one that the thief's Agent registered (docs/reliability.md).
	remote, _ := l.Cloud.Agent(made.ID)
	l.target = &target{Agent: remote, hidden: d.oneOf(4)}
	l.victims = append(l.victims, l.target)
	l.guard.protect(l.target)
	l.decoy(l.target)
	l.did("another cluster registers %s with machine ID %s, hidden %t", remote.ID, machineID, l.target.hidden)
}

// unreadable is an intent from a time so far ahead that it is none.
const unreadable = "2500-01-01T00:00:00Z/0-0"

// overwrite replaces the intent of an Agent.
func (w *walk) overwrite(d draws, name string) {
	w.Helper()
	var intent string
	switch d.IntN(4) {
	case 0:
		intent = unreadable
	case 1:
		intent = ""
	case 2:
		intent = time.Now().UTC().Format(time.RFC3339Nano) + "/0011223344556677-00"
	default:
		intent = w.earlierIntent(d, name)
	}
	w.did("the intent of Agent %s becomes %q", name, intent)
	w.excuse(name, "its intent was overwritten")
	w.edit(name, func(a *v1alpha1.Agent) {
		if intent == "" {
			delete(a.Annotations, v1alpha1.AnnotationRegistrationIntent)
			return
		}
		annotated(v1alpha1.AnnotationRegistrationIntent, intent)(a)
	})
}

// dropSecrets deletes the Secrets of an Agent.
func (w *walk) dropSecrets(name string) {
	w.Helper()
	w.did("the Secrets of Agent %s are deleted", name)
	names := []string{name + tokensecret.TokenSuffix, name + tokensecret.SessionSuffix, "loot", name + "-loot"}
	for _, secret := range names {
		err := w.Client.Delete(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.thief.Namespace, Name: secret}})
		if err = client.IgnoreNotFound(err); err != nil {
			w.tried(err)
		}
	}
}

// forgeSecret writes the token Secret of an Agent: as it was before, as that of another Agent, or with an ID of the victim.
func (l *life) forgeSecret(d draws, name string) {
	l.Helper()
	a := l.found(name)
	if a == nil {
		return
	}
	secret := &corev1.Secret{Data: map[string][]byte{v1alpha1.TokenKey: []byte("an-invented-token-of-an-agent")}}
	if len(l.thiefs.secrets) > 0 && d.oneOf(2) {
		before := pick(d, l.thiefs.secrets...)
		secret.Data, secret.Annotations = maps.Clone(before.Data), before.Annotations
	}
	secret.Namespace, secret.Name = l.thief.Namespace, tokensecret.Name(a)
	secret.Labels = map[string]string{v1alpha1.LabelAgentUID: string(a.UID)}
	if id := l.knownID(d, l.place); id != "" && d.oneOf(2) {
		secret.Data[v1alpha1.IDKey] = []byte(id)
	}
	if d.oneOf(2) {
		secret.OwnerReferences = owned(a.Name, a.UID)
	}
	if intent := l.earlierIntent(d, name); intent != "" && d.oneOf(2) {
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent)
	}
	l.did("Secret %s becomes one with id %q, owners %d, annotations %v", secret.Name, secret.Data[v1alpha1.IDKey], len(secret.OwnerReferences),
		secret.Annotations)
	l.excuse(name, "its Secret was forged")
	l.dropSecrets(name)
	l.tried(l.Client.Create(context.Background(), secret))
}

// unfence removes the finalizer of an Agent.
func (w *walk) unfence(name string) {
	w.Helper()
	w.did("the finalizer of Agent %s is removed", name)
	w.excuse(name, "its finalizer was removed")
	w.edit(name, func(a *v1alpha1.Agent) { controllerutil.RemoveFinalizer(a, v1alpha1.AgentFinalizer) })
}

// policy changes a field of an Agent that decides what is written and deleted.
func (w *walk) policy(d draws, name string) {
	w.Helper()
	what := d.IntN(7)
	names := []string{"Retain", "Delete", "suspended or resumed", "OnChange", "a session", "another Secret", "rawConfig"}
	w.did("Agent %s is changed: %s", name, names[what])
	if what == 0 {
		w.excuse(name, "retained")
	}
	text := fmt.Sprint("# ", d.IntN(1000))
	w.edit(name, func(a *v1alpha1.Agent) {
		switch what {
		case 0:
			a.Spec.DeletionPolicy = v1alpha1.DeletionRetain
		case 1:
			a.Spec.DeletionPolicy = v1alpha1.DeletionDelete
		case 2:
			a.Spec.Suspend = !a.Spec.Suspend
		case 3:
			a.Spec.SyncPolicy = v1alpha1.SyncOnChange
		case 4:
			a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{}
		case 5:
			a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "loot"}
		default:
			a.Spec.RawConfig = text
		}
	})
}

// poke requests a reconciliation.
func (w *walk) poke(name string) {
	w.did("Agent %s is to be reconciled", name)
	w.edit(name, annotated(v1alpha1.AnnotationReconcileAt, fmt.Sprint(len(w.done))))
}

// restart has another process of the operator begin. The former may end before a write that it is about to make.
func (w *walk) restart(d draws) {
	w.Helper()
	write := pick(d, "", "", "PATCH /status", "POST /secrets", "PUT -token", "PATCH "+w.life.name)
	w.did("the operator restarts, before %q", write)
	if method, suffix, some := strings.Cut(write, " "); some {
		stopped := w.API.StopAt(method, suffix)
		w.edit(w.life.name, annotated(v1alpha1.AnnotationReconcileAt, fmt.Sprint(len(w.done))))
		w.brief(time.Second, func() bool {
			select {
			case <-stopped:
				return true
			default:
				return false
			}
		})
	}
	w.Stop()
	w.API.Before(nil)
	w.start()
}

// lose has the next responses about agents that are not the victims' be lost.
func (w *walk) lose(d draws) {
	method := pick(d, http.MethodGet, http.MethodPatch, http.MethodDelete, http.MethodDelete)
	cut := pick(d, cloudtest.CutAfter, cloudtest.CutBefore)
	victims := map[string]bool{}
	for _, v := range w.victims {
		victims["/v1/agents/"+v.ID] = true
	}
	w.did("the next response to a %s is lost, before it took effect: %t", method, cut == cloudtest.CutBefore)
	w.between(cloudtest.Fault{Method: method, Route: cloudtest.RouteAgent, Cut: cut, Times: 1 + d.IntN(2),
		Match: func(r *http.Request) bool { return !victims[r.URL.Path] }})
}

// rotate replaces the token of the shared project, by one of this form or the other.
func (w *walk) rotate(d draws) {
	w.Helper()
	token := w.Cloud.AddProject(w.ProjectID).Reveal()
	if w.variant.opaque && d.oneOf(2) {
		token = "another-opaque-token-of-the-shared-project-" + fmt.Sprint(len(w.done))
		w.Cloud.AddToken(w.ProjectID, token)
	}
	w.did("the token of the shared project is replaced")
	for _, name := range w.thiefs.agents {
		w.excuse(name, "the project token was replaced")
	}
	w.guard.shared(token)
	w.SetSecret("calyptia-token", map[string]string{v1alpha1.TokenKey: token})
}
