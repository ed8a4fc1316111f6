/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package rawconfig finds the configuration of an Agent: inline, or in a key of a ConfigMap or Secret of its namespace.
package rawconfig

import (
	"bytes"
	"context"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Config is the configuration of one Agent; the zero one declares none.
type Config struct {
	// Data as it is sent; empty if only its hash is known.
	Data string
	// Hash of the data, if only that is known; made with the key if there is one.
	Hash string
	// Key for a configuration from a Secret or ConfigMap.
	Key Key
	// ResourceVersion of the ConfigMap or Secret; empty for inline.
	ResourceVersion string
}

// Digest returns the digest of the configuration for the status.
func (c Config) Digest() string {
	if c.Hash != "" {
		return c.Hash
	}
	return c.Key.Digest(cloud.Hash(c.Data))
}

// Load returns the configuration that the Agent declares. A missing source is a waiting failure, an unusable one a
// terminal failure; both name the object and the key.
func Load(ctx context.Context, reader client.Reader, agent *v1alpha1.Agent) (Config, error) {
	from := agent.Spec.RawConfigFrom
	switch {
	case agent.Spec.RawConfig != "":
		text := strings.TrimPrefix(agent.Spec.RawConfig, byteOrderMark)
		switch {
		case text == "":
			return Config{}, fault.Terminalf(v1alpha1.ReasonInvalid, "spec.rawConfig: it is empty but for a byte order mark: fill it in")
		case strings.ContainsRune(text, 0):
			return Config{}, fault.Terminalf(v1alpha1.ReasonInvalid, "spec.rawConfig: it contains a NUL character: remove it")
		}
		return Config{Data: text}, nil
	case from == nil:
		return Config{}, nil
	}
	value, version, err := KeyValue(ctx, reader, agent.Namespace, "spec.rawConfigFrom", from)
	if err != nil {
		return Config{}, err
	}
	return Config{Data: string(value), ResourceVersion: version}, nil
}

// byteOrderMark is written by some editors before UTF-8. It is not part of the text, and Fluent Bit does not read past it.
// All other invisible characters stay.
const byteOrderMark = "\uFEFF"

// KeyValue reads the key that source names in namespace. The value is non-empty UTF-8 text without a byte order mark and
// without NUL. field names the source in messages.
func KeyValue(
	ctx context.Context, reader client.Reader, namespace, field string, source *v1alpha1.KeySource,
) (value []byte, resourceVersion string, err error) {
	kind, name, key := "ConfigMap", "", ""
	var found bool
	if ref := source.SecretKeyRef; ref != nil {
		kind, name, key = "Secret", ref.Name, ref.Key
		var secret corev1.Secret
		err = get(ctx, reader, client.ObjectKey{Namespace: namespace, Name: name}, &secret)
		value, found = secret.Data[key]
		resourceVersion = secret.ResourceVersion
	} else {
		name, key = source.ConfigMapKeyRef.Name, source.ConfigMapKeyRef.Key
		var configMap corev1.ConfigMap
		err = get(ctx, reader, client.ObjectKey{Namespace: namespace, Name: name}, &configMap)
		var text string
		if text, found = configMap.Data[key]; found {
			value = []byte(text)
		} else {
			value, found = configMap.BinaryData[key]
		}
		resourceVersion = configMap.ResourceVersion
	}
	value = bytes.TrimPrefix(value, []byte(byteOrderMark))
	switch {
	case apierrors.IsNotFound(err):
		return nil, "", fault.Waitingf(v1alpha1.ReasonSourceNotFound,
			"%s: %s %q does not exist in namespace %s: create it", field, kind, name, namespace)
	case err != nil:
		return nil, "", fault.Retryablef(v1alpha1.ReasonAPIServer,
			"%s: %s %q cannot be read: %v", field, kind, name, err).Because(err)
	case !found:
		return nil, "", fault.Waitingf(v1alpha1.ReasonSourceNotFound,
			"%s: %s %q has no key %q: add it, or name another key", field, kind, name, key)
	case len(value) == 0:
		return nil, "", fault.Terminalf(v1alpha1.ReasonSourceInvalid,
			"%s: key %q of %s %q is empty: fill it in", field, key, kind, name)
	case !utf8.Valid(value):
		return nil, "", fault.Terminalf(v1alpha1.ReasonSourceInvalid,
			"%s: key %q of %s %q is not UTF-8 text: store the plain configuration there", field, key, kind, name)
	case bytes.IndexByte(value, 0) >= 0:
		return nil, "", fault.Terminalf(v1alpha1.ReasonSourceInvalid,
			"%s: key %q of %s %q contains a NUL character: store plain UTF-8 text there, not UTF-16", field, key, kind, name)
	}
	return value, resourceVersion, nil
}

// get reads an object. An impossible name, from before the validation of names, is NotFound.
func get(ctx context.Context, reader client.Reader, key client.ObjectKey, object client.Object) error {
	if len(content.IsPathSegmentName(key.Name)) > 0 {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	return reader.Get(ctx, key, object)
}
