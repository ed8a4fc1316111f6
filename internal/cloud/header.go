/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxRetryAfter = time.Hour
	maxCursor     = 4096
)

// retryAfter reads a Retry-After header, in seconds or as a date, clamped to [0, 1h]; 0 if it is absent or unreadable.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}

// respondedAt is the time of a response by the clock of the one that sent it, which may differ from the operator's; zero if it does
// not say.
func respondedAt(header http.Header) time.Time {
	at, _ := http.ParseTime(header.Get("Date"))
	return at
}

var (
	errLinkMalformed = errors.New("the Link header is malformed")
	errLinkCursor    = errors.New("the Link header names a next page without a usable cursor")
)

// nextCursor returns the `before` parameter of the rel="next" link, empty if there is no such link. A malformed link is an
// error: ignoring it would hide agents.
func nextCursor(values []string) (string, error) {
	for _, rest := range values {
		for rest = skip(rest); rest != ""; rest = skip(rest) {
			target, isNext, remainder, err := readLink(rest)
			if err != nil {
				return "", err
			}
			if isNext {
				return cursorOf(target)
			}
			rest = remainder
		}
	}
	return "", nil
}

// cursorOf reads the cursor of a link. Scheme, host and path are ignored.
func cursorOf(target string) (string, error) {
	target, _, _ = strings.Cut(target, "#")
	_, query, _ := strings.Cut(target, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", errLinkCursor
	}
	cursor := values.Get("before")
	if cursor == "" || len(cursor) > maxCursor {
		return "", errLinkCursor
	}
	return cursor, nil
}

// readLink reads one `<target>; param=value; ...` up to the comma after it.
func readLink(s string) (target string, isNext bool, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		return "", false, "", errLinkMalformed
	}
	target, rest, found := strings.Cut(s[1:], ">")
	if !found {
		return "", false, "", errLinkMalformed
	}
	seenRel := false
	for {
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" || rest[0] == ',' {
			return target, isNext, rest, nil
		}
		if rest[0] != ';' {
			return "", false, "", errLinkMalformed
		}
		var name, value string
		name, value, rest, err = readParameter(rest[1:])
		if err != nil {
			return "", false, "", err
		}
		// RFC 8288: of several rel parameters only the first counts.
		if strings.EqualFold(name, "rel") && !seenRel {
			seenRel = true
			isNext = slices.ContainsFunc(strings.Fields(value), func(rel string) bool {
				return strings.EqualFold(rel, "next")
			})
		}
	}
}

// readParameter reads `name`, `name=token` or `name="quoted"`.
func readParameter(s string) (name, value, rest string, err error) {
	end := strings.IndexAny(s, "=;,")
	if end < 0 {
		return strings.TrimSpace(s), "", "", nil
	}
	name = strings.TrimSpace(s[:end])
	if s[end] != '=' {
		return name, "", s[end:], nil
	}
	s = strings.TrimLeft(s[end+1:], " \t")
	if strings.HasPrefix(s, `"`) {
		value, rest, err = readQuoted(s[1:])
		return name, value, rest, err
	}
	end = strings.IndexAny(s, ";,")
	if end < 0 {
		end = len(s)
	}
	return name, strings.TrimSpace(s[:end]), s[end:], nil
}

func readQuoted(s string) (value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", errLinkMalformed
}

func skip(s string) string { return strings.TrimLeft(s, ", \t") }
