/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for name, row := range map[string]struct {
		value string
		want  time.Duration
	}{
		"absent":              {"", 0},
		"seconds":             {"120", 2 * time.Minute},
		"seconds with spaces": {" 5 ", 5 * time.Second},
		"zero":                {"0", 0},
		"more than an hour":   {"86400", time.Hour},
		"more than an int64":  {"99999999999999999999999", time.Hour},
		"negative":            {"-5", 0},
		"a fraction":          {"1.5", 0},
		"words":               {"soon", 0},
		"a date":              {"Mon, 04 May 2026 03:03:01 GMT", time.Minute},
		"a date that passed":  {"Mon, 04 May 2026 03:00:00 GMT", 0},
		"a date far away":     {"Fri, 04 May 2136 03:00:00 GMT", time.Hour},
		"a date of ANSI C":    {"Mon May  4 03:02:11 2026", 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if got := retryAfter(row.value, now); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestNextCursor(t *testing.T) {
	for name, row := range map[string]struct {
		values []string
		want   string
		err    error
	}{
		"no header":                     {nil, "", nil},
		"the documented form":           {[]string{`</v1/projects/P/agents?before=abc>; rel="next"`}, "abc", nil},
		"without quotes, odd spaces":    {[]string{` <?before=abc> ;rel = next `}, "abc", nil},
		"escapes":                       {[]string{`<?last=1&before=a%2Fb%3D>; rel="next"`}, "a/b=", nil},
		"capitals":                      {[]string{`<?before=abc>; REL="Next"`}, "abc", nil},
		"one of several relations":      {[]string{`<?before=abc>; rel="last next"`}, "abc", nil},
		"one of several links":          {[]string{`</a,b>; rel=prev; title="x, <y>; \"rel=next\"", <?before=abc>; rel=next`}, "abc", nil},
		"one of several headers":        {[]string{`</style.css>; rel=preload; crossorigin`, `<?before=abc>; rel=next`}, "abc", nil},
		"another host is not used":      {[]string{`<https://evil.test:1/x/../y?before=abc#f>; rel="next"`}, "abc", nil},
		"only other relations":          {[]string{`<?before=abc>; rel="prev"`}, "", nil},
		"only the first relation":       {[]string{`<?before=abc>; rel=prev; rel=next`}, "", nil},
		"a relation that resembles":     {[]string{`<?before=abc>; rel="next-archive"`}, "", nil},
		"empty elements":                {[]string{`, ,`}, "", nil},
		"a next page without cursor":    {[]string{`</v1/projects/P/agents?after=abc>; rel="next"`}, "", errLinkCursor},
		"a next page with an empty one": {[]string{`<?before=>; rel="next"`}, "", errLinkCursor},
		"a cursor that is huge":         {[]string{`<?before=` + strings.Repeat("a", 5000) + `>; rel="next"`}, "", errLinkCursor},
		"a query that is malformed":     {[]string{`<?before=%zz>; rel="next"`}, "", errLinkCursor},
		"no brackets":                   {[]string{`?before=abc; rel="next"`}, "", errLinkMalformed},
		"an open bracket":               {[]string{`<?before=abc; rel="next"`}, "", errLinkMalformed},
		"an open quote":                 {[]string{`<?before=abc>; rel="next`}, "", errLinkMalformed},
		"words after the link":          {[]string{`<?before=abc> rel="next"`}, "", errLinkMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := nextCursor(row.values)
			if got != row.want || !errors.Is(err, row.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, row.want, row.err)
			}
		})
	}
}
