/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
)

// labeledSecrets is a namespace with Secrets that have the label, and counts the requests for their content.
type labeledSecrets struct {
	client.Reader
	n           int
	gets, lists int
}

func (l *labeledSecrets) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	l.gets++
	return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
}

func (l *labeledSecrets) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if metadata, ok := list.(*metav1.PartialObjectMetadataList); ok {
		metadata.Items = make([]metav1.PartialObjectMetadata, l.n)
		return nil
	}
	l.lists++
	return nil
}

// A restored session whose Agent is not restored yet stays while the nodes or replicas are unknown.
func TestASessionWithoutAnAgentStaysWhileTheNodesAreUnknown(t *testing.T) {
	wanted := map[string]agentset.Wanted{"a": {Digest: "1", Size: 1}}
	stored := []map[string]agentset.Stored{{"a": {Digest: "1", Size: 1}, "restored": {Digest: "2", Size: 1}}}
	keepStored(wanted, stored)
	if plan := agentset.PlanSessions(wanted, stored); len(plan.Writes) > 0 {
		t.Errorf("it writes %+v", plan.Writes)
	}
}

func TestTokensAreListedOnlyWhereThatTakesFewerRequests(t *testing.T) {
	for _, row := range []struct {
		needed, labeled int
		listed          bool
	}{
		{listFrom - 1, listFrom - 1, false},
		{listFrom, listFrom, true},
		{listFrom, listFrom * pageSize, true},
		{listFrom, listFrom*pageSize + 1, false},
	} {
		secrets, agents, slots := &labeledSecrets{n: row.labeled}, map[string]*v1alpha1.Agent{}, []string(nil)
		for i := range row.needed {
			slot := fmt.Sprint("node-", i)
			agents[slot] = &v1alpha1.Agent{}
			agents[slot].Status.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: slot}
			slots = append(slots, slot)
		}
		if _, err := (tokenReader{secrets, secrets, "tenant", nil}).read(t.Context(), agents, slots); err != nil {
			t.Error(err)
		}
		gets, lists := row.needed, 0
		if row.listed {
			gets, lists = 0, 1
		}
		if secrets.gets != gets || secrets.lists != lists {
			t.Errorf("%+v: %d reads and %d lists, want %d and %d", row, secrets.gets, secrets.lists, gets, lists)
		}
	}
}
