/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package rawconfig

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

func TestDigests(t *testing.T) {
	a, b := Key("a-key-of-32-bytes-a-key-of-32-byt"), Key("another-key-of-32-bytes-another-k")
	hash := cloud.Hash("[INPUT]")
	if got := Key("").Digest(hash); got != hash {
		t.Errorf("without a key: %q", got)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{32}$`).MatchString(a.Digest(hash)) {
		t.Errorf("with a key: %q", a.Digest(hash))
	}
	if again := Key(strings.Clone(string(a))); again.Digest(hash) != a.Digest(hash) || a.Digest(hash) == b.Digest(hash) || a.Digest(hash) == a.Digest(cloud.Hash("x")) {
		t.Error("digests with different keys are equal")
	}
	for _, row := range []struct {
		name   string
		key    Key
		digest string
		want   bool
	}{
		{"with this key", a, a.Digest(hash), true},
		{"with another key", a, b.Digest(hash), false},
		{"without a key, and there is one", a, hash, false},
		{"without a key, and there is none", "", hash, true},
		{"with a key, and there is none", "", a.Digest(hash), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.key.Made(row.digest); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
	for _, verb := range []string{"%v", "%s", "%q", "%x", "%#v", "%+v"} {
		if got := fmt.Sprintf(verb, Config{Key: a}.Key); got != "[redacted]" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if got := (Config{Data: "[INPUT]", Key: a}).Digest(); got != a.Digest(hash) {
		t.Errorf("a configuration: %q", got)
	}
	if got := (Config{Hash: "h", Key: a}).Digest(); got != "h" {
		t.Errorf("one of which only the hash is known: %q", got)
	}
}
