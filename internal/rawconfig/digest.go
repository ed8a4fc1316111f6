/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package rawconfig

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Key makes the digests of configurations from a Secret or ConfigMap unguessable. Digests are in a status that more users
// may read than the source: with a plain hash they could test guesses of its content. Inline configurations have no key:
// everyone who can read the status can read them. A Key prints as [redacted] in every format.
type Key string

// Format writes [redacted] for every verb.
func (Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[redacted]") }

// Digest returns the digest of a configuration with this hash: "<id of the key>-<128 bits>", or the hash if there is no key.
func (k Key) Digest(hash string) string {
	if k == "" {
		return hash
	}
	return k.id() + "-" + k.sum("configuration " + hash)[:32]
}

// Of is the key for one Agent. With one key for all Agents, a user could test guesses of the digests of others with an Agent
// in the same CloudProject.
func (k Key) Of(agent types.UID) Key {
	if k == "" {
		return k
	}
	return Key(k.sum("Agent " + string(agent)))
}

// Made reports whether a digest was made with this key, so that it is comparable.
func (k Key) Made(digest string) bool {
	id, _, keyed := strings.Cut(digest, "-")
	return k == "" && !keyed || k != "" && keyed && id == k.id()
}

// id identifies the key without revealing it.
func (k Key) id() string { return k.sum("key")[:8] }

func (k Key) sum(text string) string {
	mac := hmac.New(sha256.New, []byte(k))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}
