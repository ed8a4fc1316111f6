/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// withSession requests a session in the named Secret.
func withSession(name string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: name} }
}

// fluentBit starts a Fluent Bit with only the Secret, and returns the agent that it runs as.
func fluentBit(w *harness.World, secret string) (*cloudtest.FluentBit, error) {
	s := w.Secret(secret)
	if s == nil {
		return nil, fmt.Errorf("there is no Secret %s", secret)
	}
	f, err := cloudtest.NewFluentBit(s.Data[tokensecret.SessionKey], s.Data[tokensecret.ClassicKey])
	if err != nil {
		return nil, err
	}
	return f, f.Start(context.Background())
}

// runs checks that a Fluent Bit with the Secret runs as the only remote agent, and that the Agent owns the Secret unless
// it retains.
func runs(w *harness.World, secret string) error {
	f, err := fluentBit(w, secret)
	if err != nil {
		return err
	}
	remote := w.Remote()
	if len(remote) != 1 || f.ID != remote[0].ID || f.MachineID != remote[0].MachineID {
		return fmt.Errorf("it runs as %s on %s, the cloud has %+v", f.ID, f.MachineID, remote)
	}
	owners := w.Secret(secret).OwnerReferences
	if owned := len(owners) == 1 && owners[0].UID == w.Get("web").UID; owned == harness.Retains(w.Get("web")) {
		return fmt.Errorf("the Secret is owned by %+v", owners)
	}
	return nil
}

// someSession is a valid session of another agent.
func someSession(t *testing.T, w *harness.World, id string) map[string]string {
	t.Helper()
	return map[string]string{
		tokensecret.SessionKey: strings.Replace(string(w.Secret("web-session").Data[tokensecret.SessionKey]), w.Get("web").Status.ID, id, 1),
	}
}

