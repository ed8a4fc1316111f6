/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// shortestHidden is the length from which a value is hidden. A shorter one is soon guessed, and a text without it is unreadable.
const shortestHidden = 5

// encodings returns a value as texts repeat it, alone or as a part of something longer: as it is, quoted, escaped, and in base64 once and
// twice, because the content of a Secret is base64, which a policy may encode again.
func encodings(value string) []string {
	value = strings.TrimSpace(value)
	if len(value) < shortestHidden {
		return nil
	}
	forms := []string{printable(value), url.QueryEscape(value), url.PathEscape(value), unquote(strconv.Quote(value))}
	if escaped, err := json.Marshal(value); err == nil {
		forms = append(forms, unquote(string(escaped)))
	}
	once := base64.StdEncoding.EncodeToString([]byte(value))
	forms = append(forms, once, base64.StdEncoding.EncodeToString([]byte(once)))
	for _, inner := range append(inBase64(value), once) {
		forms = append(append(forms, inner), inBase64(inner)...)
	}
	slices.Sort(forms)
	return slices.DeleteFunc(slices.Compact(forms), func(form string) bool { return len(form) < shortestHidden })
}

func unquote(text string) string { return text[1 : len(text)-1] }

// inBase64 returns what the base64 of any text shows of a value in it, which depends on where the value starts. The characters at
// its ends that depend on its neighbors are left out.
func inBase64(value string) (forms []string) {
	for before := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + value))
		first, end := 0, (before+len(value))*8/6
		if before > 0 {
			first = before + 1
		}
		inner := encoded[first:end]
		forms = append(forms, inner, strings.NewReplacer("+", "-", "/", "_").Replace(inner))
	}
	return forms
}
