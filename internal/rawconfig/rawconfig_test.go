/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package rawconfig_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
)

// shelf holds a ConfigMap and a Secret, or fails.
type shelf struct {
	client.Reader
	configMap *corev1.ConfigMap
	secret    *corev1.Secret
	err       error
}

func (s shelf) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	if s.err != nil {
		return s.err
	}
	switch into := object.(type) {
	case *corev1.ConfigMap:
		if s.configMap != nil && client.ObjectKeyFromObject(s.configMap) == key {
			s.configMap.DeepCopyInto(into)
			return nil
		}
	case *corev1.Secret:
		if s.secret != nil && client.ObjectKeyFromObject(s.secret) == key {
			s.secret.DeepCopyInto(into)
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, key.Name)
}

func configMap(name, key string) *v1alpha1.KeySource {
	return &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: name, Key: key}}
}

func secret(name, key string) *v1alpha1.KeySource {
	return &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: name, Key: key}}
}

func filled() shelf {
	meta := metav1.ObjectMeta{Namespace: "tenant", Name: "pipeline", ResourceVersion: "41"}
	other := meta
	other.ResourceVersion = "42"
	return shelf{
		configMap: &corev1.ConfigMap{
			ObjectMeta: meta,
			Data:       map[string]string{"good": "[INPUT]\n    name cpu\n", "empty": "", "both": "text", "marked": "\ufeff[INPUT]\n", "mark": "\ufeff"},
			BinaryData: map[string][]byte{"bytes": []byte("[INPUT] ünïcode"), "bad": {0xff, 0xfe}, "none": {}, "both": []byte("bytes"), "wide": []byte("a\x00b\x00")},
		},
		secret: &corev1.Secret{
			ObjectMeta: other,
			Data:       map[string][]byte{"good": []byte("[OUTPUT]\n    password x\n"), "empty": {}, "bad": {'a', 0xc3, 0x28}, "marked": []byte("\ufeff[OUTPUT]"), "null": []byte("[OUTPUT]\x00")},
		},
	}
}

func agent(inline string, from *v1alpha1.KeySource) *v1alpha1.Agent {
	return &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "web"},
		Spec:       v1alpha1.AgentSpec{RawConfig: inline, RawConfigFrom: from},
	}
}

