/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentstatus

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Show cleans, shortens and hides what the API calls something. Every text of the API in the status passes it. hide removes tokens
// from a text; nil if there are none.
func Show(text string, hide func(string) string) string {
	const shortest = 16 // No token has fewer characters, and most texts have.
	if text = Clip(text); hide == nil || len(text) < shortest || cloud.ValidID(text) {
		return text
	}
	return hide(text)
}

// Registered is the agent as it is known right after its registration.
func Registered(made *cloud.Registered, sent cloud.Registration, hide func(string) string) *v1alpha1.RemoteAgent {
	return &v1alpha1.RemoteAgent{
		Name: Show(sent.Name, hide), Version: Show(sent.Version, hide), FleetID: sent.FleetID,
		EnvironmentName: Show(made.EnvironmentName, hide), CreatedAt: timestamp(&made.CreatedAt),
	}
}

// Remote is the agent as the API shows it.
func Remote(a *cloud.Agent, hide func(string) string) *v1alpha1.RemoteAgent {
	const mostTags = 64
	show := func(text string) string { return Show(text, hide) }
	var tags []string
	for _, tag := range a.Tags[:min(len(a.Tags), mostTags)] {
		tags = append(tags, show(tag))
	}
	return &v1alpha1.RemoteAgent{
		Name: show(a.Name), Version: show(a.Version), Status: show(a.Status), OS: show(a.OS), Arch: show(a.Arch),
		Tags: tags, EnvironmentName: show(a.EnvironmentName), FleetID: show(a.Fleet()),
		MetricsCount:        a.MetricsCount,
		FirstMetricsAddedAt: timestamp(a.FirstMetricsAddedAt), LastMetricsAddedAt: timestamp(a.LastMetricsAddedAt),
		CreatedAt: timestamp(&a.CreatedAt), UpdatedAt: timestamp(&a.UpdatedAt),
	}
}

// timestamp has the precision that the API server keeps, so that equal times stay equal.
func timestamp(t *time.Time) *metav1.Time {
	if t == nil || t.IsZero() || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
		return nil // RFC 3339 has no other years.
	}
	return &metav1.Time{Time: t.UTC().Truncate(time.Second)}
}

// DelayVolatile avoids status writes for counters and for versions of Secrets that changed without consequence. Versions
// that became invalid are written at once, because the next process relies on them.
func DelayVolatile(before, after *v1alpha1.AgentStatus) {
	fresh := after.DeepCopy()
	if before.Agent != nil && after.Agent != nil {
		after.Agent.MetricsCount = before.Agent.MetricsCount
		after.Agent.LastMetricsAddedAt, after.Agent.UpdatedAt = before.Agent.LastMetricsAddedAt, before.Agent.UpdatedAt
	}
	later := func(before string, after *string) {
		if before != "" && *after != "" {
			*after = before
		}
	}
	later(before.Applied.TokenSecretResourceVersion, &after.Applied.TokenSecretResourceVersion)
	later(before.Applied.SessionSecretResourceVersion, &after.Applied.SessionSecretResourceVersion)
	if !equality.Semantic.DeepEqual(before, after) {
		*after = *fresh // There is a write anyway.
	}
}
