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
	uuidInText = regexp.MustCompile(`(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
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
	text = uuidInText.ReplaceAllStringFunc(text, func(id string) string { return strings.Repeat(" ", len(id)) })
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

// formStart returns where a token starts in a word, which ends with it; -1 without one. Before it may be a name, or the path of a URL.
func formStart(word string) int {
	if hasForm(word) {
		return 0
	}
	for first := 0; first < len(word); {
		end := len(word)
		if next := strings.IndexAny(word[first:], "/."); next >= 0 {
			end = first + next
		}
		for _, from := range []int{first, first + len(namesBefore.FindString(word[first:end]))} {
			if hasForm(word[from:end]) {
				return from
			}
		}
		first = end + 1
	}
	return -1
}

// hasForm reports whether a word is as long and as mixed as a token, and is no name of words. A time has two capital letters.
func hasForm(word string) bool {
	var capital, small, digits, read int
	for _, r := range word {
		switch {
		case r >= 'A' && r <= 'Z':
			capital++
		case r >= 'a' && r <= 'z':
			small++
		case r >= '0' && r <= '9':
			digits++
		}
	}
	if len(word) < minForm || capital < 3 || small < 3 {
		return false
	}
	for _, part := range wordInName.FindAllString(strings.ReplaceAll(word, "_", " "), -1) {
		read += len(part)
	}
	return read*2 < capital+small+digits
}

// markTo marks from first to end, as far as hidden goes.
func markTo(hidden []bool, first, end int) {
	if end = min(end, len(hidden)); first < end {
		fill(hidden[first:end])
	}
}
