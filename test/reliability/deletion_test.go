/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// estate is a namespace with everything that Agents need: the CloudProject, its token and CA, a source of configuration,
// Agents with both deletion policies; and an Agent of another namespace.
type estate struct {
	w, tenant *harness.World
	own       []string // names of the Agents of the namespace
	kept      string   // the remote agent that has to remain
	guest     string   // the remote agent of the other namespace
	restore   func()   // ends the outage
}

func newEstate(t *testing.T) *estate {
	e := &estate{own: []string{"plain", "sourced", "kept"}}
	e.w, e.tenant = harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
		server := httptest.NewTLSServer(w.Cloud)
		t.Cleanup(server.Close)
		w.ConfigMap("ca", "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
		w.ConfigMap("fluent", "fluent-bit.conf", "[INPUT]\n    name cpu\n")
		cp.Spec.URL = server.URL
		cp.Spec.CABundle = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"}}
	})
	e.w.Apply("plain")
	e.w.Apply("sourced", func(a *v1alpha1.Agent) {
		a.Spec.RawConfig = ""
		a.Spec.RawConfigFrom = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "fluent", Key: "fluent-bit.conf"}}
	})
	e.w.Apply("kept", retain)
	e.w.Guest(e.tenant, "guest")
	for _, name := range e.own {
		e.w.Ready(name)
	}
	e.kept = e.w.Get("kept").Status.ID
	e.guest = e.tenant.Ready("guest").Status.ID
	// Deletions use the copy of the credentials.
	e.w.Eventually("the credentials are copied", func() error {
		if e.w.Secret("calyptia-credentials") == nil {
			return fmt.Errorf("there is no copy")
		}
		return nil
	})
	return e
}

func (e *estate) namespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: e.w.Namespace}}
}

// blocked waits until the condition of an Agent says why its deletion waits, with the remedy.
func (e *estate) blocked(reason string, words ...string) {
	e.w.Helper()
	for _, name := range []string{"plain", "sourced"} {
		e.w.NotReady(name, reason, append(words, v1alpha1.AnnotationOrphan)...)
	}
	e.w.Eventually("the namespace has a condition about what holds it", func() error {
		var ns corev1.Namespace
		if err := e.w.Client.Get(context.Background(), client.ObjectKey{Name: e.w.Namespace}, &ns); err != nil {
			return err
		}
		for _, c := range ns.Status.Conditions {
			if c.Type == corev1.NamespaceFinalizersRemaining && c.Status == corev1.ConditionTrue {
				return lacks(c.Message, []string{v1alpha1.AgentFinalizer})
			}
		}
		return fmt.Errorf("conditions are %+v", ns.Status.Conditions)
	})
}

func (e *estate) orphanAll() {
	e.w.Helper()
	for _, name := range []string{"plain", "sourced"} {
		e.w.Change(name, orphan)
	}
}

// Whatever fails while a namespace is deleted: what can be deleted is deleted, what has to remain remains, and what
// waits says why.
func TestDeletionOfANamespaceWithEverythingInIt(t *testing.T) {
	down := cloudtest.Fault{Cut: cloudtest.CutBefore}
	rows := []struct {
		name    string
		before  func(*estate) // before the namespace is deleted
		after   func(*estate) // while it is being deleted
		orphans bool
	}{
		{name: "without failures"},
		{
			name:   "while the operator is down",
			before: func(e *estate) { e.w.Stop() },
			after:  func(e *estate) { e.w.Start(e.tenant.Namespace) },
		},
		{
			name: "while the operator is down, with the token already gone",
			before: func(e *estate) {
				e.w.Stop()
				remove(e.w, e.w.Secret("calyptia-token"))
				remove(e.w, e.w.Project())
			},
			after: func(e *estate) { e.w.Start(e.tenant.Namespace) },
		},
		{
			name:   "while the cloud is down, which comes back",
			before: func(e *estate) { e.restore = e.w.Cloud.Inject(down) },
			after: func(e *estate) {
				e.blocked(v1alpha1.ReasonUnavailable)
				e.restore()
			},
		},
		{
			name:   "while the token is revoked, which orphans end",
			before: func(e *estate) { e.w.Cloud.RevokeToken(e.w.Token) },
			after: func(e *estate) {
				e.blocked(v1alpha1.ReasonProjectNotReady, "token")
				e.orphanAll()
			},
			orphans: true,
		},
		{
			name:   "while the cloud is down for good, which orphans end",
			before: func(e *estate) { e.w.Cloud.Inject(down) },
			after: func(e *estate) {
				e.blocked(v1alpha1.ReasonUnavailable)
				e.orphanAll()
			},
			orphans: true,
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			all := remoteIDs(e.w)
			if row.before != nil {
				row.before(e)
			}
			remove(e.w, e.namespace())
			if row.after != nil {
				row.after(e)
			}
			for _, name := range e.own {
				e.w.Gone(name)
			}
			// The Agent of the other namespace still needs the CloudProject, and keeps its agent.
			e.w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonInUse, e.tenant.Namespace+"/guest", v1alpha1.AnnotationOrphanAgents)
			if row.orphans {
				remains(e.w, all...)
				e.tenant.Change("guest", orphan)
			} else {
				remains(e.w, e.kept, e.guest)
			}
			e.tenant.Delete("guest")
			e.tenant.Gone("guest")
			untilDeleted(e.w, e.namespace())
			if !row.orphans {
				remains(e.w, e.kept)
			}
		})
	}
}