func TestLoadReturnsTheConfiguration(t *testing.T) {
	for _, row := range []struct {
		name string
		of   *v1alpha1.Agent
		want rawconfig.Config
	}{
		{"inline is taken as it is, spaces and all", agent("  [INPUT]\r\n\t", nil), rawconfig.Config{Data: "  [INPUT]\r\n\t"}},
		{"of an inline one the byte order mark is left out", agent("\ufeff[INPUT]", nil), rawconfig.Config{Data: "[INPUT]"}},
		{"other marks stay: they are text", agent("a\u200db\ufeffc", nil), rawconfig.Config{Data: "a\u200db\ufeffc"}},
		{"of a ConfigMap the byte order mark is left out", agent("", configMap("pipeline", "marked")),
			rawconfig.Config{Data: "[INPUT]\n", ResourceVersion: "41"}},
		{"of a Secret the byte order mark is left out", agent("", secret("pipeline", "marked")),
			rawconfig.Config{Data: "[OUTPUT]", ResourceVersion: "42"}},
		{"none declared is unmanaged", agent("", nil), rawconfig.Config{}},
		{"data of a ConfigMap", agent("", configMap("pipeline", "good")),
			rawconfig.Config{Data: "[INPUT]\n    name cpu\n", ResourceVersion: "41"}},
		{"binaryData of a ConfigMap that is text", agent("", configMap("pipeline", "bytes")),
			rawconfig.Config{Data: "[INPUT] ünïcode", ResourceVersion: "41"}},
		{"data of a ConfigMap goes first", agent("", configMap("pipeline", "both")),
			rawconfig.Config{Data: "text", ResourceVersion: "41"}},
		{"a Secret", agent("", secret("pipeline", "good")),
			rawconfig.Config{Data: "[OUTPUT]\n    password x\n", ResourceVersion: "42"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := rawconfig.Load(t.Context(), filled(), row.of)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLoadFailsWithFieldObjectKeyAndRemedy(t *testing.T) {
	broken := filled()
	broken.err = apierrors.NewServiceUnavailable("etcd is away")
	for _, row := range []struct {
		name   string
		on     shelf
		from   *v1alpha1.KeySource
		class  fault.Class
		reason string
		words  []string
	}{
		{"a ConfigMap that is not there yet", filled(), configMap("late", "k"), fault.Waiting, v1alpha1.ReasonSourceNotFound,
			[]string{`ConfigMap "late"`, "namespace tenant", "create it"}},
		{"a Secret that is not there yet", filled(), secret("late", "k"), fault.Waiting, v1alpha1.ReasonSourceNotFound,
			[]string{`Secret "late"`, "namespace tenant", "create it"}},
		{"a ConfigMap without the key", filled(), configMap("pipeline", "other"), fault.Waiting, v1alpha1.ReasonSourceNotFound,
			[]string{`ConfigMap "pipeline"`, `key "other"`, "add it"}},
		{"a Secret without the key", filled(), secret("pipeline", "other"), fault.Waiting, v1alpha1.ReasonSourceNotFound,
			[]string{`Secret "pipeline"`, `key "other"`, "add it"}},
		{"an empty key of a ConfigMap", filled(), configMap("pipeline", "empty"), fault.Terminal, v1alpha1.ReasonSourceInvalid,
			[]string{`ConfigMap "pipeline"`, `key "empty"`, "empty", "fill it in"}},
		{"an empty binary key of a ConfigMap", filled(), configMap("pipeline", "none"), fault.Terminal, v1alpha1.ReasonSourceInvalid,
			[]string{`ConfigMap "pipeline"`, `key "none"`, "fill it in"}},
		{"an empty key of a Secret", filled(), secret("pipeline", "empty"), fault.Terminal, v1alpha1.ReasonSourceInvalid,
			[]string{`Secret "pipeline"`, `key "empty"`, "fill it in"}},
		{"bytes of a ConfigMap that are no text", filled(), configMap("pipeline", "bad"), fault.Terminal, v1alpha1.ReasonSourceInvalid,
			[]string{`ConfigMap "pipeline"`, `key "bad"`, "UTF-8", "plain configuration"}},
		{"bytes of a Secret that are no text", filled(), secret("pipeline", "bad"), fault.Terminal, v1alpha1.ReasonSourceInvalid,
			[]string{`Secret "pipeline"`, `key "bad"`, "UTF-8", "plain configuration"}},
		{"a ConfigMap of UTF-16", filled(), configMap("pipeline", "wide"), fault.Terminal, v1alpha1.ReasonSourceInvalid,
			[]string{`spec.rawConfigFrom: key "wide" of ConfigMap "pipeline"`, "NUL", "UTF-8"}},
		{"a Secret with a NUL", filled(), secret("pipeline", "null"), fault.Terminal, v1alpha1.ReasonSourceInvalid,
			[]string{`spec.rawConfigFrom: key "null" of Secret "pipeline"`, "NUL", "UTF-8"}},
		{"a byte order mark alone", filled(), configMap("pipeline", "mark"), fault.Terminal, v1alpha1.ReasonSourceInvalid,
			[]string{`ConfigMap "pipeline"`, `key "mark"`, "empty", "fill it in"}},
		{"an API server that fails", broken, configMap("pipeline", "good"), fault.Retryable, v1alpha1.ReasonAPIServer,
			[]string{`ConfigMap "pipeline"`, "cannot be read", "etcd is away"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := rawconfig.Load(t.Context(), row.on, agent("", row.from))
			f, ok := fault.As(err)
			if !ok {
				t.Fatalf("error %v", err)
			}
			if got != (rawconfig.Config{}) {
				t.Errorf("something was loaded: %+v", got)
			}
			if f.Class != row.class || f.Reason != row.reason || f.Quiet {
				t.Errorf("%s %s, quiet %v", f.Class, f.Reason, f.Quiet)
			}
			if row.on.err != nil && !errors.Is(err, row.on.err) {
				t.Error("the cause is lost")
			}
			for _, word := range append(row.words, "spec.rawConfigFrom: ") {
				if !strings.Contains(f.Message, word) {
					t.Errorf("the message %q lacks %q", f.Message, word)
				}
			}
		})
	}
}

func TestKeyValueNamesTheFieldThatDeclaresTheSource(t *testing.T) {
	_, _, err := rawconfig.KeyValue(t.Context(), filled(), "tenant", "spec.caBundle", secret("late", "ca.crt"))
	if f, ok := fault.As(err); !ok || !strings.HasPrefix(f.Message, "spec.caBundle: ") {
		t.Errorf("error %v", err)
	}
	value, version, err := rawconfig.KeyValue(t.Context(), filled(), "tenant", "spec.caBundle", configMap("pipeline", "both"))
	if err != nil || string(value) != "text" || version != "41" {
		t.Errorf("%q at version %q, error %v", value, version, err)
	}
	_, _, err = rawconfig.KeyValue(t.Context(), filled(), "elsewhere", "spec.caBundle", configMap("pipeline", "both"))
	if f, ok := fault.As(err); !ok || f.Reason != v1alpha1.ReasonSourceNotFound {
		t.Errorf("an object of another namespace was read: %v", err)
	}
}

// A source from before the validation of names may have an impossible name. It is not sent to the API server, whose
// rejection would read like its own failure.
func TestASourceThatCannotExistIsMissing(t *testing.T) {
	refusing := shelf{err: errors.New("invalid resource name")}
	for _, name := range []string{"a/b", "..", ".", "a%2fb"} {
		for _, source := range []*v1alpha1.KeySource{configMap(name, "key"), secret(name, "key")} {
			_, _, err := rawconfig.KeyValue(t.Context(), refusing, "default", "spec.rawConfigFrom", source)
			if f, ok := fault.As(err); !ok || f.Reason != v1alpha1.ReasonSourceNotFound {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}

func TestAnInvalidInlineConfigurationFails(t *testing.T) {
	for text, words := range map[string]string{
		"[INPUT]\x00": "it contains a NUL character", "\ufeff\x00": "it contains a NUL character", "\ufeff": "it is empty",
	} {
		_, err := rawconfig.Load(t.Context(), filled(), agent(text, nil))
		f, ok := fault.As(err)
		if !ok || f.Class != fault.Terminal || f.Reason != v1alpha1.ReasonInvalid || !strings.Contains(f.Message, "spec.rawConfig: "+words) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
