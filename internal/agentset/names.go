/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
)

const (
	// maxSlot is the longest value of a label.
	maxSlot = 63
	// hashLength is what a shortened slot ends with.
	hashLength = 10

	secretSuffix = "-sessions"
)

// Slot is the name of a node or replica as labels, Secrets and Agents have it: as it is, or shortened with a hash where it
// is too long for a label.
func Slot(key string) string {
	if len(key) <= maxSlot {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	head := strings.TrimRight(key[:maxSlot-hashLength-1], "-.")
	return head + "-" + hex.EncodeToString(sum[:])[:hashLength]
}

// AgentName is the name of a set's Agent for a node or replica.
func AgentName(set, key string) string { return set + "-" + Slot(key) }

// SlotOf is the slot of a set's Agent, from its name; false for an Agent whose name is not of that form.
func SlotOf(set, agent string) (string, bool) {
	slot, found := strings.CutPrefix(agent, set+"-")
	return slot, found && slot != "" && len(slot) <= maxSlot
}

var hostLabel = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)

// HostName is the name of the agent in Calyptia Cloud: that of its node or replica, where it is a host name.
func HostName(key string) string {
	for label := range strings.SplitSeq(key, ".") {
		if !hostLabel.MatchString(label) {
			return Slot(key)
		}
	}
	return key
}

// SecretName is the name of one of the Secrets with the sessions of a set.
func SecretName(set, configured string, shard int) string {
	if configured == "" {
		configured = set + secretSuffix
	}
	return configured + "-" + strconv.Itoa(shard)
}

// Shard says which of the Secrets holds the session of a slot. It depends on the slot and the number of Secrets alone.
func Shard(slot string, shards int) int {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(slot))
	return int(hash.Sum32() % uint32(max(shards, 1)))
}
