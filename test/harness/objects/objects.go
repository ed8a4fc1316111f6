/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package objects reads and writes the objects of one namespace in tests. It runs no operator, so that the tests in the
// packages of the operator can use it, too.
package objects

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Objects are those of a namespace. Every failure ends the test.
type Objects struct {
	testing.TB
	// Client reads and writes the API server directly, as an administrator.
	Client    client.Client
	Namespace string
}

// Key is the key of an object in the namespace.
func (o *Objects) Key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: o.Namespace, Name: name}
}

// Create creates an object.
func (o *Objects) Create(object client.Object) {
	o.Helper()
	if err := o.Client.Create(context.Background(), object); err != nil {
		o.Fatalf("create %T %s: %v", object, object.GetName(), err)
	}
}

// Edit reads an object and patches it as a user would.
func (o *Objects) Edit(object client.Object, change func()) {
	o.Helper()
	err := o.Client.Get(context.Background(), client.ObjectKeyFromObject(object), object)
	if err == nil {
		base := object.DeepCopyObject().(client.Object)
		change()
		err = o.Client.Patch(context.Background(), object, client.MergeFrom(base))
	}
	if err != nil {
		o.Fatalf("patch %T %s: %v", object, object.GetName(), err)
	}
}

// Secret reads a Secret; nil if there is none.
func (o *Objects) Secret(name string) *corev1.Secret {
	o.Helper()
	var s corev1.Secret
	err := o.Client.Get(context.Background(), o.Key(name), &s)
	if client.IgnoreNotFound(err) != nil {
		o.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return &s
}

// SetSecret creates a Secret or replaces its data.
func (o *Objects) SetSecret(name string, data map[string]string) {
	o.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: name}, StringData: data}
	err := o.Client.Create(context.Background(), s)
	if apierrors.IsAlreadyExists(err) {
		s = o.Secret(name)
		s.Data, s.StringData = nil, data
		err = o.Client.Update(context.Background(), s)
	}
	if err != nil {
		o.Fatal(err)
	}
}

// ConfigMap creates or updates a ConfigMap with one key.
func (o *Objects) ConfigMap(name, key, value string) {
	o.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: name}, Data: map[string]string{key: value}}
	err := o.Client.Create(context.Background(), cm)
	if apierrors.IsAlreadyExists(err) {
		err = o.Client.Update(context.Background(), cm)
	}
	if err != nil {
		o.Fatal(err)
	}
}

// TokenSecret is a Secret with a project token.
func (o *Objects) TokenSecret(name, token string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: name},
		StringData: map[string]string{v1alpha1.TokenKey: token},
	}
}

// CloudProject is a CloudProject with the token Secret "calyptia-token" and without a rate limit.
func (o *Objects) CloudProject(name, url string) *v1alpha1.CloudProject {
	return &v1alpha1.CloudProject{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: name},
		Spec: v1alpha1.CloudProjectSpec{
			URL:            url,
			TokenSecretRef: v1alpha1.TokenSecretReference{Name: "calyptia-token"},
			RateLimit:      &v1alpha1.RateLimit{RequestsPerSecond: new(int32)},
		},
	}
}

// Register registers an agent without an operator.
func Register(t testing.TB, url string, credential cloud.Credential, body cloud.Registration) (*cloud.Registered, error) {
	t.Helper()
	base, err := cloud.ParseURL(url, cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	c, err := cloud.New(cloud.Config{BaseURL: base, Credential: credential})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	return c.Register(context.Background(), body)
}
