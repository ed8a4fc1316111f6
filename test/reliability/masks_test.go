/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// "Masked tokens never overwrite real tokens": also those that leave the end of the token, as many services do, or that a filter of
// secrets in responses writes.
func TestToken_MaskedInReads_StaysInItsSecret(t *testing.T) {
	for name, mask := range map[string]string{
		"the end is left":        "********1a2b",
		"the end after dots":     "••••1a2b",
		"the start is left":      "NWIy****",
		"both are left":          "NWIy...1a2b",
		"of a filter":            "[FILTERED]",
		"of another":             "<secret>",
		"a sentence in one word": "***REMOVED***",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			id := w.Ready(w.Apply("web")).Status.ID
			remote, _ := w.Cloud.Agent(id)
			w.HoldsToken("web", remote)
			w.Cloud.Configure(func(s *cloudtest.Settings) { s.MaskTokens, s.MaskAs = true, mask })
			w.Poke("web")
			handled(w, "web")
			w.HoldsToken("web", remote)
		})
	}
}
