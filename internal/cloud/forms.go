/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"regexp"
	"strings"
)

// An error may repeat the token of any agent of the project, of which the operator knows few. So it hides what has the form of a token.
// IDs, machine IDs and digests consist of hexadecimal digits, and the names of hosts, objects and types of words.

// minForm is the length from which a word can have the form of a token.
const minForm = 32

var (
	// tokenWord is what may be a token, with the characters of each base64, and what joins the parts of a token.
	tokenWord = regexp.MustCompile(`[\w+/.~-]{32,}`)
	// namedToken is what follows the word token or a similar word, in any form; with a digit, it is a token.
	namedToken = regexp.MustCompile(`(?i)(?:token|secret|password|bearer|api[-_ ]?key)[^\w+/.~-]{1,4}([\w+/.~-]{16,})`)
	// uuidInText is an ID, with the dot that joins it to the rest of a token.
	uuidInText = regexp.MustCompile(`(?i)\.?\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b\.?`)
	// wordInName is a part of a name that people read. Few parts of a token are that.
	wordInName  = regexp.MustCompile(`\b(?:[A-Z]?[a-z]+|[A-Z]+|[0-9]+)\b|[a-z]{4,}`)
	namesBefore = regexp.MustCompile(`^(?:(?:[A-Z]?[a-z]+|[A-Z]+|[0-9]+)[_+~-])+`)
)

// markForms marks what has the form of a token in the start of a text, to where hidden ends. A word across that end is read whole.
func markForms(text string, hidden []bool) {
	text = text[:wordEnd(text, len(hidden))]
	for _, span := range namedToken.FindAllStringSubmatchIndex(text, -1) {
		if strings.ContainsAny(text[span[2]:span[3]], "0123456789") {
			markTo(hidden, span[2], span[3])
		}
	}
	text = uuidInText.ReplaceAllStringFunc(text, func(id string) string { return strings.Repeat("-", len(id)) })
	for _, span := range tokenWord.FindAllStringIndex(text, -1) {
		if first := formStart(text[span[0]:span[1]]); first >= 0 {
			markTo(hidden, span[0]+first, span[1])
		}
	}
}

// wordEnd returns where the word at a place of a text ends.
func wordEnd(text string, at int) int {
	word := strings.IndexFunc(text[at:min(len(text), at+mostHidden)], func(r rune) bool { return !inToken(r) })
	if word < 0 {
		return min(len(text), at+mostHidden)
	}
	return at + word
}

func inToken(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+/.~-", r)
}

// formStart returns where a token starts in a word, which ends with it; -1 without one. Before it may be a name, or the path of a URL. A
// token may itself have dots and slashes: what follows a part counts with it, from where the most cannot be read. That needs digits: the
// path of a field has parts like configMapKeyRef.
func formStart(word string) int {
	start, most := -1, 0
	var rest mix // from the separator at end
	for end := len(word); end >= 0; {
		first := strings.LastIndexAny(word[:end], "/.") + 1
		part := mixOf(word[first:end])
		consider := func(from int, part mix) {
			if all := part.plus(rest); part.hasForm() || all.hasForm() && (from == 0 || all.digits > 1 && all.unread() > most) {
				start, most = from, all.unread()
			}
		}
		if name := len(namesBefore.FindString(word[first:end])); name > 0 {
			consider(first+name, mixOf(word[first+name:end]))
		}
		consider(first, part)
		rest = part.plus(rest).plus(mix{length: 1})
		end = first - 1
	}
	return start
}

// mix is what a word consists of. That of parts, split where a name is, is the sum of theirs.
type mix struct {
	length, capital, small, digits int
	read                           int // characters in words that people read
}

func mixOf(word string) mix {
	m := mix{length: len(word)}
	for _, r := range word {
		switch {
		case r >= 'A' && r <= 'Z':
			m.capital++
		case r >= 'a' && r <= 'z':
			m.small++
		case r >= '0' && r <= '9':
			m.digits++
		}
	}
	for _, part := range wordInName.FindAllStringIndex(strings.ReplaceAll(word, "_", " "), -1) {
		m.read += part[1] - part[0]
	}
	return m
}

func (m mix) plus(other mix) mix {
	return mix{
		length: m.length + other.length, capital: m.capital + other.capital, small: m.small + other.small,
		digits: m.digits + other.digits, read: m.read + other.read,
	}
}

// hasForm reports whether a word is as long and as mixed as a token, and is no name of words. A time has two capital letters.
func (m mix) hasForm() bool {
	return m.length >= minForm && m.capital >= 3 && m.small >= 3 && m.unread() > 0
}

// unread is by how many characters the part that nobody can read is the larger one.
func (m mix) unread() int { return m.capital + m.small + m.digits - m.read*2 }

// markTo marks from first to end, as far as hidden goes.
func markTo(hidden []bool, first, end int) {
	if end = min(end, len(hidden)); first < end {
		fill(hidden[first:end])
	}
}
