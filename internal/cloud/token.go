/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
	"unique"
)

// Redacted is printed in place of a token.
const Redacted = "[redacted]"

// MaxToken is the length of the longest token that is accepted, in bytes. A Secret holds up to 1 MiB.
const MaxToken = 128 << 10

// Token is a secret. It prints as [redacted] in every format; only Reveal
// returns the value. Tokens of the same value are equal under ==, too.
type Token struct {
	// A handle, not a string: fmt ignores the methods of unexported fields, and
	// would print the content of a Token inside one.
	value unique.Handle[string]
}

// NewToken returns a token with this value, unchanged.
func NewToken(value string) Token {
	if value == "" {
		return Token{}
	}
	return Token{value: unique.Make(value)}
}

// TrimToken reads a token as users store it, without the invisible characters around it, such as a line break, a byte order
// mark or a zero-width space. It is empty if nothing is left. The error names what is invalid inside the token, and never
// repeats the token.
func TrimToken(raw []byte) (Token, error) {
	if !utf8.Valid(raw) {
		return Token{}, errors.New("the token is not UTF-8 text: store it as plain text")
	}
	value := strings.TrimFunc(string(raw), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	for _, r := range value {
		switch {
		case unicode.IsSpace(r):
			return Token{}, errors.New("the token holds a space or a line break: store the token alone, in one line")
		case !unicode.IsPrint(r):
			return Token{}, fmt.Errorf("the token holds an invisible character (%U): store it again without that", r)
		}
	}
	return NewToken(value), nil
}

// Reveal returns the secret value.
func (t Token) Reveal() string {
	if t.IsZero() {
		return ""
	}
	return t.value.Value()
}

// IsZero reports whether the token is empty.
func (t Token) IsZero() bool { return t == Token{} }

// Equal compares in constant time.
func (t Token) Equal(other Token) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(other.Reveal())) == 1
}

// Digest distinguishes tokens without showing them; empty for an empty token.
func (t Token) Digest() string {
	if t.IsZero() {
		return ""
	}
	return Hash(t.Reveal())
}

// Usable reports whether this can be a real token. It is false for an empty one, for the masks that servers send instead of
// a token, and for a value with spaces or invisible characters.
func (t Token) Usable() bool {
	return !t.masked() && !strings.ContainsFunc(t.Reveal(), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}

// masked reports whether this is a mask instead of a token.
func (t Token) masked() bool {
	value := t.Reveal()
	if strings.Trim(value, "*xX•.-") == "" {
		return true
	}
	switch strings.ToLower(value) {
	case "redacted", "masked", "hidden":
		return true
	}
	return strings.ContainsRune("[<({*", rune(value[0])) && strings.ContainsRune("]>)}*", rune(value[len(value)-1]))
}

// partMasked matches what no token has but one of which a server shows only the end or the start.
var partMasked = regexp.MustCompile(`\*|\.\.\.|[xX]{8}|[-_#]{8}|[^ -~]`)

// shown returns the token that a read shows; none if a part of it is masked. The response to a registration has the whole.
func (t Token) shown() Token {
	if partMasked.MatchString(t.Reveal()) {
		return Token{}
	}
	return t
}

// ProjectID reads the project's ID from a project token, without verifying the signature. It is false for a token of another
// form, which may still be valid.
func (t Token) ProjectID() (string, bool) {
	payload, _, found := strings.Cut(t.Reveal(), ".")
	if !found {
		return "", false
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return "", false
	}
	var claims struct {
		ProjectID string `json:"ProjectID"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil || !isUUID(claims.ProjectID) {
		return "", false
	}
	return NormalID(claims.ProjectID), true
}

// String returns [redacted].
func (Token) String() string { return Redacted }

// GoString returns [redacted].
func (Token) GoString() string { return Redacted }

// Format writes [redacted] for every verb.
func (Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Redacted) }

// LogValue returns [redacted].
func (Token) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText returns [redacted].
func (Token) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON returns "[redacted]".
func (Token) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// UnmarshalJSON reads a string, or null as the empty token. Of one that is too long only the beginning is kept, which is too long, too.
func (t *Token) UnmarshalJSON(raw []byte) error {
	var value string
	if err := json.Unmarshal(raw, &value); err != nil {
		return fmt.Errorf("a token must be a JSON string")
	}
	trim(&value, MaxToken+1)
	*t = NewToken(value)
	return nil
}
