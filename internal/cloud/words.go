/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// minSecretPart is the length from which a part of a token, such as its signature, is hidden even without the rest.
const minSecretPart = 16

// mostHidden bounds how much of a text is searched beyond what can be shown: as much as a token may take.
const mostHidden = 16 << 10

// leastUnguessable is how much of a token without a dot follows the separator from which on nobody can know it.
const leastUnguessable = 24

// secrets are what no text may show: the whole, and of the parts also each piece of at least minSecretPart bytes, because servers
// shorten what they repeat, or encode some of its characters.
type secrets struct{ whole, parts []string }

// with adds a token.
func (s secrets) with(token Token) secrets {
	if secret := secretOf(token); secret != "" && !slices.Contains(s.whole, secret) {
		return s.and([]string{secret}, []string{unguessable(secret)})
	}
	return s
}

func (s secrets) and(whole, parts []string) secrets {
	return secrets{slices.Concat(s.whole, whole, parts), slices.Concat(s.parts, parts)}
}

// longest is the length of the longest secret.
func (s secrets) longest() (length int) {
	for _, secret := range s.whole {
		length = max(length, len(secret))
	}
	return length
}

// clean makes a text safe to show, and bounds it in bytes. Tokens are hidden after printable, which may join their parts. Of a
// long text only a little more than can be shown is searched.
func (s secrets) clean(text string, limit int) string {
	text = printable(text)
	return cut(s.hide(text, limit+max(minSecretPart, min(s.longest(), mostHidden)), markForms), limit)
}

// hide hides the secrets in the start of a text, and what else is marked, and drops the rest. It also drops what may be a part of a
// secret at the cut, because the hidden ones leave room for it.
func (s secrets) hide(text string, searched int, mark func(text string, hidden []bool)) string {
	start := cut(text, searched)
	hidden := make([]bool, len(start))
	mark(text, hidden)
	s.mark(start, hidden)
	if len(text) > searched {
		end := max(len(start)-minSecretPart, 0, 1+lastIndex(hidden))
		start, hidden = cut(start, end), hidden[:end]
	}
	return redacted(start, hidden)
}

func nothingElse(string, []bool) {}

// Redact removes a token, and long parts of it, from a text that may have been cut within it. Masks are no secret. For what a tenant or its
// agent writes, and then sees, use RedactWhole.
func Redact(text string, token Token) string {
	if token.masked() {
		return text
	}
	if secretOf(token) != "" {
		text = secrets{}.with(token).hide(text, len(text), nothingElse)
	}
	return text
}

// RedactWhole removes a token, or all of it that is secret, and no shorter parts: whoever writes a text and sees what is hidden of it could
// guess a token part by part.
func RedactWhole(text string, token Token) string {
	secret := secretOf(token)
	if token.masked() || secret == "" {
		return text
	}
	hidden := make([]bool, len(text))
	secrets{whole: []string{secret, unguessable(secret)}}.mark(text, hidden)
	return redacted(text, hidden)
}

// Holds reports whether a text holds a token or a long part of it, or the token in an encoding. Masks are no secret.
func Holds(text string, token Token) bool {
	if token.masked() || secretOf(token) == "" {
		return false
	}
	return Redact(text, token) != text ||
		slices.ContainsFunc(encodings(secretOf(token)), func(form string) bool { return strings.Contains(text, form) })
}

// mark marks the secrets in a text.
func (s secrets) mark(text string, hidden []bool) {
	s.markParts(text, hidden)
	for _, whole := range s.whole {
		for at := 0; whole != ""; {
			next := strings.Index(text[at:], whole)
			if next < 0 {
				break
			}
			at += next
			fill(hidden[at : at+len(whole)])
			at += len(whole)
		}
	}
}

