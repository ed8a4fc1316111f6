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

// ValidMachineID reports whether an Agent can declare a machine ID. Others,
// which somebody else registered, must not be shown or written anywhere.
func ValidMachineID(id string) bool { return len(id) <= maxMachineID && machineID.MatchString(id) }

// NormalID returns a UUID in lower case, as are all IDs that this package returns, and anything else unchanged.
func NormalID(id string) string {
	if isUUID(id) {
		return strings.ToLower(id)
	}
	return id
}

// ValidID reports whether a text can be the ID of an agent. Anything else is never sent: it may be long, or made to have a
// filter drop the connection.
func ValidID(id string) bool { return isUUID(id) }

var idInText = regexp.MustCompile(`(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// HideIDs replaces the IDs in a text that may not be shown.
func HideIDs(text string, mayShow func(id string) bool) string {
	return idInText.ReplaceAllStringFunc(text, func(id string) string {
		if mayShow(id) {
			return id
		}
		return Redacted
	})
}

// isUUID accepts only the canonical form, without braces, URNs and bare hex digits.
func isUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }
