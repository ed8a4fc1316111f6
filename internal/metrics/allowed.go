/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// allowedFor is how long a decision counts: labels of namespaces change rarely, and each costs a read.
const allowedFor = 5 * time.Minute

// allowed remembers which namespaces CloudProjects allow. Lost: a read for each namespace.
type allowed struct {
	ask   func(ctx context.Context, cp *v1alpha1.CloudProject, namespace string) (bool, error)
	mu    sync.Mutex
	known map[allowedKey]decision
	most  int // decisions, before old ones are dropped
}

type allowedKey struct {
	cloudProject types.UID
	namespace    string
}

type decision struct {
	allowed    bool
	generation int64
	at         time.Time
}

// has reports whether a CloudProject allows a namespace. While that cannot be decided the last decision counts, and before
// there is one the namespace counts as allowed.
func (a *allowed) has(ctx context.Context, cp *v1alpha1.CloudProject, namespace string) bool {
	if a.ask == nil || cp.Namespace == namespace {
		return true
	}
	key := allowedKey{cp.UID, namespace}
	a.mu.Lock()
	last, found := a.known[key]
	a.mu.Unlock()
	if found && last.generation == cp.Generation && time.Since(last.at) < allowedFor {
		return last.allowed
	}
	now, err := a.ask(ctx, cp, namespace)
	if err != nil {
		return !found || last.allowed
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[key] = decision{allowed: now, generation: cp.Generation, at: time.Now()}
	if len(a.known) > a.most { // Rarely, so that it costs nothing.
		maps.DeleteFunc(a.known, func(_ allowedKey, d decision) bool { return time.Since(d.at) > 2*allowedFor })
		a.most = 2*len(a.known) + unscraped
	}
	return now
}
