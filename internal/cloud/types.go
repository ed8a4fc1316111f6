/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Registration is the body of a registration. It does not name the project: the API takes that from the token.
type Registration struct {
	Name      string `json:"name"`
	MachineID string `json:"machineID"`
	Type      string `json:"type"`    // fluentbit or fluentd
	Version   string `json:"version"` // such as v1.8.6
	Edition   string `json:"edition"` // community or enterprise
	// Flags are always sent, as null when nil: the API requires the key.
	Flags         []string        `json:"flags"`
	RawConfig     string          `json:"rawConfig"`
	Metadata      json.RawMessage `json:"metadata,omitempty"` // an object
	FleetID       string          `json:"fleetID,omitempty"`
	EnvironmentID string          `json:"environmentID,omitempty"`
}

// Registered is the response to a registration.
type Registered struct {
	// ID of the agent, always a UUID in small letters.
	ID string `json:"id"`
	// Token of the agent. It can be empty or masked: see Token.Usable.
	Token Token  `json:"token"`
	Name  string `json:"name"`
	// CreatedAt is zero if the API sent no readable time.
	CreatedAt       time.Time `json:"createdAt"`
	EnvironmentName string    `json:"environmentName"`
	// RespondedAt is the time by the clock of the API; zero if the response has no readable Date.
	RespondedAt time.Time `json:"-"`
}

// UnmarshalJSON reads the response; only the ID, the name and the token must have their documented types.
func (r *Registered) UnmarshalJSON(raw []byte) error {
	type plain Registered
	var wire struct {
		plain
		CreatedAt       lenient[time.Time] `json:"createdAt"`
		EnvironmentName lenient[string]    `json:"environmentName"`
	}
	if err := json.Unmarshal(raw, &wire); err != nil {
		return err
	}
	*r = Registered(wire.plain)
	r.ID = NormalID(r.ID)
	r.CreatedAt, r.EnvironmentName = wire.CreatedAt.value, wire.EnvironmentName.value
	return nil
}

// Agent is an agent as the API shows it. Status, OS and Arch are open sets: the API grows.
type Agent struct {
	// ID is always a UUID in lower case.
	ID      string  `json:"id"`
	FleetID *string `json:"fleetID"`
	// Token of the agent. It can be empty or masked: see Token.Usable. One that is masked in part is empty.
	Token     Token  `json:"token"`
	Name      string `json:"name"`
	MachineID string `json:"machineID"`
	Type      string `json:"type"`
	Version   string `json:"version"`
	Edition   string `json:"edition"`
	Status    string `json:"status"`
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	Flags     Texts  `json:"flags"`
	Tags      Texts  `json:"tags"`
	RawConfig string `json:"rawConfig"`
	// RawConfigHash replaces RawConfig in agents from RawPage.Digests.
	RawConfigHash string          `json:"-"`
	Metadata      json.RawMessage `json:"metadata"` // nil when absent or null
	// The times are nil or zero if the API sent no readable time.
	FirstMetricsAddedAt *time.Time `json:"firstMetricsAddedAt"`
	LastMetricsAddedAt  *time.Time `json:"lastMetricsAddedAt"`
	MetricsCount        int64      `json:"metricsCount"`
	CreatedAt           time.Time  `json:"createdAt"`
	UpdatedAt           time.Time  `json:"updatedAt"`
	EnvironmentName     string     `json:"environmentName"`
}

// complete refuses what lacks an ID, or a field that every agent has and nobody can change, and that decides whose agent it is: one
// odd response would show that an agent is another's. A name may be missing: whoever has the agent's token can change it.
func (a *Agent) complete() error {
	if err := agentID(a.ID); err != nil {
		return err
	}
	if a.MachineID == "" || a.Type == "" {
		return errNoAgent
	}
	return nil
}

// Fleet is the ID of the fleet; empty for none.
func (a *Agent) Fleet() string {
	if a.FleetID == nil {
		return ""
	}
	return *a.FleetID
}

