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

// Key tells configurations apart that came from a Secret or ConfigMap. Their digests stand in a status, which more people
// may read than the source: a hash without a key would let them test guesses of what is in it. No key is for what is
// declared inline, where all who read the status can read it. However formatted it prints as [redacted].
type Key string

// Format writes [redacted] for every verb.
func (Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[redacted]") }

// Digest is what stands for a configuration with this hash: "<id of the key>-<128 bits>", or without a key the hash.
func (k Key) Digest(hash string) string {
	if k == "" {
		return hash
	}
	return k.id() + "-" + k.sum("configuration " + hash)[:32]
}

// Of is the key for one Agent. With one key for many, whoever may see the digests of others could test guesses by an Agent
// of their own.
func (k Key) Of(agent types.UID) Key {
	if k == "" {
		return k
	}
	return Key(k.sum("Agent " + string(agent)))
}

// Made reports whether a digest was made with this key, so that it can be compared.
func (k Key) Made(digest string) bool {
	id, _, keyed := strings.Cut(digest, "-")
	return k == "" && !keyed || k != "" && keyed && id == k.id()
}

// id names the key without telling it.
func (k Key) id() string { return k.sum("key")[:8] }

func (k Key) sum(text string) string {
	mac := hmac.New(sha256.New, []byte(k))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}
