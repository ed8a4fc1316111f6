/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A Fluent Bit wrote its configuration in its own words, which stays with OnChange. Nothing that the Agent declares of it changes: only the
// CloudProject is another object of the same project, with the same token.
func TestOnChange_AnotherCloudProjectOfTheProject_WhatFluentBitWroteStays(t *testing.T) {
	const words = "[INPUT]\n    Name dummy\n    # in the words of Fluent Bit\n"
	for source, from := range map[string]bool{"inline": false, "from a ConfigMap": true} {
		for change, do := range map[string]func(w *harness.World){
			"projectRef": func(w *harness.World) {
				w.Create(w.NewCloudProject("other"))
				w.Change("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "other" })
			},
			"created again": func(w *harness.World) {
				w.ChangeProject(func(cp *v1alpha1.CloudProject) {
					metav1.SetMetaDataAnnotation(&cp.ObjectMeta, v1alpha1.AnnotationOrphanAgents, "true")
				})
				former := w.Project()
				if err := w.Client.Delete(context.Background(), former); err != nil {
					w.Fatal(err)
				}
				w.Eventually("the CloudProject goes", func() error {
					var cp v1alpha1.CloudProject
					if err := w.Client.Get(context.Background(), w.Key("calyptia"), &cp); apierrors.IsNotFound(err) {
						return nil
					}
					return errors.New("it is there")
				})
				w.Create(w.NewCloudProject("calyptia"))
			},
		} {
			t.Run(source+", "+change, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{}, harness.Idle)
				w.ConfigMap("config", "fluent-bit.conf", "[INPUT]\n    name dummy\n")
				w.Start()
				w.Ready(w.Apply("web", func(a *v1alpha1.Agent) {
					a.Spec.SyncPolicy = v1alpha1.SyncOnChange
					if from {
						a.Spec.RawConfig, a.Spec.RawConfigFrom = "", &v1alpha1.KeySource{
							ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "config", Key: "fluent-bit.conf"},
						}
					}
				}))
				id := w.Get("web").Status.ID
				w.Cloud.Mutate(id, func(a *cloud.Agent) { a.RawConfig = words })
				w.Check("web")
				if a := w.Get("web"); !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionDrifted) {
					t.Fatalf("it is not Drifted: %s", harness.Describe(a))
				}
				before := w.Get("web").Status.CloudProjectUID
				do(w)
				w.Eventually("the other CloudProject is used", func() error {
					if a := w.Get("web"); a.Status.CloudProjectUID == before {
						w.Poke("web")
						return errors.New(harness.Describe(a))
					}
					return nil
				})
				w.Check("web")
				w.Ready("web")
				if a, _ := w.Cloud.Agent(id); a.RawConfig != words {
					t.Errorf("what Fluent Bit wrote was reverted to %q; events are %v", a.RawConfig, w.Events("web", 1))
				}
			})
		}
	}
}