// Agents are deleted although what they need was deleted before them.
func TestDeletionOfAgentsAfterTheirDependencies(t *testing.T) {
	rows := []struct {
		name  string
		first func(*estate)
	}{
		{"the CloudProject", func(e *estate) { remove(e.w, e.w.Project()) }},
		{"the token Secret", func(e *estate) { remove(e.w, e.w.Secret("calyptia-token")) }},
		{"the CA", func(e *estate) {
			remove(e.w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.w.Namespace, Name: "ca"}})
		}},
		{"the source of the configuration", func(e *estate) {
			remove(e.w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.w.Namespace, Name: "fluent"}})
		}},
		{"all of them, while the operator is down", func(e *estate) {
			e.w.Stop()
			remove(e.w, e.w.Project())
			remove(e.w, e.w.Secret("calyptia-token"))
			remove(e.w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.w.Namespace, Name: "ca"}})
			for _, name := range e.own {
				e.w.Delete(name)
			}
			e.w.Start(e.tenant.Namespace)
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			row.first(e)
			for _, name := range e.own {
				var a v1alpha1.Agent
				if e.w.Client.Get(context.Background(), e.w.Key(name), &a) == nil {
					remove(e.w, &a)
				}
				e.w.Gone(name)
			}
			e.tenant.Delete("guest")
			e.tenant.Gone("guest")
			remains(e.w, e.kept)
		})
	}
}

// A CloudProject that is being deleted registers nothing, names the Agents that it waits for, and goes with the last.
func TestDeletionOfACloudProjectInUse(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	cp := e.w.Project()
	remove(e.w, cp)
	e.w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonInUse, e.w.Namespace+"/plain", e.tenant.Namespace+"/guest")
	e.w.Guest(e.tenant, "late")
	e.tenant.NotReady("late", v1alpha1.ReasonProjectNotReady, "being deleted")
	if n := e.w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 4 {
		t.Errorf("%d registrations, want the 4 from before", n)
	}
	e.w.ChangeProject(func(cp *v1alpha1.CloudProject) {
		metav1.SetMetaDataAnnotation(&cp.ObjectMeta, v1alpha1.AnnotationOrphanAgents, "true")
	})
	untilDeleted(e.w, cp)
	// An Agent whose CloudProject is gone cannot delete, says so, and drops its finalizer on request.
	e.w.Delete("plain")
	e.w.NotReady("plain", v1alpha1.ReasonProjectNotFound, v1alpha1.AnnotationOrphan)
	e.w.Change("plain", orphan)
	e.w.Gone("plain")
	e.w.Delete("kept")
	e.w.Gone("kept")
	if n := len(e.w.Remote()); n != 4 {
		t.Errorf("%d remote agents, want all 4 of them", n)
	}
}

// Everything is deleted at once while a registration is open: the CloudProject does not wait for an Agent that waits for it.
func TestDeletionWithAnOpenRegistration(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
	w.Apply("web")
	w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
	cp := w.Project()
	remove(w, cp)
	remove(w, w.Secret("calyptia-token"))
	w.Delete("web")
	w.Gone("web")
	untilDeleted(w, cp)
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d remote agents are left", n)
	}
}
