/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
)

// credentials are the current credentials of a CloudProject.
type credentials struct {
	connection.Credentials
	// copy is the operator's Secret, or a foreign one with its name; nil if there is none.
	copy *corev1.Secret
	// lost is why the source cannot be used; then the credentials are those of the copy, if there is one for this URL.
	lost *fault.Error
}

// usable reports whether there is a token.
func (c credentials) usable() bool { return !c.Token.IsZero() }

// loader reads the credentials of CloudProjects.
type loader struct {
	apiReader client.Reader
	copies    copies
}

// load reads the credentials of a CloudProject. If the source cannot be used, it returns the operator's copy, so that
// Agents can still be deleted; no other path sends a copy. The error is one of the API server.
func (l loader) load(ctx context.Context, cp *v1alpha1.CloudProject) (credentials, error) {
	secret, err := l.copies.find(ctx, cp)
	if err != nil {
		return credentials{}, err
	}
	c := credentials{copy: secret}
	source, err := l.source(ctx, cp)
	if err == nil {
		c.Credentials = source
		if secret != nil && ours(secret, cp) {
			former := contents(secret)
			c.DigestKey = former.DigestKey
			c.Renewed = servesAt(secret, cp) && !former.Token.Equal(c.Token)
		}
		return c, nil
	}
	lost, ok := fault.As(err)
	if !ok || lost.Class == fault.Retryable {
		return credentials{}, err
	}
	c.lost, c.Version = lost, source.Version
	switch {
	case secret == nil || !ours(secret, cp):
	case servesAt(secret, cp):
		c.Credentials = contents(secret)
		c.Version = source.Version
	default:
		c.lost = both(lost, fault.Waitingf(v1alpha1.ReasonSourceNotFound,
			"the operator's copy of the credentials is of another URL: provide what the spec refers to, or restore the former spec.url"))
	}
	return c, nil
}

// source reads the credentials that the spec refers to.
func (l loader) source(ctx context.Context, cp *v1alpha1.CloudProject) (connection.Credentials, error) {
	token, version, err := l.token(ctx, cp)
	c := connection.Credentials{Token: token, Version: version}
	if err != nil {
		return c, err
	}
	if cp.Spec.CABundle != nil {
		c.CABundle, _, err = rawconfig.KeyValue(ctx, l.apiReader, cp.Namespace, "spec.caBundle", cp.Spec.CABundle)
	}
	return c, err
}

func (l loader) token(ctx context.Context, cp *v1alpha1.CloudProject) (token cloud.Token, version string, err error) {
	const field = "spec.tokenSecretRef"
	name, key := cp.Spec.TokenSecretRef.Name, cp.Spec.TokenSecretRef.Key
	if key == "" {
		key = v1alpha1.TokenKey
	}
	var secret corev1.Secret
	source := client.ObjectKey{Namespace: cp.Namespace, Name: name}
	exists := projectref.CanExist(source)
	if exists {
		err = l.apiReader.Get(ctx, source, &secret)
	}
	version = secret.ResourceVersion
	value, found := secret.Data[key]
	token, unfit := cloud.TrimToken(value)
	switch {
	case name == copyName(cp) && (err == nil || apierrors.IsNotFound(err)):
		return cloud.Token{}, version, fault.Terminalf(v1alpha1.ReasonSourceInvalid,
			"%s: the name %q is reserved for the operator's own copy: name your Secret differently", field, name)
	case !exists || apierrors.IsNotFound(err):
		return token, version, fault.Waitingf(v1alpha1.ReasonSourceNotFound,
			"%s: Secret %q does not exist in namespace %s: create it with the project token under the key %q",
			field, name, cp.Namespace, key)
	case err != nil:
		return token, version, err
	case !found:
		return token, version, fault.Waitingf(v1alpha1.ReasonSourceNotFound,
			"%s: Secret %q has no key %q: store the project token there, or name another key", field, name, key)
	case unfit != nil:
		return token, version, fault.Terminalf(v1alpha1.ReasonSourceInvalid, "%s: key %q of Secret %q: %v", field, key, name, unfit)
	case token.IsZero():
		return token, version, fault.Terminalf(v1alpha1.ReasonSourceInvalid,
			"%s: key %q of Secret %q is empty: store the project token there", field, key, name)
	case !token.Usable():
		return token, version, fault.Terminalf(v1alpha1.ReasonSourceInvalid,
			"%s: key %q of Secret %q holds no usable token: store the project token alone there, in one line", field, key, name)
	}
	return token, version, nil
}
