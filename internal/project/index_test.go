/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

func TestTrimKeepsOutOfTheCacheWhatNobodyReads(t *testing.T) {
	meta := func(annotations map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Name: "web", ResourceVersion: "1", Labels: map[string]string{"a": "b"}, Annotations: annotations, Finalizers: []string{"f"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
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
	lean.Spec.RawConfigHash = cloud.Hash(text)
	applied := map[string]string{corev1.LastAppliedConfigAnnotation: `{"token":"secret"}`, "keep": "this"}
	for _, row := range []struct {
		name         string
		object, want client.Object
	}{
		{"an Agent", &v1alpha1.Agent{ObjectMeta: meta(applied), Spec: v1alpha1.AgentSpec{Version: "v4.0.0"}},
			&v1alpha1.Agent{ObjectMeta: meta(map[string]string{"keep": "this"}), Spec: v1alpha1.AgentSpec{Version: "v4.0.0"}}},
		{"a configuration that is applied", configured(2, 2, text, text), lean},
		{"a configuration of another generation", configured(3, 2, text, text), configured(3, 2, text, text)},
		{"a configuration that is not what was applied", configured(2, 2, text, "else"), configured(2, 2, text, "else")},
		{"a configuration from elsewhere", configured(2, 2, "", text), configured(2, 2, "", text)},
		{"metadata alone", &metav1.PartialObjectMetadata{ObjectMeta: meta(nil)}, &metav1.PartialObjectMetadata{ObjectMeta: meta(nil)}},
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

func TestBehindTellsAViewFromBeforeOurOwnWrite(t *testing.T) {
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
