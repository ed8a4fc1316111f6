/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// backup is a backup of an Agent and its Secrets: no status, and no owner of a Secret.
type backup struct {
	agent   *v1alpha1.Agent
	secrets []*corev1.Secret
}

func backUp(w *harness.World, name string) backup {
	w.Helper()
	bare := func(m metav1.ObjectMeta) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, Labels: m.Labels, Annotations: m.Annotations}
	}
	a := w.Get(name)
	b := backup{agent: &v1alpha1.Agent{ObjectMeta: bare(a.ObjectMeta), Spec: a.Spec}}
	for _, secret := range tokensecret.Names(a) {
		s := w.Secret(secret)
		b.secrets = append(b.secrets, &corev1.Secret{ObjectMeta: bare(s.ObjectMeta), Data: s.Data})
	}
	return b
}

// Velero restores a deleted namespace, and so do the commands of docs/upgrade-uninstall.md: the Secrets return with our
// label and without an owner, and name a remote agent that does not exist. The operator rewrites its own Secrets, and no
// others.
func TestSecretsRestoredFromABackup(t *testing.T) {
	token := func(b backup) *corev1.Secret { return b.secrets[0] }
	session := func(b backup) *corev1.Secret { return b.secrets[1] }
	rows := []struct {
		name     string
		settings cloudtest.Settings
		// change changes the restored objects.
		change func(*harness.World, backup)
		// stalled says that the Agent has to stall; its message names the Secret.
		stalled string
		keeps   bool // the remote agent was not deleted with the namespace
	}{
		{name: "as Velero restores them"},
		{name: "as Velero restores them, where nothing is listed", settings: cloudtest.Settings{NoList: true}},
		{name: "as Velero restores them, where 410 is the response", settings: cloudtest.Settings{GoneAfterDelete: true}},
		{name: "the remote agent lives", keeps: true},
		{name: "the remote agent lives, where nothing is listed", settings: cloudtest.Settings{NoList: true}, keeps: true},
		{name: "the Secrets are empty", change: func(_ *harness.World, b backup) { token(b).Data, session(b).Data = nil, nil }},
		{name: "the token Secret holds another key", stalled: "web-token",
			change: func(_ *harness.World, b backup) { token(b).Data["ca.crt"] = []byte("pem") }},
		{name: "the token Secret holds another key alone", stalled: "web-token",
			change: func(_ *harness.World, b backup) { token(b).Data = map[string][]byte{"password": []byte("theirs")} }},
		{name: "the session Secret holds another key", stalled: "web-session",
			change: func(_ *harness.World, b backup) { session(b).Data["password"] = []byte("theirs") }},
		{name: "the token Secret names a living agent with another machine ID", stalled: "web-token",
			change: func(w *harness.World, b backup) {
				token(b).Data[v1alpha1.IDKey] = []byte(w.Register("legacy", "machine-9").ID)
			}},
		{name: "the session Secret is of a living agent with another machine ID", stalled: "web-session",
			change: func(w *harness.World, b backup) {
				old := string(token(b).Data[v1alpha1.IDKey])
				id := w.Register("legacy", "machine-9").ID
				session(b).Data[tokensecret.SessionKey] = bytes.ReplaceAll(session(b).Data[tokensecret.SessionKey], []byte(old), []byte(id))
			}},
		{name: "the token Secret has no label", stalled: "web-token",
			change: func(_ *harness.World, b backup) { token(b).Labels = nil }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings)
			w.Ready(w.Apply("web", withSession("")))
			b := backUp(w, "web")
			if row.keeps {
				w.Change("web", func(a *v1alpha1.Agent) {
					metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationOrphan, "true")
				})
			}
			w.Delete("web")
			w.Gone("web")
			for _, secret := range b.secrets {
				w.Eventually("the garbage collector deletes the Secret", func() error {
					if w.Secret(secret.Name) != nil {
						return fmt.Errorf("%s is there", secret.Name)
					}
					return nil
				})
			}
			if row.change != nil {
				row.change(w, b)
			}
			before := len(w.Remote())
			w.Cloud.ResetRequests()
			for _, secret := range b.secrets {
				w.Create(secret)
			}
			w.Create(b.agent)
			if row.stalled != "" {
				w.Stalled("web", v1alpha1.ReasonSecretConflict, row.stalled)
				if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
					t.Errorf("%d registrations, want none", n)
				}
				if len(w.Remote()) != before {
					t.Errorf("%d remote agents, want the %d from before", len(w.Remote()), before)
				}
				now := w.Secret(row.stalled)
				for _, secret := range b.secrets {
					if secret.Name == row.stalled && now.ResourceVersion != secret.ResourceVersion {
						t.Error("the Secret was touched")
					}
				}
				return
			}
			w.Ready("web")
			w.One("web")
			if err := runs(w, "web-session"); err != nil {
				t.Error(err)
			}
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); (n == 0) != row.keeps || n > 1 {
				t.Errorf("%d registrations", n)
			}
		})
	}
}

// The Secret may be in the wrong place instead: it may be the only copy of the token of an agent in another cluster.
func TestARestoredSecretIsNotOverwrittenBecauseOfAProxy(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	b := backUp(w, "web")
	w.Delete("web")
	w.Gone("web")
	w.Eventually("the garbage collector deletes the Secret", func() error {
		if w.Secret("web-token") != nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
	end := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: 404, Body: "<html>Not Found</html>"})
	w.Create(b.secrets[0])
	w.Create(b.agent)
	w.NotReady("web", v1alpha1.ReasonInvalidResponse)
	if s := w.Secret("web-token"); s.ResourceVersion != b.secrets[0].ResourceVersion {
		t.Error("the Secret was touched")
	}
	end()
	w.Ready("web")
	w.One("web")
	if err := w.Client.Delete(context.Background(), w.Get("web")); err != nil {
		t.Fatal(err)
	}
}
