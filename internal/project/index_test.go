/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/project"
)

func TestWhichCloudProjectAnAgentUses(t *testing.T) {
	byDefault := types.NamespacedName{Namespace: "system", Name: "shared"}
	for _, row := range []struct {
		name      string
		ref       *v1alpha1.CloudProjectReference
		byDefault types.NamespacedName
		want      []string
	}{
		{"its own namespace is meant", &v1alpha1.CloudProjectReference{Name: "main"}, byDefault, []string{"apps/main"}},
		{"another may be named", &v1alpha1.CloudProjectReference{Name: "main", Namespace: "infra"}, byDefault, []string{"infra/main"}},
		{"the default serves those that name none", nil, byDefault, []string{"system/shared"}},
		{"without a default they use none", nil, types.NamespacedName{}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "web"}}
			agent.Spec.ProjectRef = row.ref
			if diff := cmp.Diff(row.want, project.AgentIndexer(row.byDefault)(client.Object(agent))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := project.AgentIndexer(byDefault)(&v1alpha1.CloudProject{}); got != nil {
		t.Errorf("something else is indexed by %v", got)
	}
}
