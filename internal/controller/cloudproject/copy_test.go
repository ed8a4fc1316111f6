/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

const copied = "main-credentials"

// withCopy returns a verified CloudProject and the copy of its credentials.
func (w *world) withCopy() (*v1alpha1.CloudProject, *corev1.Secret) {
	w.Helper()
	cp := w.becomes(w.create(), verified)
	secret := w.Secret(copied)
	if secret == nil {
		w.Fatal("a verified CloudProject has no copy of its credentials")
	}
	return cp, secret
}

func TestTheCopyIsTheOperatorsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, secret := w.withCopy()
	got := secret.ObjectMeta
	want := metav1.ObjectMeta{
		Labels: map[string]string{
			v1alpha1.LabelCloudProjectUID: string(cp.UID), "app.kubernetes.io/managed-by": "calyptia-agent-operator",
		},
		Finalizers: []string{v1alpha1.CredentialsFinalizer},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "cloud.calyptia.com/v1alpha1", Kind: "CloudProject", Name: "main", UID: cp.UID,
			Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(false),
		}},
	}
	got = metav1.ObjectMeta{Labels: got.Labels, Finalizers: got.Finalizers, OwnerReferences: got.OwnerReferences}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	key := secret.Data[v1alpha1.DigestKeyKey]
	if len(key) != connection.DigestKeySize || bytes.Equal(key, make([]byte, connection.DigestKeySize)) {
		t.Errorf("the digest key has %d bytes", len(key))
	}
	if diff := cmp.Diff(map[string][]byte{"token": []byte(w.token.Reveal()), v1alpha1.DigestKeyKey: key}, secret.Data); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func TestTheCopyIsUpdatedOnlyWithAcceptedCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, first := w.withCopy()
	key := string(first.Data[v1alpha1.DigestKeyKey])
	if len(key) != 32 {
		t.Errorf("the key has %d bytes", len(key))
	}

	w.hide("wrong-canary-0123456789abcdef")
	w.putToken("wrong-canary-0123456789abcdef")
	w.becomes(cp, stalledBy(v1alpha1.ReasonUnauthorized))
	w.stays("the good copy is kept", func() bool { return string(w.Secret(copied).Data["token"]) == w.token.Reveal() })

	fresh := w.cloud.AddProject(projectID)
	w.hide(fresh.Reveal())
	w.putToken(fresh.Reveal())
	w.becomes(cp, verified)
	w.eventually("the new token in the copy", func() bool { return string(w.Secret(copied).Data["token"]) == fresh.Reveal() })
	if string(w.Secret(copied).Data[v1alpha1.DigestKeyKey]) != key {
		t.Error("with another token the digests of all configurations would be others")
	}
	w.restart()
	w.eventually("the key is the same after a restart", func() bool {
		p := w.projects.Lookup(cp.UID)
		return p != nil && string(p.DigestKey()) == key
	})
}

func TestTheCopyIsRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, secret := w.withCopy()
	w.Edit(secret, func() {
		secret.Labels, secret.Finalizers = nil, nil
		secret.Data = map[string][]byte{"token": []byte("edited")}
	})
	w.eventually("the repair", func() bool {
		now := w.Secret(copied)
		return string(now.Data["token"]) == w.token.Reveal() && len(now.Finalizers) == 1 && len(now.Data[v1alpha1.DigestKeyKey]) == 32 &&
			now.Labels[v1alpha1.LabelCloudProjectUID] == string(cp.UID)
	}, w.logged)
}

func TestAForeignSecretIsNotTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SetSecret(copied, map[string]string{"token": "foreign"})
	foreign := w.Secret(copied)
	cp := w.becomes(w.create(), stalledBy(v1alpha1.ReasonSecretConflict))
	if diff := cmp.Diff(foreign, w.Secret(copied)); diff != "" {
		t.Errorf("the foreign Secret was changed:\n%s", diff)
	}
	// Until the registry has it, no Agent can use it at all.
	w.eventually("the project is in the registry", func() bool { return w.projects.Lookup(cp.UID) != nil })
	p := w.projects.Lookup(cp.UID)
	if p.RegistrationPaused() == nil {
		t.Error("Agents may be registered although their deletion is not safe")
	}
	w.deleteSecret(copied)
	w.becomes(cp, verified)
	if err := p.RegistrationPaused(); err != nil {
		t.Errorf("registration stays paused: %v", err)
	}
}

func TestADeletedCopyIsRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, before := w.withCopy()
	w.deleteSecret(copied)
	w.eventually("a new copy", func() bool {
		now := w.Secret(copied)
		return now != nil && now.UID != before.UID && now.DeletionTimestamp == nil
	}, w.logged)
}

