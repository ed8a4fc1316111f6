/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// A tenant creates and deletes CloudProjects, each with one Agent. Nobody scrapes this operator, as in an installation without
// Prometheus.
func TestDeletedCloudProjects_WithoutAScrape_LeaveNothing(t *testing.T) {
	cache := &shelf{projects: []v1alpha1.CloudProject{projectNamed("calyptia")}}
	m, _ := measure(t, AgentsOptions{ProjectOf: refersTo, Reader: cache})
	m.Happened(t.Context(), &cache.projects[0], "logs", "Registered")
	const n = 5_000
	for i := range n {
		cp := v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{
			Namespace: "tenant", Name: fmt.Sprint("cp-", i), UID: types.UID(fmt.Sprint(i))}}
		for _, reason := range []string{"Registered", "Deleted"} {
			m.Happened(t.Context(), &cp, "tenant", reason)
		}
	}
	if left := testutil.CollectAndCount(m.events); left > n/10 {
		t.Errorf("%d series are left of %d deleted CloudProjects", left, n)
	}
	if kept := testutil.ToFloat64(m.events.WithLabelValues("logs/calyptia", "Registered")); kept != 1 {
		t.Errorf("the counter of an existing CloudProject is %v, want 1", kept)
	}
}

// The decisions about CloudProjects and namespaces that nobody asks for any more are dropped, without a scrape.
func TestAllowed_OldDecisions_AreDropped(t *testing.T) {
	a := allowed{known: map[allowedKey]decision{}, ask: func(context.Context, *v1alpha1.CloudProject, string) (bool, error) {
		return true, nil
	}}
	for i := range 10 * unscraped {
		cp := v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", UID: types.UID(fmt.Sprint(i))}}
		a.has(t.Context(), &cp, "guest")
		for key, d := range a.known { // As if each took a minute.
			d.at = d.at.Add(-time.Minute)
			a.known[key] = d
		}
	}
	if left := len(a.known); left > 2*unscraped {
		t.Errorf("%d decisions are left, want %d at most", left, 2*unscraped)
	}
}
