/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package rawconfig

import (
	"strings"
	"unicode/utf8"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// shortest is the shortest part of a configuration, in bytes, that is hidden.
const shortest = 5

// Hide removes all parts of a configuration from a text. More users may read the text than the Secret that the configuration
// comes from.
func Hide(text, config string) string {
	var clean strings.Builder
	for len(text) > 0 {
		if same := common(text, config); same >= shortest {
			clean.WriteString(cloud.Redacted)
			text = text[same:]
			continue
		}
		_, size := utf8.DecodeRuneInString(text)
		clean.WriteString(text[:size])
		text = text[size:]
	}
	return clean.String()
}

// common returns the length of the longest prefix of the text that occurs in the configuration.
func common(text, config string) int {
	if len(text) < shortest || !strings.Contains(config, text[:shortest]) {
		return 0
	}
	same := shortest
	for same < len(text) && strings.Contains(config, text[:same+1]) {
		same++
	}
	return same
}
