/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package names

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var (
	noon   = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	limits = Limits{Missing: 30 * time.Second, Resync: 10 * time.Minute}
)

func fresh(entries ...Entry) Catalog { return Catalog{Entries: entries, At: noon.Add(-time.Second)} }

func aged(age time.Duration, entries ...Entry) Catalog {
	return Catalog{Entries: entries, At: noon.Add(-age)}
}

func TestResolve(t *testing.T) {
	edge, core, edge2 := Entry{"1", "edge"}, Entry{"2", "core"}, Entry{"3", "edge"}
	var many []Entry
	for i := range 25 {
		many = append(many, Entry{fmt.Sprint(i), fmt.Sprintf("f%02d", i)})
	}
	for _, row := range []struct {
		name    string
		ref     Ref
		catalog Catalog
		want    Outcome
		id      string
		choices []string
	}{
		{"nothing is declared", Ref{}, Catalog{}, Unmanaged, "", nil},
		{"an ID needs no catalog", Ref{ID: "9"}, Catalog{}, Resolved, "9", nil},
		{"an ID wins over a stale catalog", Ref{ID: "9"}, aged(time.Hour, edge), Resolved, "9", nil},
		{"a name before the first read", Ref{Name: "edge"}, Catalog{}, Read, "", nil},
		{"a name that exists", Ref{Name: "edge"}, fresh(core, edge), Resolved, "1", nil},
		{"case counts", Ref{Name: "Edge"}, fresh(core, edge), Unknown, "", []string{`"edge"`}},
		{"a part of a name is not the name", Ref{Name: "edg"}, fresh(edge), Unknown, "", nil},
		{"a name that exists, at the resync", Ref{Name: "edge"}, aged(10*time.Minute, edge), Read, "", nil},
		{"a name that exists, just before the resync", Ref{Name: "edge"}, aged(10*time.Minute-1, edge), Resolved, "1", nil},
		{"a missing name, just read", Ref{Name: "new"}, fresh(core, edge), Unknown, "",
			[]string{`"core", "edge"`}},
		{"a missing name in an empty project", Ref{Name: "new"}, fresh(), Unknown, "", nil},
		{"a missing name among many", Ref{Name: "new"}, fresh(many...), Unknown, "", []string{`"f00"`, `"f09"`, "15 more"}},
		{"a missing name, 30 s later", Ref{Name: "new"}, aged(30*time.Second, edge), Read, "", nil},
		{"a missing name, just before that", Ref{Name: "new"}, aged(30*time.Second-1, edge), Unknown, "", nil},
		{"two of a name", Ref{Name: "edge"}, fresh(edge, core, edge2), Ambiguous, "", []string{"1, 3"}},
		{"two of a name, 30 s later", Ref{Name: "edge"}, aged(time.Minute, edge, edge2), Ambiguous, "", nil},
		{"a name that the API refuses, just read", Ref{Name: "edge"}, Catalog{At: noon.Add(-time.Second), Entries: []Entry{edge}, Refused: "1"},
			Refused, "1", nil},
		{"a name that the API refuses, 30 s later", Ref{Name: "edge"}, Catalog{At: noon.Add(-30 * time.Second), Entries: []Entry{edge}, Refused: "1"}, Read, "", nil},
		{"a name while the API refuses another", Ref{Name: "core"}, Catalog{At: noon, Entries: []Entry{edge, core}, Refused: "1"}, Resolved, "2", nil},
		{"no list", Ref{Name: "edge"}, Catalog{At: noon, Unlisted: true}, NeedsID, "", nil},
		{"no list, at the resync", Ref{Name: "edge"}, Catalog{At: noon.Add(-time.Hour), Unlisted: true}, Read, "", nil},
		{"no list, but an ID", Ref{ID: "9"}, Catalog{At: noon, Unlisted: true}, Resolved, "9", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := Resolve(row.ref, row.catalog, noon, limits)
			if got.Outcome != row.want || got.Entry.ID != row.id {
				t.Errorf("got %+v", got)
			}
			for _, words := range row.choices {
				if !strings.Contains(got.Choices, words) {
					t.Errorf("the choices lack %q: %s", words, got.Choices)
				}
			}
		})
	}
}

func TestCatalog_Lookups(t *testing.T) {
	c := fresh(Entry{"1", "edge"}, Entry{"2", "core"}, Entry{"3", "edge"}, Entry{"4", ""})
	for _, row := range []struct{ got, want string }{
		{c.Name("1"), "edge"}, {c.Name("4"), ""}, {c.Name("9"), ""}, {c.Name(""), ""},
		{c.ID("core"), "2"}, {c.ID("edge"), ""}, {c.ID("none"), ""}, {c.ID(""), ""},
	} {
		if row.got != row.want {
			t.Errorf("got %q, want %q", row.got, row.want)
		}
	}
}

// Every combination of what is declared, listed and how old it is.
func TestResolve_Enumerated(t *testing.T) {
	entries := map[string][]Entry{
		"none": nil, "one": {{"1", "edge"}}, "two": {{"1", "edge"}, {"2", "edge"}}, "other": {{"3", "core"}},
	}
	count := 0
	for _, ref := range []Ref{{}, {ID: "1"}, {ID: "7"}, {Name: "edge"}, {Name: "new"}} {
		for name, listed := range entries {
			for _, age := range []time.Duration{-time.Second, 0, time.Second, limits.Missing - 1, limits.Missing, limits.Resync - 1, limits.Resync, 2 * limits.Resync} {
				for _, unlisted := range []bool{false, true} {
					for _, read := range []bool{false, true} {
						c := Catalog{}
						if read {
							c = Catalog{Entries: listed, At: noon.Add(-age), Unlisted: unlisted}
							if unlisted {
								c.Entries = nil
							}
						}
						count++
						check(t, fmt.Sprintf("%+v %s %s unlisted=%t read=%t", ref, name, age, unlisted, read), ref, c)
					}
				}
			}
		}
	}
	if count < 600 {
		t.Errorf("only %d combinations", count)
	}
}

func check(t *testing.T, name string, ref Ref, c Catalog) {
	t.Helper()
	d := Resolve(ref, c, noon, limits)
	after := Resolve(ref, Catalog{Entries: c.Entries, At: noon, Unlisted: c.Unlisted}, noon, limits)
	switch {
	case d != Resolve(ref, c, noon, limits):
		t.Errorf("%s: not deterministic", name)
	case ref.IsZero() != (d.Outcome == Unmanaged):
		t.Errorf("%s: %+v for %+v", name, d, ref)
	case d.Outcome == Resolved && (d.Entry.ID == "" || ref.ID != "" && d.Entry.ID != ref.ID):
		t.Errorf("%s: resolved to %+v", name, d.Entry)
	case d.Outcome == Resolved && ref.Name != "" && d.Entry.Name != ref.Name:
		t.Errorf("%s: another name: %+v", name, d.Entry)
	case after.Outcome == Read:
		t.Errorf("%s: a catalog that was just read is read again", name)
	case d.Outcome == Ambiguous && d.Choices == "", d.Outcome < Unknown && d.Choices != "":
		t.Errorf("%s: choices %q of outcome %d", name, d.Choices, d.Outcome)
	case (d.Outcome == Unknown || d.Outcome == Refused) && !d.Retry.After(noon):
		t.Errorf("%s: waits until %s, which is over", name, d.Retry)
	}
}
