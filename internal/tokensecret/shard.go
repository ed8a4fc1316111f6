/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// entryKeys are the suffixes of the keys of one session in a Secret with many.
var entryKeys = []string{SessionKey, YAMLKey, ClassicKey}

// Entry is a session with its keys in a Secret with many: each starts with the slot.
func Entry(slot string, session map[string][]byte) map[string][]byte {
	entry := map[string][]byte{}
	for _, key := range entryKeys {
		entry[slot+"."+key] = session[key]
	}
	return entry
}

// Entries returns the sessions in a Secret with many, by slot. Other keys are left out.
func Entries(secret *corev1.Secret) map[string]map[string][]byte {
	entries := map[string]map[string][]byte{}
	for key, value := range secret.Data {
		for _, suffix := range entryKeys {
			slot, found := strings.CutSuffix(key, "."+suffix)
			if !found || slot == "" {
				continue
			}
			if entries[slot] == nil {
				entries[slot] = map[string][]byte{}
			}
			entries[slot][key] = value
		}
	}
	return entries
}

// ValidSession reports whether a session is complete, with the ID and the token of an agent.
func ValidSession(raw []byte) bool {
	if len(raw) < headerSize+2 || raw[0] != 0xC1 || raw[1] != 0x00 {
		return false
	}
	content, metadata := raw[headerSize+2:], int(binary.BigEndian.Uint16(raw[headerSize:]))
	if metadata > len(content) || len(content)-metadata != int(binary.BigEndian.Uint32(raw[10:14])) {
		return false
	}
	session := readMap(content[metadata:])
	return session["id"] != "" && session["token"] != ""
}

// EntryDigest distinguishes sessions.
func EntryDigest(entry map[string][]byte) string {
	hash := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(entry)) {
		part := sha256.Sum256(entry[key])
		_, _ = hash.Write(append([]byte(key+"\x00"), part[:]...))
	}
	return string(hash.Sum(nil)[:16])
}

// JudgeShard returns the verdict on a Secret with the name of a set's Secret of sessions. Ownerless is what a backup restores
// and what an AgentSet leaves that was deleted without its dependents: labeled for a set of the name, and nothing but sessions.
func JudgeShard(set *v1alpha1.AgentSet, secret *corev1.Secret) Verdict {
	controller := metav1.GetControllerOfNoCopy(secret)
	uid, labeled := secret.Labels[v1alpha1.LabelAgentSetUID]
	switch {
	case labeled && restored(set, secret):
		if secret.DeletionTimestamp != nil {
			return Doomed
		}
		return Ownerless
	case controller == nil || !labeled || controller.Kind != "AgentSet" || controller.APIVersion != v1alpha1.GroupVersion.String():
		return Foreign
	case controller.UID == set.UID && uid == string(set.UID) && secret.DeletionTimestamp == nil:
		return Ours
	case controller.UID == set.UID && uid == string(set.UID), controller.Name == set.Name && uid == string(controller.UID):
		return Doomed
	default:
		return Foreign
	}
}

// restored reports whether a Secret without an owner holds sessions of a set with this name, and nothing else.
func restored(set *v1alpha1.AgentSet, secret *corev1.Secret) bool {
	if len(secret.OwnerReferences) > 0 || secret.Labels[v1alpha1.LabelAgentSet] != set.Name ||
		secret.Type != corev1.SecretTypeOpaque || ptr.Deref(secret.Immutable, false) {
		return false
	}
	keys := 0
	for _, entry := range Entries(secret) {
		keys += len(entry)
	}
	return keys == len(secret.Data)
}

// NewShard returns a Secret with sessions of a set.
func NewShard(set *v1alpha1.AgentSet, name string, owner metav1.OwnerReference, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: set.Namespace, Name: name, OwnerReferences: []metav1.OwnerReference{owner}, Labels: shardLabels(set),
		},
		Data: data,
	}
}

func shardLabels(set *v1alpha1.AgentSet) map[string]string {
	return map[string]string{
		"app.kubernetes.io/managed-by": "calyptia-agent-operator",
		v1alpha1.LabelAgentSet:         set.Name, v1alpha1.LabelAgentSetUID: string(set.UID),
	}
}

// ShardPatch returns the patch that sets keys in one version of a Secret; keys with a nil value are removed.
func ShardPatch(secret metav1.Object, data map[string][]byte) ([]byte, error) {
	return json.Marshal(map[string]any{"metadata": precondition(secret), "data": data})
}

// AdoptShardPatch is a ShardPatch that makes the Secret the set's own, too.
func AdoptShardPatch(set *v1alpha1.AgentSet, owner metav1.OwnerReference, secret metav1.Object, data map[string][]byte) ([]byte, error) {
	metadata := precondition(secret)
	metadata["labels"], metadata["ownerReferences"] = shardLabels(set), []metav1.OwnerReference{owner}
	return json.Marshal(map[string]any{"metadata": metadata, "data": data})
}

func precondition(secret metav1.Object) map[string]any {
	return map[string]any{"uid": secret.GetUID(), "resourceVersion": secret.GetResourceVersion()}
}
