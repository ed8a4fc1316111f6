/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Much of a token is known to many: the project in it, or how all tokens of a service begin. What is hidden of a text with a guess must not
// show the next character.
func TestRedact_AGuessOfTheNextCharacter_IsNotConfirmed(t *testing.T) {
	const secret = "k3JbCadAlATvGGwjmBIugcY5x0Qp9ZrTnV7hLs2EwUy"
	known := base64.RawURLEncoding.EncodeToString([]byte(`{"ProjectID":"8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11"}`)) + "."
	for name, public := range map[string]string{
		"a project token": known, "a web token": "eyJhbGciOiJIUzI1NiJ9." + known, "a prefix": "calyptia-project-token_", "a path": "projects/8f6f2f0e:",
	} {
		t.Run(name, func(t *testing.T) {
			token := cloud.NewToken(public + secret)
			for learned := range len(secret) - 1 {
				begun := public + secret[:learned]
				if learned >= 12 { // Nobody can know so much of the secret itself, but from what is hidden.
					break
				}
				for _, redact := range []func(string, cloud.Token) string{cloud.Redact, cloud.RedactWhole} {
					for _, length := range []int{16, 20, 32, len(begun) + 1} {
						guess := (begun + secret[learned:learned+1])[max(len(begun)+1-length, 0):]
						if shown := redact("os "+guess+" arch", token); strings.Contains(shown, cloud.Redacted) {
							t.Fatalf("after %d characters of the secret, %q confirms the next", learned, shown)
						}
					}
				}
			}
			for _, redact := range []func(string, cloud.Token) string{cloud.Redact, cloud.RedactWhole} {
				for _, text := range []string{public + secret, secret, "x" + secret + "x"} {
					if shown := redact("it is "+text+".", token); strings.Contains(shown, secret[2:]) || !strings.Contains(shown, cloud.Redacted) {
						t.Errorf("%q shows the token", shown)
					}
				}
			}
			if shown := cloud.Redact("it ends with "+secret[8:30], token); !strings.Contains(shown, cloud.Redacted) {
				t.Errorf("%q shows half of the secret", shown)
			}
		})
	}
}

// A tenant that learned a part of a token elsewhere gets no further with what it writes itself.
func TestRedactWhole_APartOfTheSecret_IsNotConfirmed(t *testing.T) {
	const secret = "k3JbCadAlATvGGwjmBIugcY5x0Qp9ZrTnV7hLs2EwUy"
	token := cloud.NewToken("eyJQcm9qZWN0SUQiOiI4ZjZmMmYwZSJ9." + secret)
	for n := 1; n < len(secret); n++ {
		if text := secret[:n]; cloud.RedactWhole(text, token) != text {
			t.Errorf("the first %d characters are confirmed", n)
		}
	}
	if shown := cloud.RedactWhole(secret, token); shown != cloud.Redacted {
		t.Errorf("%q is shown", shown)
	}
}
