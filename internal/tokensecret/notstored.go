/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"bytes"
	"maps"
	"slices"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// NotStored compares what was written to a Secret with the data in the API server's response: a policy or webhook of the cluster may
// change what the API server accepts. Keys with a nil value were removed. It returns nil if all others are stored.
func NotStored(name string, written, stored map[string][]byte) error {
	for _, key := range slices.Sorted(maps.Keys(written)) {
		if written[key] != nil && !bytes.Equal(written[key], stored[key]) {
			return fault.Terminalf(v1alpha1.ReasonAPIServer, "the API server accepted and did not store the key %q of Secret %q: "+
				"correct the policy or webhook that removes or changes it", key, name).Coded(fault.SecretUnstored)
		}
	}
	return nil
}
