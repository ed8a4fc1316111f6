/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"bytes"
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const copySuffix = "-credentials"

// copyName is the name of the Secret with the operator's copy of the credentials.
func copyName(cp *v1alpha1.CloudProject) string { return cp.Name + copySuffix }

// findCopy reads the Secret with the copy's name, even a foreign one; nil if there is none.
func (r *Reconciler) findCopy(ctx context.Context, cp *v1alpha1.CloudProject) (*corev1.Secret, error) {
	var secret corev1.Secret
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: cp.Namespace, Name: copyName(cp)}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return &secret, err
}

// ours reports whether a Secret with the copy's name is the operator's: it has the operator's label, and no other owner.
// The label may be that of an earlier CloudProject with this name, as in a restored backup.
func ours(secret *corev1.Secret, cp *v1alpha1.CloudProject) bool {
	_, marked := secret.Labels[v1alpha1.LabelCloudProjectUID]
	for _, owner := range secret.OwnerReferences {
		if owner.APIVersion != v1alpha1.GroupVersion.String() || owner.Kind != "CloudProject" || owner.Name != cp.Name {
			return false
		}
		marked = marked || owner.UID == cp.UID
	}
	return marked
}

func contents(secret *corev1.Secret) connection.Credentials {
	return connection.Credentials{
		Token:    cloud.NewToken(string(secret.Data[v1alpha1.TokenKey])),
		CABundle: secret.Data[v1alpha1.CABundleKey], DigestKey: secret.Data[v1alpha1.DigestKeyKey],
	}
}

// keepCopy updates the copy from the source. An existing copy is replaced only by credentials that the API accepted.
// The failure says why Agents must not be registered: they could not be deleted later.
func (r *Reconciler) keepCopy(ctx context.Context, cp *v1alpha1.CloudProject, c credentials, accepted bool) (*fault.Error, error) {
	switch {
	case c.copy != nil && !ours(c.copy, cp):
		return fault.Terminalf(v1alpha1.ReasonSecretConflict,
			"Secret %q exists and is not the operator's copy of the credentials, which has this name: delete or rename it",
			c.copy.Name), nil
	case c.lost != nil, cp.DeletionTimestamp != nil && c.copy == nil:
		return nil, nil // Nothing is created for a CloudProject that is being deleted.
	case c.copy == nil:
		return refusedCopy(cp, r.createCopy(ctx, cp, c.Credentials))
	case c.copy.DeletionTimestamp != nil:
		return refusedCopy(cp, r.renewCopy(ctx, cp, c))
	}
	wanted := c.copy.DeepCopy()
	if !accepted {
		key := c.DigestKey
		c.Credentials = contents(c.copy)
		c.DigestKey = key
	}
	if !shape(wanted, cp, c.Credentials) {
		return nil, nil
	}
	return refusedCopy(cp, r.Client.Update(ctx, wanted))
}

func (r *Reconciler) createCopy(ctx context.Context, cp *v1alpha1.CloudProject, c connection.Credentials) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cp.Namespace, Name: copyName(cp)}}
	shape(secret, cp, c)
	return r.Client.Create(ctx, secret)
}

// renewCopy replaces a copy that somebody deleted. In a namespace that is being deleted no new one can be created, so the
// old one keeps its finalizer there.
func (r *Reconciler) renewCopy(ctx context.Context, cp *v1alpha1.CloudProject, c credentials) error {
	if cp.DeletionTimestamp != nil {
		return nil
	}
	trial := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cp.Namespace, GenerateName: "calyptia-credentials-"}}
	if err := r.Client.Create(ctx, trial, client.DryRunAll); err != nil {
		return err
	}
	if err := r.removeFinalizer(ctx, c.copy); err != nil {
		return err
	}
	return r.createCopy(ctx, cp, c.Credentials)
}

// removeCopy deletes the copy of a released CloudProject.
func (r *Reconciler) removeCopy(ctx context.Context, cp *v1alpha1.CloudProject) error {
	secret, err := r.findCopy(ctx, cp)
	if err != nil || secret == nil || !ours(secret, cp) {
		return err
	}
	if secret.DeletionTimestamp == nil {
		err := r.Client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID})
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if secret, err = r.findCopy(ctx, cp); err != nil || secret == nil {
			return err
		}
	}
	return r.removeFinalizer(ctx, secret)
}

func (r *Reconciler) removeFinalizer(ctx context.Context, secret *corev1.Secret) error {
	base := secret.DeepCopy()
	if !controllerutil.RemoveFinalizer(secret, v1alpha1.CredentialsFinalizer) {
		return nil
	}
	return client.IgnoreNotFound(r.patch(ctx, secret, base))
}

// shape sets the desired state of the copy, and reports whether anything changed.
func shape(secret *corev1.Secret, cp *v1alpha1.CloudProject, c connection.Credentials) (changed bool) {
	for key, value := range map[string]string{
		v1alpha1.LabelCloudProjectUID: string(cp.UID), "app.kubernetes.io/managed-by": "calyptia-agent-operator",
	} {
		if secret.Labels[key] != value {
			metav1.SetMetaDataLabel(&secret.ObjectMeta, key, value)
			changed = true
		}
	}
	if len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != cp.UID {
		secret.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "CloudProject", Name: cp.Name, UID: cp.UID,
			Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(false),
		}}
		changed = true
	}
	changed = controllerutil.AddFinalizer(secret, v1alpha1.CredentialsFinalizer) || changed
	have := contents(secret)
	if !have.Token.Equal(c.Token) || !bytes.Equal(have.CABundle, c.CABundle) || !bytes.Equal(have.DigestKey, c.DigestKey) {
		secret.Data = map[string][]byte{v1alpha1.TokenKey: []byte(c.Token.Reveal()), v1alpha1.DigestKeyKey: c.DigestKey}
		if len(c.CABundle) > 0 {
			secret.Data[v1alpha1.CABundleKey] = c.CABundle
		}
		changed = true
	}
	return changed
}

// refusedCopy distinguishes a rejection by the API server, which only a user can fix, from a temporary failure.
func refusedCopy(cp *v1alpha1.CloudProject, err error) (*fault.Error, error) {
	switch {
	case err == nil:
		return nil, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fault.Waitingf(v1alpha1.ReasonSecretWriteRefused,
			"namespace %s is being deleted, so the operator keeps no copy of the credentials", cp.Namespace), nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsRequestEntityTooLargeError(err):
		return fault.Terminalf(v1alpha1.ReasonSecretWriteRefused,
			"the API server rejected Secret %q, the operator's copy of the credentials: %v: change the policy that rejects it",
			copyName(cp), err).Because(err), nil
	default:
		return nil, err
	}
}