// Reported reports whether the agent ever sent metrics, by any of the fields that show it: a time may be unreadable.
func (a *Agent) Reported() bool {
	shown := func(t *time.Time) bool { return t != nil && !t.IsZero() }
	return a.MetricsCount > 0 || shown(a.FirstMetricsAddedAt) || shown(a.LastMetricsAddedAt)
}

// Words is the size of the agent's texts, in bytes, without machine ID, token, configuration and metadata.
func (a *Agent) Words() int {
	size := len(a.Fleet())
	for _, texts := range [][]string{a.Flags, a.Tags, {a.Name, a.Type, a.Version, a.Edition, a.Status, a.OS, a.Arch, a.EnvironmentName}} {
		for _, text := range texts {
			size += len(text) + 16
		}
	}
	return size
}

// ShowsToken reports whether the agent's token is in a text that nobody declared.
func (a *Agent) ShowsToken() bool {
	shown := func(text string) bool { return len(text) >= minSecretPart && Redact(text, a.Token) != text }
	return shown(a.Status) || shown(a.OS) || shown(a.Arch) || shown(a.EnvironmentName) || slices.ContainsFunc(a.Tags, shown)
}

// UnmarshalJSON reads an agent. Fields that decisions depend on must have
// their documented types; others of another type are left out. Flags of another type are one empty text.
func (a *Agent) UnmarshalJSON(raw []byte) error {
	var strict strictAgent
	if json.Unmarshal(raw, &strict) == nil {
		*a = strict.agent()
		return nil
	}
	var wire struct {
		strictAgent
		Status              lenient[string]     `json:"status"`
		OS                  lenient[string]     `json:"os"`
		Arch                lenient[string]     `json:"arch"`
		Flags               lenient[Texts]      `json:"flags"`
		Tags                lenient[Texts]      `json:"tags"`
		FirstMetricsAddedAt lenient[*time.Time] `json:"firstMetricsAddedAt"`
		LastMetricsAddedAt  lenient[*time.Time] `json:"lastMetricsAddedAt"`
		MetricsCount        lenient[int64]      `json:"metricsCount"`
		CreatedAt           lenient[time.Time]  `json:"createdAt"`
		UpdatedAt           lenient[time.Time]  `json:"updatedAt"`
		EnvironmentName     lenient[string]     `json:"environmentName"`
	}
	if err := json.Unmarshal(raw, &wire); err != nil {
		return err
	}
	agent := wire.strictAgent
	agent.Status, agent.OS, agent.Arch, agent.Tags = wire.Status.value, wire.OS.value, wire.Arch.value, wire.Tags.value
	if agent.Flags = wire.Flags.value; wire.Flags.other {
		agent.Flags = Texts{""} // It differs from all that can be declared.
	}
	agent.FirstMetricsAddedAt, agent.LastMetricsAddedAt = wire.FirstMetricsAddedAt.value, wire.LastMetricsAddedAt.value
	agent.MetricsCount, agent.EnvironmentName = wire.MetricsCount.value, wire.EnvironmentName.value
	agent.CreatedAt, agent.UpdatedAt = wire.CreatedAt.value, wire.UpdatedAt.value
	*a = agent.agent()
	return nil
}

// strictAgent is an Agent whose fields all have their documented types, as nearly always; it is read in one pass.
type strictAgent Agent

func (s *strictAgent) agent() Agent {
	s.ID, s.Token = NormalID(s.ID), s.Token.shown()
	if s.FleetID != nil {
		*s.FleetID = NormalID(*s.FleetID)
	}
	switch {
	case string(s.Metadata) == "null":
		s.Metadata = nil
	case len(s.Metadata) > mostMetadata:
		s.Metadata = bytes.Clone(Canonical(s.Metadata)) // Without the memory that it took to make it.
	}
	for _, text := range []*string{
		&s.ID, s.FleetID, &s.Name, &s.MachineID, &s.Type, &s.Version, &s.Edition, &s.Status, &s.OS, &s.Arch, &s.EnvironmentName,
	} {
		trim(text, mostText)
	}
	for _, texts := range []Texts{s.Flags, s.Tags} {
		for i := range texts {
			trim(&texts[i], mostText)
		}
	}
	trim(&s.RawConfig, mostRawConfig)
	return Agent(*s)
}

