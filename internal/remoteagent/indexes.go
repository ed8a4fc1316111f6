/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"hash/fnv"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// Field indexes of the cached Agents by their remote agent and machine ID, and of the Secrets by the UID in their label;
// their values are buckets.
const (
	remoteIndex  = "status.id"
	machineIndex = "status.machineID"
	intentIndex  = "intent"
	ownerIndex   = "owner"
)

// intentOpen is the value of the Agents with an open registration intent, whoever wrote it: mostly few.
const intentOpen = "open"

// bucket is the index entry of a value that is nearly unique. One entry for each value would take hundreds of bytes; the
// reader of a bucket filters out the other values.
func bucket(value string) string {
	const buckets = 1 << 12
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(value))
	return strconv.FormatUint(uint64(hash.Sum32()%buckets), 36)
}

// indexes of the cached Agents, by the value whose bucket is the entry; an empty value has none.
var indexes = map[string]func(*v1alpha1.Agent) string{
	remoteIndex:  func(a *v1alpha1.Agent) string { return a.Status.ID },
	machineIndex: func(a *v1alpha1.Agent) string { return a.Status.MachineID },
	intentIndex: func(a *v1alpha1.Agent) string {
		if intent := IntentOf(a); intent.IsZero() || intent.Spent(ClosedIntent(a)) {
			return ""
		}
		return intentOpen
	},
}

// having are the Agents with this remote agent, machine ID or state of the intent, by the index, as the cache has them, not to be changed.
func (o *Operator) having(ctx context.Context, index, value string) ([]v1alpha1.Agent, error) {
	var agents v1alpha1.AgentList
	err := o.Client.List(ctx, &agents, client.MatchingFields{index: bucket(value)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(agents.Items, func(a v1alpha1.Agent) bool {
		return indexes[index](&a) != value
	}), nil
}

// addIndexes adds the indexes to the cache.
func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for name, value := range indexes {
		if err := indexer.IndexField(ctx, &v1alpha1.Agent{}, name, func(o client.Object) []string {
			return entries(value(o.(*v1alpha1.Agent)))
		}); err != nil {
			return err
		}
	}
	secrets := &metav1.PartialObjectMetadata{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return indexer.IndexField(ctx, secrets, ownerIndex, func(o client.Object) []string {
		uid, _ := tokensecret.Owner(o)
		return entries(string(uid))
	})
}

// OfSecrets finds the Secrets that have the label of an Agent.
func OfSecrets(uid types.UID) client.MatchingFields {
	return client.MatchingFields{ownerIndex: bucket(string(uid))}
}

func entries(value string) []string {
	if value == "" {
		return nil
	}
	return []string{bucket(value)}
}
