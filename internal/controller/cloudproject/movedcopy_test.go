/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// A CloudProject moves to another installation before all that its spec refers to is there. The copy holds the token of the former one,
// which the other server must not get.
func TestTheCopyIsNotSentToAnotherURL(t *testing.T) {
	t.Parallel()
	const newToken, newCA = "token-of-the-other-server", "ca-of-the-other-server"
	move := func(cp *v1alpha1.CloudProject) { cp.Spec.TokenSecretRef.Name = newToken }
	for name, row := range map[string]struct {
		change  func(*v1alpha1.CloudProject)
		there   bool // the new token
		missing string
	}{
		"the token is not there yet": {move, false, newToken},
		"the CA is not there yet": {func(cp *v1alpha1.CloudProject) {
			move(cp)
			cp.Spec.CABundle = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: newCA, Key: "ca.crt"}}
		}, true, newCA},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cp, _ := w.withCopy()
			other := cloudtest.New(cloudtest.Settings{})
			server := other.Start()
			t.Cleanup(server.Close)
			fresh := other.AddProject(otherID)
			w.hide(fresh.Reveal())
			if row.there {
				w.SetSecret(newToken, map[string]string{"token": fresh.Reveal()})
			}
			w.Edit(cp, func() {
				cp.Spec.URL = server.URL
				row.change(cp)
			})
			unseen := func() {
				t.Helper()
				for _, r := range other.Requests() {
					if strings.Contains(fmt.Sprint(r.Header), w.token.Reveal()) {
						t.Fatalf("%s %s went to the new URL with the token of the former installation", r.Method, r.Path)
					}
				}
			}
			w.becomes(cp, waitingFor(v1alpha1.ReasonSourceNotFound, row.missing))
			unseen()
			w.restart()
			w.Edit(cp, func() { cp.Spec.CABundle = nil })
			w.SetSecret(newToken, map[string]string{"token": fresh.Reveal()})
			w.becomes(cp, verified)
			unseen()
			w.eventually("the copy is of the new URL", func() bool {
				return string(w.Secret(copied).Data["token"]) == fresh.Reveal() && servesAt(w.Secret(copied), cp)
			})
		})
	}
}

// Another server rejects the token. The copy is still that of the former one, and serves there.
func TestTheCopyServesWhereItsTokenWasAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, _ := w.withCopy()
	other := cloudtest.New(cloudtest.Settings{}).Start()
	t.Cleanup(other.Close)
	w.Edit(cp, func() { cp.Spec.URL = other.URL })
	w.becomes(cp, stalledBy(v1alpha1.ReasonUnauthorized))
	w.deleteSecret(tokenName)
	w.becomes(cp, waitingFor(v1alpha1.ReasonSourceNotFound, tokenName, "of another URL"))
	w.Edit(cp, func() { cp.Spec.URL = w.url + "/" })
	w.becomes(cp, waitingFor(v1alpha1.ReasonSourceNotFound, tokenName))
	w.eventually("the copy serves", func() bool { _, err := w.projects.Get(cp, cp.Namespace); return err == nil }, w.logged)
}

// The token is replaced while the operator is down. Only at the same URL does it replace the token in the copy.
func TestLoad_TokenReplacedMeanwhile_IsRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, _ := w.withCopy()
	renewed := func() bool {
		c, err := loader{w.Client, copies{w.Client, w.Client}}.load(t.Context(), cp)
		noError(t, err)
		return c.Renewed
	}
	if renewed() {
		t.Error("the token is that of the copy")
	}
	w.restart(func() {
		w.putToken(w.cloud.AddProject(projectID).Reveal())
		if !renewed() {
			t.Error("the token is not that of the copy")
		}
		cp.Spec.URL = "http://elsewhere.example.com"
		if renewed() {
			t.Error("the token of the copy was used at another URL")
		}
	})
}

func TestServesAt(t *testing.T) {
	const here, elsewhere = "https://here.example.com", "https://elsewhere.example.com"
	for name, row := range map[string]struct {
		copy, status string
		want         bool
	}{
		"the same URL":                         {here, "", true},
		"the same URL in another spelling":     {"https://HERE.example.com:443/", elsewhere, true},
		"another URL":                          {elsewhere, here, false},
		"an older copy, verified here":         {"", here + "/", true},
		"an older copy, verified elsewhere":    {"", elsewhere, false},
		"an older copy, restored alone":        {"", "", false},
		"a copy with a mark that says nothing": {"none", here, false},
	} {
		cp := &v1alpha1.CloudProject{Spec: v1alpha1.CloudProjectSpec{URL: here}, Status: v1alpha1.CloudProjectStatus{URL: row.status}}
		secret := &corev1.Secret{}
		if row.copy != "" {
			metav1.SetMetaDataAnnotation(&secret.ObjectMeta, v1alpha1.AnnotationEndpoint, row.copy)
		}
		if got := servesAt(secret, cp); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
