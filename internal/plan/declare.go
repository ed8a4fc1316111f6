/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package plan

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// DefaultEdition is registered where the spec names none.
const DefaultEdition = "community"

// Configuration is the declared configuration; the zero value declares none.
type Configuration struct {
	// Data is the text; empty where only its digest is known.
	Data string
	// Digest represents the text in the status.
	Digest string
	// DigestOf makes the digest from the hash of a text.
	DigestOf func(hash string) string
}

// View is the remote agent as a read or a snapshot shows it.
type View struct {
	*cloud.Agent
	// Snapshot has the hashes of what a snapshot shows and does not hold; nil for a read.
	Snapshot *Hashes
}

// Hashes represent the large fields of an agent in a snapshot.
type Hashes struct{ RawConfig, Metadata string }

// Targets are the fleet and environment that the spec declares, once names are resolved; empty where it declares none.
type Targets struct {
	FleetID, EnvironmentID string
	// EnvironmentName is known where the spec declares it: the API shows no ID to compare with.
	EnvironmentName string
	// EnvironmentListed reports whether the project has an environment of a name. Where a remote agent shows another
	// name, one was renamed since the list was read, perhaps this one: that is no drift. Nil if there is no list.
	EnvironmentListed func(name string) bool
}

// Declaration is one managed field: its hash, how it is compared with the remote value, and how it is sent.
type Declaration struct {
	Name, Hash string
	// same compares with the remote value; nil where the API does not show it.
	same func(View) bool
	// shown reports whether what the API shows can be compared; nil if it always can.
	shown func(View) bool
	set   func(*cloud.Update)
}

// Declare lists the managed fields. What the spec leaves out is unmanaged.
func Declare(spec *v1alpha1.AgentSpec, targets Targets, config Configuration) []Declaration {
	var all []Declaration
	text := func(name, value string, remote func(*cloud.Agent) string, target func(*cloud.Update) **string) {
		if value == "" {
			return
		}
		d := Declaration{Name: name, Hash: cloud.Hash(value), set: func(u *cloud.Update) { *target(u) = &value }}
		if remote != nil {
			d.same = func(v View) bool { return remote(v.Agent) == value }
		}
		all = append(all, d)
	}
	if targets.EnvironmentID != "" {
		all = append(all, targets.environment())
	}
	text("fleet", targets.FleetID, (*cloud.Agent).Fleet, func(u *cloud.Update) **string { return &u.FleetID })
	text("name", spec.Name, func(a *cloud.Agent) string { return a.Name }, func(u *cloud.Update) **string { return &u.Name })
	text("version", spec.Version, func(a *cloud.Agent) string { return a.Version }, func(u *cloud.Update) **string { return &u.Version })
	text("edition", spec.Edition, func(a *cloud.Agent) string { return a.Edition }, func(u *cloud.Update) **string { return &u.Edition })
	if config.Digest != "" {
		all = append(all, config.declaration())
	}
	if flags := spec.Flags; flags != nil {
		all = append(all, Declaration{
			Name: "flags", Hash: cloud.Hash(flags),
			same: func(v View) bool { return slices.Equal(v.Flags, flags) },
			set:  func(u *cloud.Update) { u.Flags = &flags },
		})
	}
	if spec.Metadata != nil {
		all = append(all, metadata(spec.Metadata.Raw))
	}
	return all
}

// environment is compared by its name, which is unique in a project.
func (t Targets) environment() Declaration {
	d := Declaration{
		Name: "environment", Hash: cloud.Hash(t.EnvironmentID),
		set: func(u *cloud.Update) { u.EnvironmentID = &t.EnvironmentID },
	}
	if t.EnvironmentName != "" {
		d.same = func(v View) bool { return v.EnvironmentName == t.EnvironmentName }
		d.shown = func(v View) bool {
			return d.same(v) || t.EnvironmentListed == nil || t.EnvironmentListed(v.EnvironmentName)
		}
	}
	return d
}

func (c Configuration) declaration() Declaration {
	return Declaration{
		Name: v1alpha1.FieldRawConfig, Hash: c.Digest,
		same: func(v View) bool {
			switch {
			case v.Snapshot != nil:
				return c.DigestOf(v.Snapshot.RawConfig) == c.Digest
			case c.Data == "":
				return c.DigestOf(cloud.Hash(v.RawConfig)) == c.Digest
			default:
				return v.RawConfig == c.Data
			}
		},
		set: func(u *cloud.Update) { u.RawConfig = &c.Data },
	}
}

// mostIndented bounds the length of remote metadata that is compared with metadata of a few bytes: comparing takes time.
const mostIndented = 64 << 10

func metadata(raw json.RawMessage) Declaration {
	declared := cloud.Canonical(raw)
	hash := cloud.Hash(declared)
	return Declaration{
		Name: "metadata", Hash: hash,
		same: func(v View) bool {
			if v.Snapshot != nil {
				return hash == v.Snapshot.Metadata
			}
			// Escaped and indented, it may be longer than it was declared.
			return len(v.Metadata) <= 8*len(raw)+mostIndented && bytes.Equal(cloud.Canonical(v.Metadata), declared)
		},
		set: func(u *cloud.Update) { u.Metadata = raw },
	}
}

// Compare compares each declared field with the remote value. A view without an agent was not read.
func Compare(declared []Declaration, view View) []Field {
	fields := make([]Field, 0, len(declared))
	for _, d := range declared {
		f := Field{Name: d.Name, Hash: d.Hash}
		switch {
		case view.Agent == nil:
			f.Remote = NotRead
		case d.same == nil, d.shown != nil && !d.shown(view):
			f.Remote = NotShown
		case d.same(view):
			f.Remote = Same
		default:
			f.Remote = Different
		}
		fields = append(fields, f)
	}
	return fields
}

// Update is the smallest PATCH that sends the named fields.
func Update(declared []Declaration, names []string) (u cloud.Update) {
	for _, d := range declared {
		if slices.Contains(names, d.Name) {
			d.set(&u)
		}
	}
	return u
}

// Registration is the body that registers the Agent.
func Registration(name string, spec *v1alpha1.AgentSpec, targets Targets, config, machineID string) cloud.Registration {
	r := cloud.Registration{
		Name:          cmp.Or(spec.Name, name),
		MachineID:     machineID,
		Type:          string(spec.Type),
		Version:       spec.Version,
		Edition:       cmp.Or(spec.Edition, DefaultEdition),
		Flags:         spec.Flags,
		RawConfig:     config,
		FleetID:       targets.FleetID,
		EnvironmentID: targets.EnvironmentID,
	}
	if spec.Metadata != nil {
		r.Metadata = json.RawMessage(spec.Metadata.Raw)
	}
	return r
}

// Retains reports whether the remote agent outlives the Agent. registered says that the Agent registered it.
func Retains(spec *v1alpha1.AgentSpec, registered bool) bool {
	switch {
	case spec.SyncPolicy == v1alpha1.SyncObserve || spec.DeletionPolicy == v1alpha1.DeletionRetain:
		return true
	case spec.DeletionPolicy == v1alpha1.DeletionDelete:
		return false
	default:
		return spec.AgentID != "" && !registered
	}
}
