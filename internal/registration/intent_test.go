/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import (
	"crypto/hmac"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func signedBy(token string) Signer {
	return func(text string) string {
		mac := hmac.New(sha256.New, []byte(token))
		mac.Write([]byte(text))
		return hex.EncodeToString(mac.Sum(nil)[:16])
	}
}

const token = "the-project-token"

var web = Subject{UID: "web-1", URL: "https://cloud-api.calyptia.com", MachineID: "machine-1", Derived: "blue/shop/web"}

func intentAt(t *testing.T, at, first time.Time, closed Intent) Intent {
	t.Helper()
	intent, err := NewIntent(at, Attempt{First: first}, closed, web, signedBy(token))
	if err != nil {
		t.Fatal(err)
	}
	return intent
}

func TestIntent_Authentic(t *testing.T) {
	intent := intentAt(t, noon, time.Time{}, Intent{})
	text := intent.String()
	if strings.Contains(text, token) || len(text) > 128 {
		t.Errorf("the intent is %q", text)
	}
	if again := intentAt(t, noon, time.Time{}, Intent{}); again.String() == text {
		t.Error("two registrations have the same intent")
	}
	cut := strings.LastIndex(text, "-")
	for _, row := range []struct {
		name, text, token string
		subject           Subject
		want              bool
	}{
		{"our own", text, token, web, true},
		{"copied to another Agent", text, token, Subject{UID: "thief", URL: web.URL, MachineID: web.MachineID}, false},
		{"used at another URL", text, token, Subject{UID: web.UID, URL: "https://elsewhere.example", MachineID: web.MachineID}, false},
		{"used with another machine ID", text, token, Subject{UID: web.UID, URL: web.URL, MachineID: "machine-2"}, false},
		{"with an earlier time", strings.Replace(text, "2026", "2016", 1), token, web, false},
		{"without a signature", text[:cut], token, web, false},
		{"with an empty signature", text[:cut+1], token, web, false},
		{"a signature alone", text[cut:], token, web, false},
		{"empty", "", token, web, false},
		{"of an earlier project token", text, "another-token", web, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := ParseIntent(row.text).Authentic(row.subject, signedBy(row.token)); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestIntent_RemembersItsFirstAttempt(t *testing.T) {
	var intent Intent
	for try := range 4 {
		at := noon.Add(time.Duration(try) * time.Minute)
		intent = ParseIntent(intentAt(t, at, intent.First, Intent{}).String())
		if !intent.At.Equal(at) || !intent.First.Equal(noon) {
			t.Errorf("attempt %d: at %s, first %s", try, intent.At, intent.First)
		}
		if !intent.Authentic(web, signedBy(token)) {
			t.Errorf("attempt %d: %q is not authentic", try, intent)
		}
	}
	behind := ParseIntent(intentAt(t, noon, noon.Add(time.Hour), Intent{}).String()) // by a replica whose clock is behind
	if behind.First.Equal(behind.At) {
		t.Errorf("%q: there was an earlier attempt", behind)
	}
	for text, want := range map[string]time.Time{
		"2026-11-01T12:00:00Z/ab@":                        noon, // cut short
		"2026-11-01T12:00:00Z/ab@2026-11-01T13:00:00Z-cd": noon, // a first attempt that is later
		"2026-11-01T12:00:00Z/ab@2026-11-01T11:00:00Z-cd": noon.Add(-time.Hour),
		"2026-11-01T12:00:00Z/ab@not a time-cd":           noon,
		"not a time/ab-cd":                                {},
		"":                                                {},
		"/":                                               {},
		"2026-11-01T12:00:00Z":                            noon,
		"2026-11-01T12:00:00Z/@@@@-----":                  noon,
		strings.Repeat("2026-11-01T12:00:00Z/", 100) + "@x-@x-@x": noon,
	} {
		if got := ParseIntent(text).First; !got.Equal(want) {
			t.Errorf("%q: first attempt at %s, want %s", text, got, want)
		}
	}
}

// An agent that shows another configuration than was sent does not come from the registration.
func TestIntent_Excludes(t *testing.T) {
	const sent, other = "001122334455", "998877665544"
	made := func(attempt Attempt) Intent {
		intent, err := NewIntent(noon, attempt, Intent{}, web, signedBy(token))
		if err != nil {
			t.Fatal(err)
		}
		return intent
	}
	first, again := made(Attempt{Sent: sent}), made(Attempt{First: noon.Add(-time.Minute), Sent: sent})
	for _, row := range []struct {
		name   string
		intent Intent
		shown  string
		want   bool
	}{
		{"what was sent", first, sent, false},
		{"something else", first, other, true},
		{"what was sent, after a repeated attempt", again, sent, false},
		{"something else, after a repeated attempt", again, other, true},
		{"a part of it", first, "0011", true},
		{"no digest", first, "", false},
		{"an intent without a digest", made(Attempt{}), sent, false},
		{"an intent without a mark", ParseIntent("2026-11-01T12:00:00Z/0011-2233"), sent, false},
		{"no intent", Intent{}, sent, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, intent := range []Intent{row.intent, ParseIntent(row.intent.String())} {
				if got := intent.Excludes(row.shown); got != row.want {
					t.Errorf("%q: %v, want %v", intent, got, row.want)
				}
			}
		})
	}
	changed := ParseIntent(strings.Replace(first.String(), sent, other, 1))
	if changed.Excludes(other) || changed.Authentic(web, signedBy(token)) {
		t.Error("whoever may write the Agent may change what was sent")
	}
	if again.Foreign(web, noon.Add(time.Hour)) || !again.First.Equal(ParseIntent(again.String()).First) {
		t.Errorf("%q: the digest hides the rest", again)
	}
}

func TestIntent_Began(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       time.Time
		ok         bool
	}{
		{"one of ours", "2026-11-01T11:59:00.123456789Z/0011223344556677-mark", noon.Add(-time.Minute + 123456789*time.Nanosecond), true},
		{"one of now", "2026-11-01T12:00:00Z/00", noon, true},
		{"one of another zone", "2026-11-01T13:59:00+02:00/00", noon.Add(-time.Minute), true},
		{"one without the random part", "2026-11-01T11:59:00Z", noon.Add(-time.Minute), true},
		{"one of the future", "2026-11-01T12:00:01Z/00", time.Time{}, false},
		{"one of the far future", "9999-12-31T23:59:59Z/00", time.Time{}, false},
		{"none", "", time.Time{}, false},
		{"a slash alone", "/", time.Time{}, false},
		{"words", "yesterday/00", time.Time{}, false},
		{"a day without an hour", "2026-11-01/00", time.Time{}, false},
		{"a day that never was", "2026-02-30T12:00:00Z/00", time.Time{}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, ok := ParseIntent(row.text).Began(noon)
			if ok != row.ok || ok && !got.Equal(row.want) {
				t.Errorf("%s (%v), want %s (%v)", got, ok, row.want, row.ok)
			}
		})
	}
}

func TestIntent_IsLaterThanTheOneClosedBefore(t *testing.T) {
	closed := intentAt(t, noon.Add(time.Hour), time.Time{}, Intent{}) // by a replica whose clock was ahead
	next := intentAt(t, noon, time.Time{}, closed)
	if next.Spent(closed) {
		t.Errorf("the new intent %s is spent by %s", next, closed)
	}
	if !closed.Spent(next) {
		t.Error("the older intent is not spent once the new one is closed")
	}
}

// A tenant may write the last time that can be written: what comes after it has to be readable all the same.
func TestIntent_AfterOneOfTheEndOfTime_IsReadable(t *testing.T) {
	for _, text := range []string{
		"9999-12-31T23:59:59.999999999Z/00", "9999-12-31T23:59:59.999999999-23:59/00", "9999-12-31T23:59:59.999999998Z/00-00",
	} {
		closed := ParseIntent(text)
		for range 3 {
			next := ParseIntent(intentAt(t, noon, time.Time{}, closed).String())
			if next.At.IsZero() || next.Spent(closed) {
				t.Errorf("after %q comes %q, which is spent: %v", closed, next, next.Spent(closed))
			}
			closed = next
		}
	}
}

func TestIntent_Spent(t *testing.T) {
	earlier := intentAt(t, noon.Add(-time.Minute), time.Time{}, Intent{})
	closed := intentAt(t, noon, time.Time{}, Intent{})
	later := intentAt(t, noon.Add(time.Minute), noon.Add(-time.Minute), closed)
	for _, row := range []struct {
		name           string
		intent, closed Intent
		want           bool
	}{
		{"nothing was closed", earlier, Intent{}, false},
		{"it is the closed one", closed, closed, true},
		{"it is an earlier one that somebody restored", earlier, closed, true},
		{"it is later, though its first attempt is not", later, closed, false},
		{"it holds no time, and one with a time was closed", ParseIntent("garbage"), closed, true},
		{"it holds no time, so it may be in doubt", ParseIntent("garbage"), Intent{}, false},
		{"what was closed holds no time", later, ParseIntent("garbage"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.intent.Spent(row.closed); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestIntent_Foreign(t *testing.T) {
	change := func(f func(*Subject)) Subject {
		s := web
		f(&s)
		return s
	}
	restored := change(func(s *Subject) { s.UID = "web-2" })
	another := change(func(s *Subject) { s.UID, s.Derived = "web-2", "green/shop/web" })
	first, again := intentAt(t, noon, time.Time{}, Intent{}), intentAt(t, noon, noon.Add(-time.Minute), Intent{})
	unmarked := ParseIntent("2026-11-01T12:00:00Z/0011-2233")
	const before, after = -time.Hour, time.Hour
	for _, row := range []struct {
		name    string
		intent  Intent
		agent   Subject
		created time.Duration // when the Agent was created, since the intent
		want    bool
	}{
		{"its own", first, web, before, false},
		{"its own, and the clock of the API server is ahead", first, web, after, false},
		{"its own, and the ID of the cluster changed", again, change(func(s *Subject) { s.Derived = "green/shop/web" }), before, false},
		{"its own, sent elsewhere with another machine ID", first, change(func(s *Subject) { s.URL, s.MachineID = "", "" }), before, false},
		{"restored under its name in its cluster", again, restored, after, false},
		{"copied to another Agent", first, another, after, true},
		{"copied to another Agent, after a repeated attempt", again, another, after, true},
		{"copied to another Agent that is older", first, another, before, true},
		{"without a mark, older than the Agent", unmarked, web, after, true},
		{"without a mark, older by less than clocks differ", unmarked, web, time.Second, false},
		{"without a mark, later than the Agent", unmarked, web, before, false},
		{"unreadable, so it may be in doubt", ParseIntent("unreadable"), web, after, false},
		{"none", Intent{}, web, after, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, intent := range []Intent{row.intent, ParseIntent(row.intent.String())} {
				if got := intent.Foreign(row.agent, noon.Add(row.created)); got != row.want {
					t.Errorf("%q: %v, want %v", intent, got, row.want)
				}
			}
		})
	}
}

func TestIntent_Plausible(t *testing.T) {
	for text, want := range map[string]bool{
		"2026-11-01T12:00:00Z/ab-cd": true,
		"2026-11-03T12:00:00Z/ab-cd": true, // a clock that is two days ahead
		"2126-10-08T12:00:00Z/ab-cd": true,
		"2126-10-08T12:00:01Z/ab-cd": false,
		"8999-12-31T23:59:59Z/ab-cd": false,
		"unreadable":                 true, // It may be in doubt.
	} {
		if got := ParseIntent(text).Plausible(noon); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func FuzzParseIntent(f *testing.F) {
	seed, err := NewIntent(noon, Attempt{noon.Add(-time.Hour), "001122334455"}, Intent{}, web, signedBy(token))
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{"", "-", "/", "@", seed.String(), seed.String()[:40], "2026-11-01T12:00:00Z/@-", "9999-12-31T23:59:59Z/x@0001-01-01T00:00:00Z-y"} {
		f.Add(text)
	}
	unknown := signedBy(cryptorand.Text())
	f.Fuzz(func(t *testing.T, text string) {
		intent := ParseIntent(text)
		if intent.String() != text {
			t.Errorf("%q became %q", text, intent)
		}
		if intent.First.After(intent.At) {
			t.Errorf("%q: the first attempt %s is after the last, %s", text, intent.First, intent.At)
		}
		if intent.Authentic(web, unknown) {
			t.Errorf("%q passes for authentic", text)
		}
		if !intent.IsZero() && !intent.Spent(intent) {
			t.Errorf("%q is closed and not spent", text)
		}
		next, err := NewIntent(noon, Attempt{intent.First, intent.Sent}, intent, web, signedBy(token))
		if err != nil || next.Spent(intent) {
			t.Errorf("after %q: %v, spent", text, err)
		}
		intent.Foreign(web, noon)
		if next.Foreign(web, noon.Add(time.Hour)) {
			t.Errorf("after %q comes %q, which is another Agent's", text, next)
		}
	})
}

// A changed derivation would lose every registered agent of every cluster.
func TestTheDerivedMachineIDNeverChanges(t *testing.T) {
	const want = "6fb93865-063f-5b35-862d-531cebeb0c74"
	if got := DerivedMachineID("blue", "shop", "web"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, row := range []struct {
		name, cluster, namespace, agent string
	}{
		{"another cluster", "green", "shop", "web"},
		{"another namespace", "blue", "stop", "web"},
		{"another name", "blue", "shop", "web-2"},
		{"parts that only look the same when joined", "blue", "sho", "pweb"},
		{"a cluster ID that takes the namespace in", "blue/shop", "web", "web"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := DerivedMachineID(row.cluster, row.namespace, row.agent); got == want {
				t.Error("two Agents have the same machine ID")
			}
		})
	}
}

// Whoever keeps a registration with a chosen machine ID in doubt must not get what somebody else registers days later.
func TestWindow_OfALongDoubt_IsBounded(t *testing.T) {
	window := Window{Post: 20 * time.Second, Slack: 80 * time.Second}
	intent := intentAt(t, noon, noon.Add(-48*time.Hour), Intent{})
	for _, row := range []struct {
		created time.Duration
		want    bool
	}{
		{-47 * time.Hour, false}, {-2 * time.Hour, false}, {-59 * time.Minute, true}, {0, true}, {100 * time.Second, true}, {110 * time.Second, false},
	} {
		for _, seen := range []Intent{intent, ParseIntent(intent.String())} {
			if got := window.Covers(seen, noon.Add(row.created)); got != row.want {
				t.Errorf("created %s after the intent: %v, want %v", row.created, got, row.want)
			}
		}
	}
	if intent.First.Equal(intent.At) {
		t.Error("that it was repeated is forgotten")
	}
}