// unguessable is the end of a token that nobody can know; empty if it is too short to be hidden alone. The rest says whose token it is,
// as the project of a project token, which many know: if a part was hidden that has one character of the secret, whoever can have the
// operator show a text would learn that character, and the next, until the last. A text with spaces is no token.
func unguessable(secret string) string {
	if strings.ContainsFunc(secret, unicode.IsSpace) {
		return secret
	}
	if dot := strings.LastIndexByte(secret, '.'); dot >= 0 {
		if end := secret[dot+1:]; len(end) >= minSecretPart {
			return end
		}
		return ""
	}
	if len(secret) > leastUnguessable {
		return secret[strings.LastIndexAny(secret[:len(secret)-leastUnguessable], "-_:/")+1:]
	}
	return secret
}

// markParts marks the long parts of secrets. Its memory depends on the text, because a secret may have megabytes.
func (s secrets) markParts(text string, hidden []bool) {
	var secretParts map[string]bool // the parts of the text; true for those of a secret, too
	for _, secret := range s.parts {
		if len(secret) <= minSecretPart || !mayHold(text, secret) {
			continue
		}
		if secretParts == nil {
			secretParts = map[string]bool{}
			for at := range max(len(text)-minSecretPart+1, 0) {
				secretParts[text[at:at+minSecretPart]] = false
			}
		}
		for at := range len(secret) - minSecretPart + 1 {
			part := secret[at : at+minSecretPart]
			if _, shown := secretParts[part]; shown {
				secretParts[part] = true
			}
		}
	}
	for at := range max(len(text)-minSecretPart+1, 0) {
		if secretParts[text[at:at+minSecretPart]] {
			fill(hidden[at : at+minSecretPart])
		}
	}
}

// redacted replaces what is hidden.
func redacted(text string, hidden []bool) string {
	if lastIndex(hidden) < 0 {
		return text
	}
	var clean strings.Builder
	for at := range len(text) {
		switch {
		case !hidden[at]:
			clean.WriteByte(text[at])
		case at == 0 || !hidden[at-1]:
			clean.WriteString(Redacted)
		}
	}
	return clean.String()
}

func fill(hidden []bool) {
	for at := range hidden {
		hidden[at] = true
	}
}

// lastIndex returns where the last hidden byte is; -1 without any.
func lastIndex(hidden []bool) int {
	for at := len(hidden) - 1; at >= 0; at-- {
		if hidden[at] {
			return at
		}
	}
	return -1
}

// mayHold reports whether a text may hold a part of a secret. For the usual short text that is much cheaper than to look for each part:
// any part holds one of the blocks.
func mayHold(text, secret string) bool {
	const block, short = minSecretPart / 2, 1 << 10
	if len(text) < minSecretPart || len(text) > short {
		return len(text) > short
	}
	for at := 0; at+block <= len(secret); at += block {
		if strings.Contains(text, secret[at:at+block]) {
			return true
		}
	}
	return false
}

// secretOf returns what must not be shown of a token: the whole, and so its long parts.
func secretOf(t Token) string { return printable(t.Reveal()) }

// Clean makes a foreign text safe for a condition, an event, a log line or a terminal: valid UTF-8 on one line, without
// control and format characters such as direction marks, and of at most limit characters, with an ellipsis for the rest. All
// foreign text that is shown must be cleaned.
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

// maxErrorWords bounds what a condition repeats of an error, so that it also shows the remedy.
const maxErrorWords = 1000

// mostSearched bounds for how many bytes of values a text is searched.
const mostSearched = 128 << 10

// Words are the text of an error as part of a condition, without these values in any encoding; all is hidden if they are too large.
func Words(err error, values ...string) string {
	var all secrets
	size := 0
	for _, value := range values {
		if size += len(value); size > mostSearched {
			return Redacted
		}
		all = all.and(encodings(value), encodings(unguessable(value)))
	}
	return Clean(all.hide(printable(err.Error()), mostHidden, nothingElse), maxErrorWords)
}

// printable is Clean without a limit. Separators become spaces; all other
// invisible characters are dropped, so that they cannot hide a token from secrets.clean.
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