func TestSessionIsRepaired(t *testing.T) {
	t.Parallel()
	update := func(change func(*corev1.Secret)) func(*harness.World, *corev1.Secret) error {
		return func(w *harness.World, s *corev1.Secret) error {
			change(s)
			return w.Client.Update(context.Background(), s)
		}
	}
	rows := []struct {
		name   string
		damage func(*harness.World, *corev1.Secret) error
	}{
		{"deleted", func(w *harness.World, s *corev1.Secret) error { return w.Client.Delete(context.Background(), s) }},
		{"emptied", update(func(s *corev1.Secret) { s.Data = nil })},
		{"session removed", update(func(s *corev1.Secret) { delete(s.Data, tokensecret.SessionKey) })},
		{"session edited", update(func(s *corev1.Secret) { s.Data[tokensecret.SessionKey][30] ^= 0xff })},
		{"section edited", update(func(s *corev1.Secret) { s.Data[tokensecret.ClassicKey] = []byte("[CUSTOM]\n    name calyptia\n") })},
		{"owner stripped", update(func(s *corev1.Secret) { s.OwnerReferences = nil })},
	}
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", withSession("")))
	good := w.Secret("web-session").Data
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := w.For(t)
			token := w.Secret("web-token").ResourceVersion
			if err := row.damage(w, w.Secret("web-session")); err != nil {
				t.Fatal(err)
			}
			w.Cloud.ResetRequests()
			w.Eventually("the session is repaired", func() error {
				s := w.Secret("web-session")
				if s == nil || len(s.OwnerReferences) != 1 {
					return errors.New("it does not exist or has no owner")
				}
				for key, value := range good {
					if !bytes.Equal(s.Data[key], value) {
						return fmt.Errorf("%s is %q", key, s.Data[key])
					}
				}
				return nil
			})
			if calls := w.Cloud.Requests(); len(calls) != 0 {
				t.Errorf("calls: %+v, want none: the token is known", calls)
			}
			if w.Secret("web-token").ResourceVersion != token {
				t.Error("the token Secret was written")
			}
			if err := runs(w, "web-session"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSessionInAnotherOwnersSecret(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.SetSecret("taken", map[string]string{"password": "theirs"})
	w.Apply("web", withSession("taken"))
	w.Stalled("web", v1alpha1.ReasonSecretConflict, "taken", "spec.sessionSecretRef", "delete")
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
		t.Errorf("%d registrations, want none: the session has no Secret", n)
	}
	if s := w.Secret("taken"); len(s.Data) != 1 || string(s.Data["password"]) != "theirs" || len(s.Labels) != 0 {
		t.Errorf("the Secret was touched: %+v", s)
	}
	// Its deletion triggers a reconciliation of the Agent.
	if err := w.Client.Delete(context.Background(), w.Secret("taken")); err != nil {
		t.Fatal(err)
	}
	w.Ready("web")
	if err := runs(w, "taken"); err != nil {
		t.Error(err)
	}
}

func TestRenamedSession(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", withSession("")))
	w.SetSecret("taken", map[string]string{"password": "theirs"})
	// If the new Secret cannot be created, the old one stays.
	w.Change("web", withSession("taken"))
	w.Stalled("web", v1alpha1.ReasonSecretConflict, "taken")
	if err := runs(w, "web-session"); err != nil {
		t.Error(err)
	}
	w.API.Reset()
	w.Change("web", withSession("elsewhere"))
	a := w.Ready("web")
	if a.Status.SessionSecretRef == nil || a.Status.SessionSecretRef.Name != "elsewhere" {
		t.Errorf("status names %+v", a.Status.SessionSecretRef)
	}
	if err := runs(w, "elsewhere"); err != nil {
		t.Error(err)
	}
	if w.Secret("web-session") != nil {
		t.Error("the old session is there")
	}
	var order []string
	writes, _ := w.API.Writes()
	for _, write := range writes {
		if strings.Contains(write.Path, "/secrets") {
			order = append(order, write.Method)
		}
	}
	if got := strings.Join(order, " "); got != "POST DELETE" {
		t.Errorf("the Secrets were written by %q, want the new one first", got)
	}
}

func TestSwappedSecretsKeepAMaskedToken(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{MaskTokens: true, MaskAs: "redacted"})
	w.Ready(w.Apply("web", withSession("")))
	names := func(token, session string) {
		t.Helper()
		w.Change("web", func(a *v1alpha1.Agent) {
			a.Spec.TokenSecretRef, a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: token}, &v1alpha1.LocalSecretReference{Name: session}
		})
		w.Ready("web")
		w.One("web")
		if err := runs(w, session); err != nil {
			t.Error(err)
		}
		if got := w.Secret(token).Data; len(got) != 2 {
			t.Errorf("the token Secret holds %d keys, want id and token", len(got))
		}
		if got := w.Secret(session).Data; len(got) != 3 {
			t.Errorf("the session Secret holds %d keys, want three", len(got))
		}
	}
	names("elsewhere", "web-session")
	if w.Secret("web-token") != nil {
		t.Error("the old token Secret is there")
	}
	names("web-session", "elsewhere")
}

func TestNewRegistrationRenewsTheSession(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	before := w.Ready(w.Apply("web", withSession(""))).Status.ID
	old, err := fluentBit(w, "web-session")
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Report(context.Background()); err != nil {
		t.Fatal(err)
	}
	synced(w)
	w.Becomes("web", v1alpha1.ConditionReporting, "True", v1alpha1.ReasonMetricsReceived)
	w.Cloud.Remove(before)
	if err := old.Report(context.Background()); err == nil {
		t.Error("Calyptia Cloud accepted metrics of a deleted agent")
	}
	w.Poke("web")
	w.Eventually("a Fluent Bit that starts runs as the new agent", func() error { return runs(w, "web-session") })
	w.Eventually("the status names the new agent", func() error {
		if id := w.Get("web").Status.ID; id == before || id == "" {
			return fmt.Errorf("it names %q", id)
		}
		return nil
	})
	a := w.Ready("web")
	if reporting := harness.Condition(a, v1alpha1.ConditionReporting); reporting.Status == "True" {
		t.Errorf("the new agent is reporting already: %s", harness.Describe(a))
	}
}

