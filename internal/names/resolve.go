/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package names resolves the names of fleets and environments to their IDs. It
// decides from a catalog and the time alone: it reads and shares no catalog
// itself.
package names

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is what has names.
type Kind string

// Kinds, as they are called in a message and in a spec.
const (
	Fleet       Kind = "fleet"
	Environment Kind = "environment"
)

// Ref is what a spec says: an ID, a name, or neither.
type Ref struct{ ID, Name string }

// IsZero reports whether the field is unmanaged.
func (r Ref) IsZero() bool { return r == Ref{} }

// Entry is a fleet or environment of the project.
type Entry struct{ ID, Name string }

// Catalog is what the API listed.
type Catalog struct {
	// Entries are all there are. One without a name can be chosen by its ID alone.
	Entries []Entry
	// At is when the list was begun; zero if it was not read yet.
	At time.Time
	// Unlisted: the API does not list things of this kind.
	Unlisted bool
	// Refused is the ID of an entry that the API does not know, although it listed the entry.
	Refused string
}

// Limits say when a catalog is read again.
type Limits struct {
	// Missing is the least time between two reads that look for a missing name.
	Missing time.Duration
	// Resync is how old a catalog may get.
	Resync time.Duration
}

// Outcome of a resolution.
type Outcome int

const (
	// Unmanaged: the spec names nothing.
	Unmanaged Outcome = iota
	// Resolved: ID is to be sent.
	Resolved
	// Read: a catalog that is begun after Decision.NotBefore has to be read first.
	Read
	// Unknown: the project has nothing of that name. It may be created: try again at Decision.Retry.
	Unknown
	// Refused: the API lists Decision.Entry and does not know its ID. Try again at Decision.Retry.
	Refused
	// Ambiguous: several have the name. User action is required.
	Ambiguous
	// NeedsID: the API has no list to find a name in. User action is required.
	NeedsID
)

// Decision is what a Ref resolves to.
type Decision struct {
	Outcome Outcome
	Entry   Entry
	// NotBefore is the oldest start of a list that Read accepts.
	NotBefore time.Time
	// Retry of Unknown.
	Retry time.Time
	// Choices of Unknown and Ambiguous are the names or IDs that the spec could have instead; empty for none.
	Choices string
}

// mostNamed bounds the names and IDs in Choices.
const mostNamed = 10

// Resolve finds the ID of a Ref, or what to do to find it. It is total and deterministic, and repeating it ends: each Read
// makes the catalog newer, and a catalog that is new enough is not read again.
func Resolve(ref Ref, c Catalog, now time.Time, limits Limits) Decision {
	switch {
	case ref.ID != "":
		return Decision{Outcome: Resolved, Entry: Entry{ID: ref.ID, Name: c.Name(ref.ID)}}
	case ref.Name == "":
		return Decision{}
	case c.At.IsZero():
		return Decision{Outcome: Read}
	}
	found := c.named(ref.Name)
	age := now.Sub(c.At)
	switch {
	case age >= limits.Resync:
		return Decision{Outcome: Read, NotBefore: c.At}
	case c.Unlisted:
		return Decision{Outcome: NeedsID}
	case len(found) == 1 && found[0].ID != c.Refused:
		return Decision{Outcome: Resolved, Entry: found[0]}
	case len(found) > 1:
		return Decision{Outcome: Ambiguous, Choices: listed(found, func(e Entry) string { return e.ID })}
	case age >= limits.Missing:
		return Decision{Outcome: Read, NotBefore: c.At}
	}
	retry := c.At.Add(limits.Missing)
	if len(found) == 1 {
		return Decision{Outcome: Refused, Entry: found[0], Retry: retry}
	}
	named := slices.DeleteFunc(slices.Clone(c.Entries), func(e Entry) bool { return e.Name == "" })
	return Decision{Outcome: Unknown, Retry: retry, Choices: listed(named, func(e Entry) string { return fmt.Sprintf("%q", e.Name) })}
}

// listed joins at most mostNamed texts.
func listed(all []Entry, text func(Entry) string) string {
	var texts []string
	for _, e := range all {
		texts = append(texts, text(e))
	}
	slices.Sort(texts)
	if more := len(texts) - mostNamed; more > 0 {
		texts = append(texts[:mostNamed], fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, ", ")
}

func (c Catalog) named(name string) (found []Entry) {
	for _, e := range c.Entries {
		if e.Name == name {
			found = append(found, e)
		}
	}
	return found
}

// Name is that of an ID; empty if it is not known.
func (c Catalog) Name(id string) string {
	for _, e := range c.Entries {
		if e.ID == id {
			return e.Name
		}
	}
	return ""
}

// ID is that of a name; empty if it is not known, or not unique.
func (c Catalog) ID(name string) string {
	if found := c.named(name); name != "" && len(found) == 1 {
		return found[0].ID
	}
	return ""
}
