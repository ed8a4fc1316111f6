/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"bytes"
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

const copySuffix = "-credentials"

// copyName is the name of the Secret with the operator's copy of the credentials.
func copyName(cp *v1alpha1.CloudProject) string { return cp.Name + copySuffix }

// copies are the operator's Secrets with copies of the credentials.
type copies struct {
	client    client.Client
	apiReader client.Reader
}

// find reads the Secret with the copy's name, even a foreign one; nil if there is none.
func (c copies) find(ctx context.Context, cp *v1alpha1.CloudProject) (*corev1.Secret, error) {
	var secret corev1.Secret
	err := c.apiReader.Get(ctx, client.ObjectKey{Namespace: cp.Namespace, Name: copyName(cp)}, &secret)
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

// servesAt reports whether the credentials of a copy may be sent to spec.url: only the server that accepted them may learn them. An
// older copy has no annotation; status.url is where the credentials were accepted last.
func servesAt(secret *corev1.Secret, cp *v1alpha1.CloudProject) bool {
	at, marked := secret.Annotations[v1alpha1.AnnotationEndpoint]
	if !marked {
		at = cp.Status.URL
	}
	return at != "" && cloud.CanonicalURL(at) == cloud.CanonicalURL(cp.Spec.URL)
}

// keep updates the copy from the source. An existing copy, even one that somebody deleted, is replaced only by credentials that the API
// accepted: until then its finalizer keeps what may be the last good token. One that was not stored as it was written is none.
// The failure says why Agents must not be registered: they could not be deleted later.
func (c copies) keep(ctx context.Context, cp *v1alpha1.CloudProject, now credentials, accepted bool) (*fault.Error, error) {
	switch {
	case now.copy != nil && !ours(now.copy, cp):
		return fault.Terminalf(v1alpha1.ReasonSecretConflict,
			"Secret %q exists and is not the operator's copy of the credentials, which has this name: delete or rename it",
			now.copy.Name), nil
	case now.lost != nil, cp.DeletionTimestamp != nil && now.copy == nil:
		return nil, nil // Nothing is created for a CloudProject that is being deleted.
	case now.copy == nil:
		return lasting(c.create(ctx, cp, now.Credentials))
	case now.copy.DeletionTimestamp != nil:
		return lasting(c.renew(ctx, cp, now, accepted))
	}
	wanted := now.copy.DeepCopy()
	url := cloud.CanonicalURL(cp.Spec.URL)
	if !accepted && !contents(now.copy).Token.IsZero() { // Without a token it is no copy.
		key := now.DigestKey
		now.Credentials = contents(now.copy)
		now.DigestKey, url = key, wanted.Annotations[v1alpha1.AnnotationEndpoint]
	}
	if !shape(wanted, cp, now.Credentials, url) {
		return nil, nil
	}
	data := maps.Clone(wanted.Data)
	if err := c.client.Update(ctx, wanted); err != nil {
		return lasting(c.failure(err, wanted, now.copy))
	}
	return lasting(tokensecret.NotStored(wanted.Name, data, wanted.Data))
}

func (c copies) create(ctx context.Context, cp *v1alpha1.CloudProject, now connection.Credentials, how ...client.CreateOption) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cp.Namespace, Name: copyName(cp)}}
	shape(secret, cp, now, cloud.CanonicalURL(cp.Spec.URL))
	data := maps.Clone(secret.Data)
	if err := c.client.Create(ctx, secret, how...); err != nil {
		return c.failure(err, secret)
	}
	return tokensecret.NotStored(secret.Name, data, secret.Data)
}

// renew replaces a copy that somebody deleted. In a namespace that is being deleted no new one can be created, so the
// old one keeps its finalizer there.
func (c copies) renew(ctx context.Context, cp *v1alpha1.CloudProject, now credentials, accepted bool) error {
	if cp.DeletionTimestamp != nil {
		return nil
	}
	if others := now.copy.Finalizers; len(others) > 0 && !controllerutil.ContainsFinalizer(now.copy, v1alpha1.CredentialsFinalizer) {
		return fault.Waitingf(v1alpha1.ReasonSecretWriteRefused, // A watch shows its end.
			"Secret %q, the operator's copy of the credentials, was deleted and still has the finalizer %s: remove the finalizer",
			now.copy.Name, others[0])
	}
	if !accepted {
		return nil
	}
	// Policies come before the name: if it is all that is taken, the new copy can be stored. If that fails all the same, the next pass
	// creates it, from the source.
	if err := c.create(ctx, cp, now.Credentials, client.DryRunAll); err != nil && (!apierrors.IsAlreadyExists(err) || apiserver.Denied(err)) {
		return err
	}
	if err := c.removeFinalizer(ctx, now.copy); err != nil {
		return err
	}
	return c.create(ctx, cp, now.Credentials)
}

// remove deletes the copy of a released CloudProject.
func (c copies) remove(ctx context.Context, cp *v1alpha1.CloudProject) error {
	secret, err := c.find(ctx, cp)
	if err != nil || secret == nil || !ours(secret, cp) {
		return err
	}
	if secret.DeletionTimestamp == nil {
		err := c.client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID})
		if apiserver.IgnoreGone(err) != nil {
			return c.failure(err, secret)
		}
		if secret, err = c.find(ctx, cp); err != nil || secret == nil {
			return err
		}
	}
	return c.removeFinalizer(ctx, secret)
}

func (c copies) removeFinalizer(ctx context.Context, secret *corev1.Secret) error {
	base := secret.DeepCopy()
	if !controllerutil.RemoveFinalizer(secret, v1alpha1.CredentialsFinalizer) {
		return nil
	}
	return c.failure(apiserver.IgnoreGone(patch(ctx, c.client, secret, base)), base)
}

// shape sets the desired state of the copy, with the URL that its credentials are for, and reports whether anything changed.
func shape(secret *corev1.Secret, cp *v1alpha1.CloudProject, c connection.Credentials, url string) (changed bool) {
	for key, value := range map[string]string{
		v1alpha1.LabelCloudProjectUID: string(cp.UID), "app.kubernetes.io/managed-by": "calyptia-agent-operator",
	} {
		if secret.Labels[key] != value {
			metav1.SetMetaDataLabel(&secret.ObjectMeta, key, value)
			changed = true
		}
	}
	if secret.Annotations[v1alpha1.AnnotationEndpoint] != url {
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, v1alpha1.AnnotationEndpoint, url)
		changed = true
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

// failure is the failure of a write of a copy; secrets are the copy as it is and as it was written.
func (copies) failure(err error, secrets ...*corev1.Secret) error {
	if err == nil {
		return nil
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return fault.Waitingf(v1alpha1.ReasonSecretWriteRefused,
			"namespace %s is being deleted, so the operator keeps no copy of the credentials", secrets[0].Namespace).Because(err)
	}
	name := secrets[0].Name
	var contents []map[string][]byte
	for _, secret := range secrets {
		contents = append(contents, secret.Data)
	}
	return tokensecret.WriteFailure(err, name, func(words string) *fault.Error {
		return fault.Terminalf(v1alpha1.ReasonSecretWriteRefused,
			"the API server rejected Secret %q, the operator's copy of the credentials: %s: change the policy that rejects it", name, words)
	}, contents...)
}

// lasting distinguishes a failure that the CloudProject shows until something changes from a temporary one.
func lasting(err error) (*fault.Error, error) {
	if held, ok := fault.As(err); ok && held.Class != fault.Retryable {
		return held, nil
	}
	return nil, err
}