// What is kept of an agent is more than any Agent may declare, so what is cut still differs. Every worker may hold one.
const (
	mostTexts     = 1024      // of an array
	mostText      = 4<<10 + 1 // bytes of a text
	mostRawConfig = 1<<20 + 1
	// mostMetadata is what is kept of metadata, in bytes. Longer metadata is made canonical, and then replaced by its digest, if it is
	// still too long: an API may write each character of what was declared in six.
	mostMetadata = 6 * 256 << 10
)

// trim shortens a text, and keeps no reference to the rest.
func trim(text *string, most int) {
	if text != nil && len(*text) > most {
		*text = strings.Clone((*text)[:most])
	}
}

// Texts are the first texts of an array. Millions of empty texts would take many times their bytes.
type Texts []string

// UnmarshalJSON reads an array of strings, or null.
func (t *Texts) UnmarshalJSON(raw []byte) error {
	*t = nil
	if bytes.Count(raw, []byte{','}) < mostTexts {
		return json.Unmarshal(raw, (*[]string)(t))
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if open, err := decoder.Token(); err != nil || open != json.Delim('[') {
		return errNotAPI
	}
	for decoder.More() && len(*t) < mostTexts {
		var text string
		if err := decoder.Decode(&text); err != nil {
			return err
		}
		*t = append(*t, text)
	}
	return nil
}

// lenient reads a value, and is zero if the JSON has another type.
type lenient[T any] struct {
	value T
	other bool // it has another type
}

// UnmarshalJSON never fails: one malformed field must not hide the whole agent.
func (l *lenient[T]) UnmarshalJSON(raw []byte) error {
	var value T
	if l.other = json.Unmarshal(raw, &value) != nil; !l.other {
		l.value = value
	}
	return nil
}

// Update is the body of an update: nil fields are not sent and stay unchanged.
// The type and the machine ID of an agent cannot be changed.
type Update struct {
	Name      *string `json:"name,omitempty"`
	Version   *string `json:"version,omitempty"`
	Edition   *string `json:"edition,omitempty"`
	RawConfig *string `json:"rawConfig,omitempty"`
	// FleetID and EnvironmentID can be changed but not cleared: the API ignores null.
	FleetID       *string `json:"fleetID,omitempty"`
	EnvironmentID *string `json:"environmentID,omitempty"`
	// Flags pointing to an empty slice, nil or not, clears the flags.
	Flags    *[]string       `json:"flags,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// Fields returns the JSON names of the fields that are sent, sorted.
func (u Update) Fields() []string {
	var fields []string
	for name, set := range map[string]bool{
		"name": u.Name != nil, "version": u.Version != nil, "edition": u.Edition != nil,
		"rawConfig": u.RawConfig != nil, "fleetID": u.FleetID != nil,
		"environmentID": u.EnvironmentID != nil, "flags": u.Flags != nil,
		"metadata": len(u.Metadata) > 0,
	} {
		if set {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields
}

// ListOptions choose a page of a list. Zero values are not sent.
type ListOptions struct {
	Last   int    // agents on a page; the API has its own maximum
	Before string // cursor: Page.Before of the page before this one
	Name   string // only agents with this name
}

// Page is a part of a list, newest agents first.
type Page struct {
	Agents []Agent
	// Before is the cursor of the next page, empty on the last one.
	Before string
}

// RawPage is a page whose agents are not read yet.
type RawPage struct {
	// Before is the cursor of the next page, empty on the last one.
	Before string

	status int
	buffer *bytes.Buffer // the body
	leave  func()        // leaves the Rooms; may be nil
}
