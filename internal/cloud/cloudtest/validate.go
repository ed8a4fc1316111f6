/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

var (
	hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
	version  = regexp.MustCompile(`^v?\d+\.\d+\.\d+([-+].*)?$`)
)

const (
	maxHostname  = 253
	maxMachineID = 255
)

// fields is a register or update body. A nil pointer is an absent or null key.
type fields struct {
	Name, MachineID, Type, Version, Edition, RawConfig *string
	FleetID, EnvironmentID, OS, Arch                   *string
	Flags                                              *[]string
	Metadata                                           json.RawMessage
}

// readFields parses and validates a body: 400 if it is not a JSON object, 422
// with the known message for the first invalid field.
func readFields(body []byte, registering bool) (fields, *response) {
	var raw map[string]json.RawMessage
	if json.Unmarshal(body, &raw) != nil || raw == nil {
		return fields{}, new(refuse(http.StatusBadRequest, "invalid JSON"))
	}
	var f fields
	for _, check := range []struct {
		key, message string
		required     bool
		into         **string
		valid        func(string) bool
	}{
		{"name", "invalid agent name", true, &f.Name, validHostname},
		{"machineID", "invalid machine ID", true, &f.MachineID, validMachineID},
		{"type", "invalid agent type", true, &f.Type, oneOf("fluentbit", "fluentd")},
		{"version", "invalid agent version", true, &f.Version, version.MatchString},
		{"edition", "invalid agent edition", true, &f.Edition, oneOf("community", "enterprise")},
		{"rawConfig", "invalid agent raw config", true, &f.RawConfig, notEmpty},
		{"fleetID", "invalid fleet ID", false, &f.FleetID, validUUID},
		{"environmentID", "invalid environment ID", false, &f.EnvironmentID, notEmpty},
		{"os", "invalid agent os", false, &f.OS, notEmpty},
		{"arch", "invalid agent arch", false, &f.Arch, notEmpty},
	} {
		failed := json.Unmarshal(orNull(raw[check.key]), check.into) != nil
		missing := *check.into == nil && check.required && registering
		if failed || missing || (*check.into != nil && !check.valid(**check.into)) {
			return fields{}, new(refuse(http.StatusUnprocessableEntity, check.message))
		}
	}
	var flags *[]*string
	if json.Unmarshal(orNull(raw["flags"]), &flags) != nil {
		return fields{}, new(refuse(http.StatusUnprocessableEntity, "invalid agent flags"))
	}
	if flags != nil {
		f.Flags = &[]string{}
		for _, flag := range *flags {
			if flag == nil {
				return fields{}, new(refuse(http.StatusUnprocessableEntity, "invalid agent flags"))
			}
			*f.Flags = append(*f.Flags, *flag)
		}
	}
	var metadata map[string]json.RawMessage
	if json.Unmarshal(orNull(raw["metadata"]), &metadata) != nil {
		return fields{}, new(refuse(http.StatusUnprocessableEntity, "invalid agent metadata"))
	}
	if metadata != nil {
		f.Metadata = raw["metadata"]
	}
	return f, nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func validHostname(s string) bool { return len(s) <= maxHostname && hostname.MatchString(s) }

func validMachineID(s string) bool {
	return strings.TrimSpace(s) != "" && len(s) <= maxMachineID
}

func notEmpty(s string) bool { return s != "" }

func validUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }

func oneOf(values ...string) func(string) bool {
	return func(s string) bool {
		for _, value := range values {
			if s == value {
				return true
			}
		}
		return false
	}
}
