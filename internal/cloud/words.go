/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// minSecretPart is the length from which a part of a token, such as its
// signature, is hidden even without the rest.
const minSecretPart = 16

// remoteWords cleans two texts of the API, bounded together.
func (c *Client) remoteWords(message, detail string) (string, string) {
	message = cut(c.redact(message), maxRemoteWords)
	detail = cut(c.redact(detail), maxRemoteWords-len(message))
	return message, detail
}

// ownWords cleans the text of a cause.
func (c *Client) ownWords(text string) string {
	return cut(c.redact(text), maxRemoteWords)
}

// redact makes a text printable, which may join the parts of a token, and replaces this client's tokens. Of a long text it
// keeps a little more than can be shown.
func (c *Client) redact(text string) string {
	text = printable(text)
	if len(c.secrets) > 0 {
		text = cut(text, maxRemoteWords+len(c.secrets[0]))
	}
	for _, secret := range c.secrets {
		text = hide(text, secret)
	}
	return text
}

// Redact removes a token from a text that may have been cut within it. Masks are no secret.
func Redact(text string, token Token) string {
	if token.masked() {
		return text
	}
	for _, secret := range secretsOf(token) {
		text = hide(text, secret)
	}
	return text
}

// hide replaces a secret, and each of its parts of at least minSecretPart bytes: servers shorten what they repeat, or encode some
// of its characters.
func hide(text, secret string) string {
	if len(secret) <= minSecretPart {
		return strings.ReplaceAll(text, secret, Redacted)
	}
	parts := map[string]bool{}
	for at := range len(secret) - minSecretPart + 1 {
		parts[secret[at:at+minSecretPart]] = true
	}
	var clean strings.Builder
	shown := 0 // up to where the text was written
	for at := 0; at+minSecretPart <= len(text); at++ {
		if !parts[text[at:at+minSecretPart]] {
			continue
		}
		clean.WriteString(text[shown:at] + Redacted)
		for at++; at+minSecretPart <= len(text) && parts[text[at:at+minSecretPart]]; {
			at++
		}
		at += minSecretPart - 1
		shown = at
		at--
	}
	clean.WriteString(text[shown:])
	return clean.String()
}

// secretsOf returns the parts of a token that must not be shown: the whole, then its long parts.
func secretsOf(t Token) []string {
	value := printable(t.Reveal())
	if value == "" {
		return nil
	}
	secrets := []string{value}
	for part := range strings.SplitSeq(value, ".") {
		if part != value && len(part) >= minSecretPart {
			secrets = append(secrets, part)
		}
	}
	return secrets
}

// Clean makes a foreign text safe for a condition, an event, a log line or a
// terminal: valid UTF-8 on one line, without control and format characters such
// as direction marks, and of at most limit characters, with an ellipsis for the
// rest. All foreign text that is shown must be cleaned.
func Clean(text string, limit int) string {
	text = printable(text)
	count := 0
	for i := range text {
		if count++; count > limit {
			return text[:i] + "…"
		}
	}
	return text
}

// printable is Clean without a limit. Separators become spaces; all other
// invisible characters are dropped, so that they cannot hide a token from redact.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t' || unicode.IsSpace(r) && !unicode.IsControl(r):
			return ' '
		case !unicode.IsPrint(r): // Control and format characters, and what has no meaning.
			return -1
		default:
			return r
		}
	}, strings.ToValidUTF8(text, "\uFFFD")))
}

// cut bounds a text in bytes, at a rune boundary.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
