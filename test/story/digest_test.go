/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

const secretConfig = "[OUTPUT]\n    name http\n    http_passwd 1234\n"

func fromSecret(a *v1alpha1.Agent) {
	a.Spec.RawConfig = ""
	a.Spec.RawConfigFrom = &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "pipeline", Key: "k"}}
}

func digest(w *harness.World) string {
	return w.Get("web").Status.Applied.Fields[v1alpha1.FieldRawConfig]
}

// A user who may read the Agent but not the Secret must not be able to test guesses of the configuration.
func TestTheDigestOfASecretCannotConfirmGuesses(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2 {
		w := harness.New(t, cloudtest.Settings{})
		w.SetSecret("pipeline", map[string]string{"k": secretConfig})
		w.Ready(w.Apply("web", fromSecret))
		got := digest(w)
		if got == "" || strings.Contains(got, cloud.Hash(secretConfig)) || seen[got] {
			t.Errorf("the digest is %q", got)
		}
		seen[got] = true
		if key := w.Secret("calyptia-credentials").Data[v1alpha1.DigestKeyKey]; len(key) != 32 {
			t.Errorf("the key has %d bytes", len(key))
		}
	}
}

// passed advances the clock to the next check of the Agent and waits until it is done.
func passed(w *harness.World, done func() error) {
	w.Helper()
	w.Clock.Step(11 * time.Minute)
	w.Change("web", func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, "note", time.Now().String()) })
	w.Eventually("the check is done", done)
	w.Ready("web")
}

func TestADigestThatCannotBeComparedChangesNothing(t *testing.T) {
	for _, row := range []struct {
		name string
		// damage happens while no operator runs.
		damage func(*harness.World)
		gets   int // single reads of the remote agent, at most
	}{
		{"the key is as it was", func(*harness.World) {}, 0},
		{"the key is lost", func(w *harness.World) {
			s := w.Secret("calyptia-credentials")
			delete(s.Data, v1alpha1.DigestKeyKey)
			if err := w.Client.Update(context.Background(), s); err != nil {
				w.Fatal(err)
			}
		}, 1},
		{"the digest was made without a key", func(w *harness.World) {
			a := w.Get("web")
			base := a.DeepCopy()
			a.Status.Applied.Fields[v1alpha1.FieldRawConfig] = cloud.Hash(secretConfig)
			if err := w.Client.Status().Patch(context.Background(), a, client.MergeFrom(base)); err != nil {
				w.Fatal(err)
			}
		}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			w.SetSecret("pipeline", map[string]string{"k": secretConfig})
			w.Ready(w.Apply("web", fromSecret))
			w.Check("web") // What a registration does not return is read and written.
			before := digest(w)
			w.Stop()
			row.damage(w)
			damaged := digest(w)
			w.Cloud.ResetRequests()
			w.API.Reset()
			w.Start()
			w.Eventually("the CloudProject is verified", func() error {
				if w.Cloud.Count(http.MethodGet, cloudtest.RouteList) == 0 || len(w.Secret("calyptia-credentials").Data[v1alpha1.DigestKeyKey]) != 32 {
					return errors.New("not yet")
				}
				return nil
			})
			passed(w, func() error {
				if got := digest(w); row.name != "the key is as it was" && got == damaged {
					return fmt.Errorf("the digest is still %s", got)
				}
				return nil
			})
			if got := digest(w); len(got) != len(before) || (got == before) != (row.name != "the key is lost") {
				t.Errorf("the digest was %s and is %s", before, got)
			}
			if n := w.Cloud.Count(http.MethodPatch, ""); n != 0 {
				t.Errorf("%d PATCHes", n)
			}
			if n := w.Cloud.Count(http.MethodGet, cloudtest.RouteAgent); n > row.gets {
				t.Errorf("%d reads of the remote agent, want %d", n, row.gets)
			}
			// Changes are still sent.
			w.SetSecret("pipeline", map[string]string{"k": secretConfig + "# 2\n"})
			w.Eventually("the change is sent", func() error {
				if got := w.Remote()[0].RawConfig; got != secretConfig+"# 2\n" {
					return fmt.Errorf("rawConfig is %q", got)
				}
				return nil
			})
		})
	}
}
