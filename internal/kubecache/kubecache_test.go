/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package kubecache

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

func TestTrimKeepsOutOfTheCacheWhatNobodyReads(t *testing.T) {
	meta := func(annotations map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Name: "web", ResourceVersion: "1", Labels: map[string]string{"a": "b"}, Annotations: annotations, Finalizers: []string{"f"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}, {FieldsV1: metav1.NewFieldsV1("{}")}},
		}
	}
	const text = "[INPUT]"
	configured := func(generation, applied int64, config, sent string) *v1alpha1.Agent {
		return &v1alpha1.Agent{
			ObjectMeta: metav1.ObjectMeta{Generation: generation}, Spec: v1alpha1.AgentSpec{RawConfig: config},
			Status: v1alpha1.AgentStatus{Applied: v1alpha1.AppliedState{
				Generation: applied, Fields: map[string]string{"rawConfig": cloud.Hash(sent)},
			}},
		}
	}
	lean := configured(2, 2, "", text)
	lean.Spec.RawConfigHash, lean.OmittedBytes = cloud.Hash(text), len(text)
	owners := []metav1.OwnerReference{{Kind: "Agent", Name: "web"}}
	owned := func(label, value string) *metav1.PartialObjectMetadata {
		m := &metav1.PartialObjectMetadata{ObjectMeta: meta(map[string]string{"description": "long"})}
		m.Labels[label], m.OwnerReferences, m.UID = value, owners, "secret"
		return m
	}
	marked := func(label string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: "web", UID: "secret", ResourceVersion: "1", Labels: map[string]string{label: "uid"}, OwnerReferences: owners,
		}}
	}
	applied := map[string]string{corev1.LastAppliedConfigAnnotation: `{"token":"secret"}`, "keep": "this"}
	for _, row := range []struct {
		name         string
		object, want client.Object
	}{
		{"an Agent", &v1alpha1.Agent{ObjectMeta: meta(applied), Spec: v1alpha1.AgentSpec{Version: "v4.0.0"}},
			&v1alpha1.Agent{
				ObjectMeta: meta(map[string]string{corev1.LastAppliedConfigAnnotation: "", "keep": "this"}), Spec: v1alpha1.AgentSpec{Version: "v4.0.0"},
				OmittedBytes: len(applied[corev1.LastAppliedConfigAnnotation]) + len("{}"),
			}},
		{"a configuration that is applied", configured(2, 2, text, text), lean},
		{"a configuration of another generation", configured(3, 2, text, text), configured(3, 2, text, text)},
		{"a configuration that is not what was applied", configured(2, 2, text, "else"), configured(2, 2, text, "else")},
		{"a configuration from elsewhere", configured(2, 2, "", text), configured(2, 2, "", text)},
		{"metadata of nobody's concern", owned("app", "web"), &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: "web", ResourceVersion: "1",
		}}},
		{"metadata of an Agent's Secret", owned(v1alpha1.LabelAgentUID, "uid"), marked(v1alpha1.LabelAgentUID)},
		{"metadata of a copy of credentials", owned(v1alpha1.LabelCloudProjectUID, "uid"), marked(v1alpha1.LabelCloudProjectUID)},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Trim(row.object)
			if err != nil {
				t.Fatal(err)
			}
			row.want.SetManagedFields(nil)
			if diff := cmp.Diff(any(row.want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if got, err := Trim("a tombstone"); got != "a tombstone" || err != nil {
		t.Errorf("what is no object became %v, error %v", got, err)
	}
}

func TestAStartPassesOverWhatIsNobodysConcern(t *testing.T) {
	for _, row := range []struct {
		name    string
		label   string
		initial bool
		want    bool
	}{
		{"there before the start", "app", true, false},
		{"there before the start, and ours", v1alpha1.LabelAgentUID, true, true},
		{"made since", "app", false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{row.label: "x"}}}
			news := News(v1alpha1.LabelAgentUID)
			if got := news.Create(event.CreateEvent{Object: object, IsInInitialList: row.initial}); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
			if !news.Update(event.UpdateEvent{ObjectOld: object, ObjectNew: object}) || !news.Delete(event.DeleteEvent{Object: object}) {
				t.Error("a change is passed over")
			}
		})
	}
}

func TestBehindRecognizesAViewFromBeforeOurOwnWrite(t *testing.T) {
	for _, row := range []struct {
		name, cached, written string
		want                  bool
	}{
		{"nothing was written", "7", "", false},
		{"an earlier view", "99", "100", true},
		{"the view of the write", "100", "100", false},
		{"a later view", "101", "100", false},
		{"versions that cannot be compared are believed", "abc", "100", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{ResourceVersion: row.cached}}
			if got := Behind(agent, row.written); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}
