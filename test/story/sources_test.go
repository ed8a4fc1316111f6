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
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestRawConfigFromASource(t *testing.T) {
	fromConfigMap := &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "pipeline", Key: "fluent-bit.conf"}}
	fromSecret := &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "pipeline", Key: "fluent-bit.conf"}}
	rows := []struct {
		name   string
		source *v1alpha1.KeySource
		write  func(w *harness.World, key, value string)
	}{
		{"ConfigMap", fromConfigMap, func(w *harness.World, key, value string) { w.ConfigMap("pipeline", key, value) }},
		{"Secret", fromSecret, func(w *harness.World, key, value string) { w.SetSecret("pipeline", map[string]string{key: value}) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.RawConfig, a.Spec.RawConfigFrom = "", row.source })
			w.NotReady("web", v1alpha1.ReasonSourceNotFound, "spec.rawConfigFrom", row.name, "pipeline", "create it")
			row.write(w, "other.conf", "x")
			w.NotReady("web", v1alpha1.ReasonSourceNotFound, "fluent-bit.conf", "add it")
			row.write(w, "fluent-bit.conf", "")
			w.Stalled("web", v1alpha1.ReasonSourceInvalid, "fluent-bit.conf", "empty")
			if n := len(w.Remote()); n != 0 {
				t.Fatalf("%d agents were registered without a configuration", n)
			}
			row.write(w, "fluent-bit.conf", "[INPUT]\n    name cpu\n")
			w.Ready("web")
			if remote := w.One("web"); remote.RawConfig != "[INPUT]\n    name cpu\n" {
				t.Errorf("rawConfig: %q", remote.RawConfig)
			}
			row.write(w, "fluent-bit.conf", "[INPUT]\n    name mem\n")
			w.Eventually("the change of the source is applied", func() error {
				if got := w.Remote()[0].RawConfig; got != "[INPUT]\n    name mem\n" {
					return fmt.Errorf("rawConfig is %q", got)
				}
				return nil
			})
			w.Ready("web")
		})
	}
}

func TestBinarySourceIsRefused(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	s := w.TokenSecret("pipeline", "")
	s.StringData, s.Data = nil, map[string][]byte{"conf": {0xff, 0xfe, 0x00}}
	w.Create(s)
	w.Apply("web", func(a *v1alpha1.Agent) {
		a.Spec.RawConfig = ""
		a.Spec.RawConfigFrom = &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "pipeline", Key: "conf"}}
	})
	w.Stalled("web", v1alpha1.ReasonSourceInvalid, "UTF-8")
}

func TestSecretIsRepaired(t *testing.T) {
	rows := []struct {
		name   string
		damage func(w *harness.World, s *corev1.Secret) error
	}{
		{"deleted", func(w *harness.World, s *corev1.Secret) error { return w.Client.Delete(context.Background(), s) }},
		{"emptied", func(w *harness.World, s *corev1.Secret) error {
			s.Data = nil
			return w.Client.Update(context.Background(), s)
		}},
		{"token removed", func(w *harness.World, s *corev1.Secret) error {
			delete(s.Data, v1alpha1.TokenKey)
			return w.Client.Update(context.Background(), s)
		}},
		{"token edited", func(w *harness.World, s *corev1.Secret) error {
			s.Data[v1alpha1.TokenKey] = []byte("edited-by-hand")
			return w.Client.Update(context.Background(), s)
		}},
		{"id edited", func(w *harness.World, s *corev1.Secret) error {
			s.Data[v1alpha1.IDKey] = []byte("5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11")
			return w.Client.Update(context.Background(), s)
		}},
		{"owner stripped", func(w *harness.World, s *corev1.Secret) error {
			s.OwnerReferences = nil
			return w.Client.Update(context.Background(), s)
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			w.Ready(w.Apply("web"))
			if err := row.damage(w, w.Secret("web-token")); err != nil {
				t.Fatal(err)
			}
			w.Eventually("the Secret is repaired", func() error {
				s := w.Secret("web-token")
				if s == nil {
					return errors.New("it is not there")
				}
				remote := w.Remote()[0]
				if string(s.Data["id"]) != remote.ID || !cloud.NewToken(string(s.Data["token"])).Equal(remote.Token) || len(s.OwnerReferences) != 1 {
					return fmt.Errorf("it has id %q, %d owners", s.Data["id"], len(s.OwnerReferences))
				}
				return nil
			})
			w.Ready("web")
			w.One("web")
		})
	}
}

func TestMaskedTokens(t *testing.T) {
	for _, mask := range []string{"", "redacted", "********"} {
		t.Run(fmt.Sprintf("shown as %q", mask), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{MaskTokens: true, MaskAs: mask})
			// The response to the registration has the token, and a masked read does not replace it.
			w.Ready(w.Apply("web"))
			w.Poke("web")
			w.Ready("web")
			w.One("web")
			// If lost, only the user can restore it.
			token := bytes.Clone(w.Secret("web-token").Data["token"])
			if err := w.Client.Delete(context.Background(), w.Secret("web-token")); err != nil {
				t.Fatal(err)
			}
			w.Stalled("web", v1alpha1.ReasonTokenUnavailable, "web-token", "token")
			s := w.Secret("web-token")
			if _, there := s.Data["token"]; there || string(s.Data["id"]) != w.Remote()[0].ID {
				t.Errorf("the Secret has keys %v", s.Data)
			}
			// A token as some editors paste it.
			s.Data["token"] = slices.Concat([]byte("\ufeff"), token, []byte("\r\n"))
			if err := w.Client.Update(context.Background(), s); err != nil {
				t.Fatal(err)
			}
			w.Ready("web")
			w.One("web")
			if s := w.Secret("web-token"); !bytes.Equal(s.Data["token"], token) {
				t.Error("the Secret does not have only the token")
			}
		})
	}
}

func TestTokenSurvivesAFailedWriteOfItsSecret(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{MaskTokens: true})
	w.API.FailOnce(http.MethodPost, "/secrets")
	w.Ready(w.Apply("web"))
	w.One("web")
}

func TestRenamedSecret(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "elsewhere"} })
	w.Eventually("the new Secret is there and the old one gone", func() error {
		if w.Secret("elsewhere") == nil || w.Secret("web-token") != nil {
			return errors.New("not yet")
		}
		return nil
	})
	a := w.Ready("web")
	w.One("web")
	if a.Status.TokenSecretRef.Name != "elsewhere" {
		t.Errorf("status names %q", a.Status.TokenSecretRef.Name)
	}
}

func TestSessionSecretComesAndGoes(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} }))
	s := w.Secret("web-session")
	if s == nil || !bytes.Contains(s.Data["session.CALYPTIA"], []byte(w.One("web").ID)) {
		t.Fatal("the session lacks the agent's id")
	}
	for key, value := range s.Data {
		if bytes.Contains(value, []byte(w.Token.Reveal())) {
			t.Errorf("%s holds the project token", key)
		}
	}
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = nil })
	w.Eventually("the session is deleted", func() error {
		if w.Secret("web-session") != nil {
			return errors.New("it is there")
		}
		return nil
	})
	w.Ready("web")
}
