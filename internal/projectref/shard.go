/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package projectref

import (
	"k8s.io/apimachinery/pkg/labels"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// Shard is the part of the CloudProjects that one of several operators manages; their Agents follow them.
// The zero Shard is all of them.
type Shard struct{ Selector labels.Selector }

// Has reports whether a CloudProject is in the shard.
func (s Shard) Has(cp *v1alpha1.CloudProject) bool {
	return s.Selector == nil || s.Selector.Matches(labels.Set(cp.Labels))
}

// HasStrays reports whether the shard manages Agents whose CloudProject does not exist: it is the shard of
// CloudProjects without labels.
func (s Shard) HasStrays() bool { return s.Selector == nil || s.Selector.Matches(labels.Set{}) }
