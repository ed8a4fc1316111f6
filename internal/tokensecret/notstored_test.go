/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/fault"
)

func TestNotStored_NamesTheKeyAndNeverItsValue(t *testing.T) {
	data := func(pairs ...string) map[string][]byte {
		made := map[string][]byte{}
		for i := 0; i < len(pairs); i += 2 {
			made[pairs[i]] = []byte(pairs[i+1])
		}
		return made
	}
	removed := data("id", "1")
	removed["token"] = nil
	for name, row := range map[string]struct {
		written, stored map[string][]byte
		missing         string
	}{
		"all is stored":              {data("id", "1", "token", "t0ken"), data("id", "1", "token", "t0ken"), ""},
		"a key is added":             {data("id", "1"), data("id", "1", "checksum", "x"), ""},
		"a key is missing":           {data("id", "1", "token", "t0ken"), data("id", "1"), "token"},
		"a value is changed":         {data("id", "1", "token", "t0ken"), data("id", "1", "token", "0ther"), "token"},
		"nothing is stored":          {data("id", "1"), nil, "id"},
		"nothing is written":         {nil, data("id", "1"), ""},
		"a key was to be removed":    {removed, data("id", "1"), ""},
		"a removed key is there yet": {removed, data("id", "1", "token", "t0ken"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := NotStored("web-token", row.written, row.stored)
			if row.missing == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			failure, ok := fault.As(err)
			if !ok || failure.Class != fault.Terminal || !strings.Contains(failure.Message, `key "`+row.missing+`" of Secret "web-token"`) {
				t.Fatalf("the failure is %v", err)
			}
			if strings.Contains(failure.Message, "t0ken") || strings.Contains(failure.Message, "0ther") {
				t.Errorf("%q shows a value", failure.Message)
			}
		})
	}
}
