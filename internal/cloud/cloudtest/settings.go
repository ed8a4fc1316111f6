/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"slices"
	"strings"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// MachineIDPolicy is the outcome of a registration whose machine ID is taken. Installations differ.
type MachineIDPolicy int

const (
	// MachineIDConflict returns 409. The default.
	MachineIDConflict MachineIDPolicy = iota
	// MachineIDUpsert updates the existing agent and returns it with 201; its ID, token and creation time stay.
	MachineIDUpsert
	// MachineIDDouble registers a second agent.
	MachineIDDouble
)

const defaultPageSize = 100

// Settings are the ways in which installations differ. The zero value is an installation with all features.
type Settings struct {
	UniqueMachineIDs MachineIDPolicy
	// NoList makes the list an unknown route: a plain-text 404.
	NoList bool
	// EmptyForOthers lists what the token may see of a project that is not its own, which is nothing, instead of responding with 403.
	EmptyForOthers bool
	// NoNames makes the lists of fleets and environments unknown routes.
	NoNames bool
	// Schemes accepted for project tokens; empty means all.
	Schemes []cloud.Scheme
	// OnlyAgentPatches rejects a PATCH with a project token of fields that only the agent may write.
	OnlyAgentPatches bool
	// GoneAfterDelete returns 410 for deleted agents instead of 404.
	GoneAfterDelete bool
	// MaskTokens sends MaskAs instead of tokens in reads and lists; MaskRegister does so in the response to a registration.
	MaskTokens, MaskRegister bool
	MaskAs                   string
	// UpperIDs writes UUIDs in upper case. They are read in any case.
	UpperIDs bool
	// Quota is how many agents a project may have; 0 is unlimited.
	Quota int
	// PageSize is the largest number of agents in a page. Default 100.
	PageSize int
	// Fleets and Environments map the known IDs to names, in every project. A project without fleets accepts every valid
	// fleet ID; likewise for environments.
	Fleets, Environments map[string]string
	// Now is the server's clock. It must not call the server. Default time.Now.
	Now func() time.Time
}

func (s Settings) accepts(scheme cloud.Scheme) bool {
	return len(s.Schemes) == 0 || slices.Contains(s.Schemes, scheme)
}

func (s Settings) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC().Truncate(time.Microsecond)
	}
	return s.Now().UTC().Truncate(time.Microsecond)
}

func (s Settings) shownID(id string) string {
	if s.UpperIDs && validUUID(id) {
		return strings.ToUpper(id)
	}
	return id
}

func (s Settings) shown(token string, masked bool) string {
	if masked {
		return s.MaskAs
	}
	return token
}