// While the API has not accepted the token of the source, the deleted copy is the last place of the good token: it is kept, and serves.
func TestADeletedCopyIsNotRenewedWithoutAcceptedCredentials(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault cloudtest.Fault
		want  expect
	}{
		{"rejected", cloudtest.Fault{Status: http.StatusUnauthorized, Body: `{"error":"invalid token"}`}, stalledBy(v1alpha1.ReasonUnauthorized)},
		{"neither accepted nor rejected", cloudtest.Fault{Route: cloudtest.RouteAgent, Status: http.StatusBadRequest, Body: `{"error":"invalid ID"}`},
			unverified()},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cp, before := w.withCopy()
			agent := w.registerRemote(cp)
			const wrong = "wrong-canary-0123456789abcdef"
			w.hide(wrong)
			row.fault.Match = func(r *http.Request) bool {
				return strings.Contains(r.Header.Get("Authorization")+r.Header.Get("X-Project-Token"), wrong)
			}
			w.cloud.Inject(row.fault)
			w.putToken(wrong)
			w.becomes(cp, row.want)
			w.deleteSecret(copied)
			w.stays("the good token", func() bool {
				now := w.Secret(copied)
				return now != nil && string(now.Data["token"]) == w.token.Reveal()
			})
			w.deleteSecret(tokenName)
			w.becomes(cp, waitingFor(v1alpha1.ReasonSourceNotFound, tokenName))
			w.eventually("the project to be usable", func() bool { _, err := w.projects.Get(cp, cp.Namespace); return err == nil }, w.logged)
			if err := w.projects.Lookup(cp.UID).Delete(t.Context(), ratelimit.Caller{UID: "somebody"}, agent); err != nil {
				t.Errorf("the deletion failed: %v", err)
			}
			w.putToken(w.token.Reveal())
			w.becomes(cp, verified)
			w.eventually("a new copy", func() bool {
				now := w.Secret(copied)
				return now != nil && now.UID != before.UID && now.DeletionTimestamp == nil
			}, w.logged)
		})
	}
}

func TestTheCopyServesDeletionsWhenTheSourceIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, _ := w.withCopy()
	agent := w.registerRemote(cp)
	w.deleteSecret(tokenName)
	w.becomes(cp, waitingFor(v1alpha1.ReasonSourceNotFound, tokenName))
	w.stays("the copy is kept", func() bool { return w.Secret(copied) != nil })
	w.restart() // Nothing but the copy knows the token now.
	w.eventually("the project to be usable", func() bool { _, err := w.projects.Get(cp, cp.Namespace); return err == nil }, w.logged)
	p, err := w.projects.Get(cp, cp.Namespace)
	noError(t, err)

	if err := p.RegistrationPaused(); err == nil {
		t.Error("Agents may be registered with credentials that were taken away")
	}
	permit, err := p.Acquire(ratelimit.Caller{UID: "late"})
	noError(t, err)
	_, err = permit.Register(t.Context(), bodyOf("late"))
	if e, ok := cloud.AsError(err); !ok || !e.NothingMade() || w.cloud.Count("POST", "") != 1 {
		t.Errorf("a registration ended with %v", err)
	}
	if err := p.Delete(t.Context(), ratelimit.Caller{UID: "somebody"}, agent); err != nil {
		t.Errorf("the deletion failed: %v", err)
	}

	woken := w.wakes()
	w.putToken(w.token.Reveal())
	w.becomes(cp, verified)
	if err := p.RegistrationPaused(); err != nil {
		t.Errorf("registration stays paused: %v", err)
	}
	w.eventually("the Agents to be woken", func() bool { return w.wakes() > woken })
}

func TestAnUnusableSourceFallsBackToTheCopyToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, _ := w.withCopy()
	w.putToken("")
	w.becomes(cp, stalledBy(v1alpha1.ReasonSourceInvalid, "is empty"))
	if _, err := w.projects.Get(cp, cp.Namespace); err != nil {
		t.Errorf("deletions are refused: %v", err)
	}
	if w.projects.Lookup(cp.UID).RegistrationPaused() == nil {
		t.Error("Agents may be registered")
	}
}

func TestACopyThatOutlivesItsCloudProjectIsReleased(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, secret := w.withCopy()
	w.Edit(cp, func() { cp.Finalizers = nil }) // By hand, with the deletion: nobody asks the operator.
	noError(t, client.IgnoreNotFound(w.Client.Delete(t.Context(), cp)))
	w.eventually("the CloudProject to go", func() bool {
		err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(cp), cp)
		if err == nil && cp.DeletionTimestamp != nil {
			cp.Finalizers = nil
			_ = w.Client.Update(t.Context(), cp)
		}
		return apierrors.IsNotFound(err)
	})
	w.gone(secret)
}

// registerRemote registers an agent, as the agent controller does, and returns its ID.
func (w *world) registerRemote(cp *v1alpha1.CloudProject) string {
	w.Helper()
	p, err := w.projects.Get(cp, cp.Namespace)
	noError(w, err)
	permit, err := p.Acquire(ratelimit.Caller{UID: "somebody"})
	noError(w, err)
	made, err := permit.Register(w.Context(), bodyOf("machine"))
	noError(w, err)
	return made.ID
}

func bodyOf(machine string) cloud.Registration {
	return cloud.Registration{
		Name: "web", MachineID: machine, Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "[INPUT]",
	}
}
