/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
)

// refusing are copies whose creation with their name the API server may refuse.
func (w *world) refusing(refuses func(o *client.CreateOptions) error) copies {
	w.Helper()
	direct, err := client.NewWithWatch(plane.Config, client.Options{Scheme: scheme})
	noError(w, err)
	refused := interceptor.NewClient(direct, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, how ...client.CreateOption) error {
			if err := refuses((&client.CreateOptions{}).ApplyOptions(how)); err != nil && object.GetName() == copied {
				return err
			}
			return c.Create(ctx, object, how...)
		},
	})
	return copies{client: refused, apiReader: refused}
}

// A copy that somebody deleted is kept while a policy rejects another: it may be all that can delete the Agents.
func TestADeletedCopyIsKeptWhileAPolicyRejectsAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, before := w.withCopy()
	w.restart(func() {
		w.deleteSecret(copied)
		denied := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, copied, errors.New("the label team is required"))
		now := credentials{Credentials: connection.Credentials{Token: w.token}, copy: w.Secret(copied)}
		held, err := w.refusing(func(*client.CreateOptions) error { return denied }).keep(t.Context(), cp, now, true)
		noError(t, err)
		if held == nil || held.Reason != v1alpha1.ReasonSecretWriteRefused {
			t.Errorf("the failure is %v", held)
		}
		if is := w.Secret(copied); is == nil || is.UID != before.UID {
			t.Errorf("the former copy is gone: %v", is)
		}
	})
	w.eventually("a new copy", func() bool {
		now := w.Secret(copied)
		return now != nil && now.UID != before.UID && now.DeletionTimestamp == nil
	}, w.logged)
}

// If the new copy cannot be created although the former one is gone, the next pass creates it: with the same credentials and key.
func TestACopyThatCouldNotBeRenewedIsCreatedByTheNextPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, before := w.withCopy()
	w.restart(func() {
		w.deleteSecret(copied)
		now := credentials{Credentials: contents(before), copy: w.Secret(copied)}
		copies := w.refusing(func(o *client.CreateOptions) error {
			if len(o.DryRun) > 0 {
				return nil
			}
			return apierrors.NewInternalError(errors.New("failed calling webhook"))
		})
		held, err := copies.keep(t.Context(), cp, now, true)
		if held != nil || err == nil {
			t.Errorf("the failure is %v, and %v is shown until something changes", err, held)
		}
		now.copy, err = copies.find(t.Context(), cp)
		noError(t, err)
		held, err = w.refusing(func(*client.CreateOptions) error { return nil }).keep(t.Context(), cp, now, true)
		noError(t, err)
		is := w.Secret(copied)
		if held != nil || is == nil || is.UID == before.UID || !contents(is).Token.Equal(w.token) ||
			string(is.Data[v1alpha1.DigestKeyKey]) != string(before.Data[v1alpha1.DigestKeyKey]) {
			t.Errorf("the new copy is %v (%v)", is, held)
		}
	})
}

// Somebody made the copy immutable: the condition says what to do, and that helps.
func TestAnImmutableCopyIsCreatedAgainAfterItsDeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, secret := w.withCopy()
	w.Edit(secret, func() { secret.Immutable = new(true) })
	fresh := w.cloud.AddProject(projectID)
	w.hide(fresh.Reveal())
	w.putToken(fresh.Reveal())
	w.becomes(cp, stalledBy(v1alpha1.ReasonSecretWriteRefused, "is immutable: delete it"))
	w.deleteSecret(copied)
	w.becomes(cp, verified)
	w.eventually("the new token in the copy", func() bool {
		now := w.Secret(copied)
		return now != nil && string(now.Data["token"]) == fresh.Reveal()
	}, w.logged)
}
