/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"regexp"
	"strings"

	"github.com/google/uuid"
)

const (
	// MachineIDPattern is the form of a machine ID that can be declared.
	MachineIDPattern = `^[A-Za-z0-9][A-Za-z0-9._:-]*$`
	maxMachineID     = 128
)

var machineID = regexp.MustCompile(MachineIDPattern)

// ValidMachineID reports whether a machine ID has the form that an Agent can
// declare. A server may hold others, which somebody else registered: they are
// not fit to be shown or written anywhere.
func ValidMachineID(id string) bool { return len(id) <= maxMachineID && machineID.MatchString(id) }

// NormalID gives a UUID in small letters, as every ID is that this package
// returns, and anything else as it is. IDs are equal if their normal forms are.
func NormalID(id string) string {
	if isUUID(id) {
		return strings.ToLower(id)
	}
	return id
}

// ValidID reports whether a text can be the ID of an agent. Nothing else is asked of a server: what somebody wrote in its
// place may be long, or made for something in between that drops the connection.
func ValidID(id string) bool { return isUUID(id) }

// isUUID accepts the canonical form alone: braces, URNs and bare hex digits
// are not what the API writes.
func isUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }
