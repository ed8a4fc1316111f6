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

// MachineIDPolicy is what a registration with a taken machine ID ends in.
// Services differ.
type MachineIDPolicy int

const (
	// MachineIDConflict answers 409. The default.
	MachineIDConflict MachineIDPolicy = iota
	// MachineIDUpsert answers 201 with the agent that is there, its fields
	// updated, its ID, token and creation time kept.
	MachineIDUpsert
	// MachineIDDouble registers a second agent.
	MachineIDDouble
)

const defaultPageSize = 100

// Settings are the ways in which services differ. The zero value is a service
// with everything in place.
type Settings struct {
	UniqueMachineIDs MachineIDPolicy
	// NoList makes the list an unknown route: a plain-text 404.
	NoList bool
	// NoNames makes the lists of fleets and environments unknown routes.
	NoNames bool
	// Schemes accepted for project tokens; empty means all.
	Schemes []cloud.Scheme
	// OnlyAgentPatches refuses a project token's PATCH of what is the agent's.
	OnlyAgentPatches bool
	// GoneAfterDelete answers 410 for deleted agents instead of 404.
	GoneAfterDelete bool
	// MaskTokens shows MaskAs instead of tokens in reads and lists;
	// MaskRegister does so in the answer of a registration.
	MaskTokens, MaskRegister bool
	MaskAs                   string
	// UpperIDs writes UUIDs in capitals. They are read in any letters.
	UpperIDs bool
	// Quota is how many agents a project may hold; 0 is unlimited.
	Quota int
	// PageSize is the most a page of a list holds. Default 100.
	PageSize int
	// Fleets and Environments map the known IDs to names, in every project. A
	// project without any fleet accepts every valid ID of one; likewise
	// environments.
	Fleets, Environments map[string]string
	// Now is the service's clock. It must not call the server. Default time.Now.
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