func TestRetainedSessionIsReused(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	retain := func(a *v1alpha1.Agent) { withSession("")(a); a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }
	id := w.Ready(w.Apply("web", retain)).Status.ID
	running, err := fluentBit(w, "web-session")
	if err != nil {
		t.Fatal(err)
	}
	w.Delete("web")
	w.Gone("web")
	if owners := w.Secret("web-session").OwnerReferences; len(owners) != 0 {
		t.Errorf("the session is owned by %+v and is deleted with it", owners)
	}
	if err := running.Report(context.Background()); err != nil {
		t.Error(err)
	}
	if a := w.Ready(w.Apply("web", retain)); a.Status.ID != id {
		t.Errorf("registered %s, want the retained %s", a.Status.ID, id)
	}
	if err := runs(w, "web-session"); err != nil {
		t.Error(err)
	}
}

func TestSessionWithoutOwnerOfAnotherAgentIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", withSession("")))
	w.SetSecret("other", someSession(t, w, w.Register("legacy", "machine-1").ID))
	s := w.Secret("other")
	s.Labels = map[string]string{v1alpha1.LabelAgentUID: "3f2c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"}
	if err := w.Client.Update(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	w.Change("web", withSession("other"))
	w.Stalled("web", v1alpha1.ReasonSecretConflict, "other", "spec.sessionSecretRef")
	if now := w.Secret("other"); now.ResourceVersion != s.ResourceVersion {
		t.Error("it was written")
	}
}

func TestSessionWaitsForItsToken(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{MaskTokens: true, MaskRegister: true, MaskAs: "redacted"})
	w.Apply("web", withSession(""))
	w.Stalled("web", v1alpha1.ReasonTokenUnavailable, "web-token")
	if w.Secret("web-session") != nil {
		t.Error("there is a session without a token")
	}
	s := w.Secret("web-token")
	s.Data[v1alpha1.TokenKey] = []byte(w.Remote()[0].Token.Reveal())
	if err := w.Client.Update(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	w.Ready("web")
	if err := runs(w, "web-session"); err != nil {
		t.Error(err)
	}
}

// If Calyptia Cloud moves to another URL, the session is updated, even if the first write fails.
func TestSessionFollowsTheURL(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", withSession("")))
	moved := w.Cloud.Start()
	t.Cleanup(moved.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(moved.URL, "http://"), ":")
	w.API.FailOnce(http.MethodPut, "/secrets/web-session")
	var cp v1alpha1.CloudProject
	key := client.ObjectKey{Namespace: w.Namespace, Name: "calyptia"}
	if err := w.Client.Get(t.Context(), key, &cp); err != nil {
		t.Fatal(err)
	}
	base := cp.DeepCopy()
	cp.Spec.URL = moved.URL
	if err := w.Client.Patch(t.Context(), &cp, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the session has the new URL", func() error {
		if text := string(w.Secret("web-session").Data[tokensecret.ClassicKey]); !strings.Contains(text, port) {
			return errors.New(text)
		}
		return nil
	})
	if err := runs(w, "web-session"); err != nil {
		t.Error(err)
	}
}

// A rotated token whose first write fails is not lost.
func TestARotatedTokenOutlivesAFailedWrite(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true})
	id := w.Ready(w.Apply("web")).Status.ID
	fresh := cloud.NewToken("a-rotated-token")
	w.API.FailOnce(http.MethodPut, "/secrets/web-token")
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.Token = fresh })
	w.Clock.Step(12 * time.Minute)
	w.Change("web", func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, "example.com/look", "now") })
	w.Eventually("the Secret has the new token", func() error {
		if !fresh.Equal(cloud.NewToken(string(w.Secret("web-token").Data[v1alpha1.TokenKey]))) {
			return errors.New("it has the former one")
		}
		return nil
	})
}
