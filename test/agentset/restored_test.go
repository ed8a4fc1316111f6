/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The kinds of a backup.
const (
	theSet       = "set"
	theAgents    = "agents"
	theTokens    = "tokens"
	theSessions  = "sessions"
	theDaemonSet = "daemonset"
)

// backUp returns what Velero restores: new objects, without status and owners.
func backUp(w *harness.World, set string) map[string][]client.Object {
	w.Helper()
	bare := func(m metav1.ObjectMeta) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, Labels: m.Labels, Annotations: m.Annotations, Finalizers: m.Finalizers}
	}
	s := w.GetSet(set)
	var ds appsv1.DaemonSet
	w.Read(w.Key("fluent-bit"), &ds)
	backup := map[string][]client.Object{
		theSet:       {&v1alpha1.AgentSet{ObjectMeta: bare(s.ObjectMeta), Spec: s.Spec}},
		theDaemonSet: {&appsv1.DaemonSet{ObjectMeta: bare(ds.ObjectMeta), Spec: ds.Spec}},
	}
	for _, a := range w.AgentsOf(set) {
		backup[theAgents] = append(backup[theAgents], &v1alpha1.Agent{ObjectMeta: bare(a.ObjectMeta), Spec: a.Spec})
	}
	var secrets corev1.SecretList
	if err := w.Client.List(w.Context(), &secrets, client.InNamespace(w.Namespace)); err != nil {
		w.Fatal(err)
	}
	for _, secret := range secrets.Items {
		kind := theTokens
		switch {
		case secret.Labels[v1alpha1.LabelAgentSetUID] != "":
			kind = theSessions
		case secret.Labels[v1alpha1.LabelAgentUID] == "":
			continue
		}
		backup[kind] = append(backup[kind], &corev1.Secret{ObjectMeta: bare(secret.ObjectMeta), Type: secret.Type, Data: secret.Data})
	}
	return backup
}

// lose deletes all objects of a backup. Without an operator the remote agents stay.
func lose(w *harness.World, backup map[string][]client.Object) {
	w.Helper()
	for _, objects := range backup {
		for _, object := range objects {
			if err := w.Client.Delete(w.Context(), object.DeepCopyObject().(client.Object)); client.IgnoreNotFound(err) != nil {
				w.Fatal(err)
			}
		}
	}
	w.Eventually("everything is deleted", func() error {
		for kind, objects := range backup {
			for _, object := range objects {
				found := object.DeepCopyObject().(client.Object)
				if err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(object), found); !apierrors.IsNotFound(err) {
					return fmt.Errorf("one of %s is there: %s (%w)", kind, object.GetName(), err)
				}
			}
		}
		return nil
	})
}

// loseCluster deletes all objects of a backup as if the cluster had ended, without a trace in Calyptia Cloud.
func loseCluster(w *harness.World, backup map[string][]client.Object) {
	w.Helper()
	w.Stop()
	for _, object := range backup[theAgents] {
		w.Change(object.GetName(), func(a *v1alpha1.Agent) { a.Finalizers = nil })
	}
	lose(w, backup)
	w.Start()
}

// restore creates the objects of a backup, kind by kind. Like Velero it skips what exists already.
func restore(w *harness.World, backup map[string][]client.Object, order ...string) {
	w.Helper()
	for _, kind := range order {
		for _, object := range backup[kind] {
			err := w.Client.Create(w.Context(), object.DeepCopyObject().(client.Object))
			if client.IgnoreAlreadyExists(err) != nil {
				w.Fatalf("restore %s %s: %v", kind, object.GetName(), err)
			}
		}
		if kind == theSet { // The operator reconciles it before the rest is restored.
			w.Eventually("the operator has seen the set", func() error {
				if set := w.GetSet("logs"); set.Status.ObservedGeneration != set.Generation {
					return fmt.Errorf("status %+v", set.Status)
				}
				return nil
			})
		}
	}
}

// Velero restores a namespace in any order. No agent is doubled or lost, and the sessions are those of the agents.
func TestAnAgentSetIsRestoredFromABackup(t *testing.T) {
	t.Parallel()
	for _, order := range [][]string{
		{theAgents, theSet, theDaemonSet, theTokens, theSessions},
		{theSet, theDaemonSet, theAgents, theTokens, theSessions},
		{theSessions, theTokens, theAgents, theSet, theDaemonSet},
		{theDaemonSet, theSet, theSessions, theTokens, theAgents},
		{theTokens, theSet, theSessions, theDaemonSet, theAgents},
		{theSessions, theSet, theDaemonSet, theAgents, theTokens},
		{theSet, theDaemonSet}, // The rest was not in the backup.
	} {
		for _, lives := range []bool{true, false} {
			name := strings.Join(order, " ")
			if lives {
				name += ", the remote agents live"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{})
				w.Nodes("a", "b", "c")
				w.AgentSet("logs", w.DaemonSet("fluent-bit"))
				w.SetReady("logs", 3)
				before := w.Remote()
				backup := backUp(w, "logs")
				if lives {
					loseCluster(w, backup)
				} else {
					lose(w, backup)
				}
				w.Cloud.ResetRequests()
				restore(w, backup, order...)
				w.SetReady("logs", 3)
				w.HasExactly("logs", keys(w, "a", "b", "c")...)
				posts := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents)
				if lives && posts != 0 || !lives && posts != len(before) {
					t.Errorf("%d registrations", posts)
				}
				set := w.GetSet("logs")
				w.Eventually("the Secret with the sessions is the set's", func() error { // Restored, it has all sessions before.
					if s := w.Secret("logs-sessions-0"); len(s.OwnerReferences) != 1 || s.OwnerReferences[0].UID != set.UID ||
						s.Labels[v1alpha1.LabelAgentSetUID] != string(set.UID) {
						return fmt.Errorf("it has %+v", s.ObjectMeta)
					}
					return nil
				})
			})
		}
	}
}

// An adopted agent has another machine ID than the one that its Agent's name gives: its Agent has to be in the backup, and
// to be there before the set.
func TestAdoptedAgentsAreRestoredFromABackup(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	theirs := w.Register(w.Node("a"), "machine-elsewhere-a")
	name := agentset.AgentName("logs", w.Node("a"))
	w.Apply(name, func(a *v1alpha1.Agent) {
		a.Labels, a.Spec.AgentID = map[string]string{v1alpha1.LabelAgentSet: "logs"}, theirs.ID
	})
	w.Ready(name)
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	backup := backUp(w, "logs")
	loseCluster(w, backup)
	w.Cloud.ResetRequests()
	restore(w, backup, theDaemonSet, theAgents, theSet)
	w.SetReady("logs", 2)
	w.HasExactly("logs", keys(w, "a", "b")...)
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 || w.Get(name).Status.ID != theirs.ID {
		t.Errorf("%d registrations, and the Agent has %s", n, w.Get(name).Status.ID)
	}
}

// A restored Secret keeps the sessions of the nodes that exist, so that a pod may start at once, and loses the others.
func TestRestoredSessionsStay(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	backup := backUp(w, "logs")
	loseCluster(w, backup)
	w.RemoveNode("b")
	var seen []string
	w.API.Before(func(r *http.Request) error {
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/logs-sessions-0") {
			ids, _ := w.StoredSessions(w.GetSet("logs"))
			seen = append(seen, ids[w.Node("a")])
		}
		return nil
	})
	restore(w, backup, theSessions, theDaemonSet, theSet, theAgents)
	w.SetReady("logs", 1)
	w.Eventually("only the session of the node is stored", func() error {
		if ids, _ := w.StoredSessions(w.GetSet("logs")); len(ids) != 1 || ids[w.Node("a")] == "" {
			return fmt.Errorf("sessions %v", ids)
		}
		return nil
	})
	w.Stop()
	if len(seen) == 0 || slices.Contains(seen, "") {
		t.Errorf("the sessions of a before each write: %q", seen)
	}
}
