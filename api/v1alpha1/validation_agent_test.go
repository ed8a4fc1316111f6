/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"strings"
)

const (
	minimalAgent = `{type: fluentbit, version: v4.0.0, rawConfig: "[INPUT]\n    Name cpu\n"}`
	adoptedAgent = `{type: null, version: null, rawConfig: null, agentID: ` + someUUID + `}`

	someUUID  = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	otherUUID = "0a1b2c3d-4e5f-4678-9abc-def012345678"

	idOrName         = "set exactly one of id and name"
	notAUUID         = "must be a UUID in lower case, such as 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	notAHostname     = "must be a host name: letters, digits, '-' and '.', each label beginning and ending with a letter or digit, such as web-logs"
	notAMachineID    = "must be letters, digits, '-', '_', '.' and ':', such as the content of /etc/machine-id"
	notAVersion      = "must be a version such as v4.0.0 or 1.16.2-rc1"
	notASecretName   = "must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	noType           = "set type to fluentbit or fluentd (required unless agentID is set)"
	noVersion        = "set version, such as v4.0.0 (required unless agentID is set)"
	noSource         = "set one of rawConfig and rawConfigFrom (required unless agentID is set)"
	twoSources       = "set only one of rawConfig and rawConfigFrom"
	observeWithoutID = "syncPolicy Observe does not register agents: set agentID to the ID of the remote agent to observe"
	typeImmutable    = "type is immutable: delete this Agent and create one with the new type"
	machineImmutable = "machineID is immutable: delete this Agent and create one with the new machineID"
	agentIDImmutable = "agentID is immutable once set: delete this Agent and create one for the other remote agent"
	sharedSecret     = "the session and the token must not share a Secret: name another Secret"
	longForToken     = "metadata.name is too long for the Secret name derived from it: use at most 247 characters, or set tokenSecretRef.name"
	longForSession   = "metadata.name is too long for the Secret name derived from it: use at most 245 characters, or set sessionSecretRef.name"
	longForHostname  = "metadata.name has a label of more than 63 characters, which is not a host name: set spec.name"
	notOneOfTwoRefs  = "set exactly one of configMapKeyRef and secretKeyRef"

	tooShort = "should be at least 1 chars long"
	required = "Required value"
)

func tooLong(limit int) string { return fmt.Sprintf("Too long: may not be more than %d bytes", limit) }

// long returns a string of n letters, longName a name of n characters in labels of at most 50.
func long(n int) string { return strings.Repeat("a", n) }

func longName(n int) string {
	name := []byte(long(n))
	for i := 50; i < n-1; i += 51 {
		name[i] = '.'
	}
	return string(name)
}

// list and object return flow YAML of n elements.
func list(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("-v, ", n), ", ") + "]" }

func object(n int) string {
	fields := map[string]int{}
	for i := range n {
		fields[fmt.Sprint("key", i)] = i
	}
	content, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(content)
}

var agentCreates = []createRow{
	{does: "takes the minimum"},
	{does: "takes every field", spec: `{projectRef: {name: p, namespace: elsewhere}, name: web-logs, machineID: "m:1", edition: community,
		flags: ["--verbose"], metadata: {a: [1, {b: null}]}, fleet: {id: ` + someUUID + `}, environment: {id: default},
		tokenSecretRef: {name: a}, sessionSecretRef: {name: b}, syncPolicy: OnChange, deletionPolicy: Retain, suspend: true}`},
	{does: "takes empty optional strings as absent", spec: `{name: "", machineID: "", edition: "",
		agentID: "", deletionPolicy: "", projectRef: {name: p, namespace: ""}, tokenSecretRef: {name: ""}}`},

	{does: "takes a host name of several labels", spec: `{name: Web-1.logs.example}`},
	{does: "takes a host name label of 63 characters", spec: `{name: ` + long(63) + `}`},
	{does: "takes a host name of 253 characters", spec: `{name: ` + longName(253) + `}`},
	{does: "refuses an underscore in the host name", spec: `{name: web_logs}`, field: "spec.name", message: notAHostname},
	{does: "refuses a space in the host name", spec: `{name: web logs}`, field: "spec.name", message: notAHostname},
	{does: "refuses a line break after the host name", spec: `{name: "web\n"}`, field: "spec.name", message: notAHostname},
	{does: "refuses a host name that begins with a dash", spec: `{name: -web}`, field: "spec.name", message: notAHostname},
	{does: "refuses a host name that ends with a dash", spec: `{name: web-}`, field: "spec.name", message: notAHostname},
	{does: "refuses an empty label in the host name", spec: `{name: web..logs}`, field: "spec.name", message: notAHostname},
	{does: "refuses a host name label of 64 characters", spec: `{name: ` + long(64) + `}`, field: "spec.name", message: notAHostname},
	{does: "refuses a host name of 254 characters", spec: `{name: ` + longName(254) + `}`, field: "spec.name", message: tooLong(253)},

	{does: "takes the machine ID of systemd", spec: `{machineID: "4c4c4544004d3510805ac8c04f4d3332"}`},
	{does: "takes a machine ID of 128 characters", spec: `{machineID: ` + long(128) + `}`},
	{does: "refuses a space in the machine ID", spec: `{machineID: a b}`, field: "spec.machineID", message: notAMachineID},
	{does: "refuses a machine ID that begins with a dash", spec: `{machineID: -a}`, field: "spec.machineID", message: notAMachineID},
	{does: "refuses a machine ID of 129 characters", spec: `{machineID: ` + long(129) + `}`, field: "spec.machineID", message: tooLong(128)},

	{does: "takes fluentd", spec: `{type: fluentd}`},
	{does: "refuses another type", spec: `{type: vector}`, field: "spec.type", message: `supported values: "fluentbit", "fluentd"`},
	{does: "refuses an empty type", spec: `{type: ""}`, field: "spec.type", message: `supported values: "fluentbit", "fluentd"`},
	{does: "refuses no type", spec: `{type: null}`, field: "spec.type", message: noType},

	{does: "takes a version without v", spec: `{version: 1.16.2}`},
	{does: "takes a release candidate", spec: `{version: v4.1.0-rc.1+build5}`},
	{does: "takes a version of 64 characters", spec: `{version: v1.2.3-` + long(57) + `}`},
	{does: "refuses a version of two numbers", spec: `{version: v4.0}`, field: "spec.version", message: notAVersion},
	{does: "refuses a tag as version", spec: `{version: latest}`, field: "spec.version", message: notAVersion},
	{does: "refuses a line break after the version", spec: `{version: "v4.0.0\n"}`, field: "spec.version", message: notAVersion},
	{does: "refuses a version of 65 characters", spec: `{version: v1.2.3-` + long(58) + `}`, field: "spec.version", message: tooLong(64)},
	{does: "refuses no version", spec: `{version: null}`, field: "spec.version", message: noVersion},
	{does: "refuses an empty version", spec: `{version: ""}`, field: "spec.version", message: noVersion},

	{does: "takes the enterprise edition", spec: `{edition: enterprise}`},
	{does: "refuses another edition", spec: `{edition: gold}`, field: "spec.edition", message: `supported values: "", "community", "enterprise"`},

	{does: "takes no flags", spec: `{flags: []}`},
	{does: "takes 128 flags", spec: `{flags: ` + list(128) + `}`},
	{does: "takes a flag of 1024 characters", spec: `{flags: [` + long(1024) + `]}`},
	{does: "refuses 129 flags", spec: `{flags: ` + list(129) + `}`, field: "spec.flags", message: "Too many: 129: must have at most 128 items"},
	{does: "refuses an empty flag", spec: `{flags: [-v, ""]}`, field: "spec.flags[1]", message: tooShort},
	{does: "refuses a flag of 1025 characters", spec: `{flags: [` + long(1025) + `]}`, field: "spec.flags[0]", message: tooLong(1024)},

	{does: "takes a rawConfig of 128 KiB", spec: `{rawConfig: ` + long(128<<10) + `}`},
	{does: "refuses a rawConfig of one byte more", spec: `{rawConfig: ` + long(128<<10+1) + `}`, field: "spec.rawConfig", message: tooLong(128 << 10)},
	{does: "refuses a rawConfig of 2 MB", spec: `{rawConfig: ` + long(2e6) + `}`, field: "spec.rawConfig", message: tooLong(128 << 10)},
	{does: "refuses an empty rawConfig", spec: `{rawConfig: ""}`, field: "spec.rawConfig", message: tooShort},
	{does: "refuses no source", spec: `{rawConfig: null}`, field: "spec.rawConfig", message: noSource},
	{does: "takes a ConfigMap as source", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: a, key: b}}}`},
	{does: "takes a Secret as source", spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {name: a, key: b}}}`},
	{does: "refuses both sources", spec: `{rawConfigFrom: {secretKeyRef: {name: a, key: b}}}`, field: "spec.rawConfigFrom", message: twoSources},
	{does: "refuses a ConfigMap and a Secret", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: a, key: b}, secretKeyRef: {name: a, key: b}}}`,
		field: "spec.rawConfigFrom", message: notOneOfTwoRefs},
	{does: "refuses neither ConfigMap nor Secret", spec: `{rawConfig: null, rawConfigFrom: {}}`, field: "spec.rawConfigFrom", message: notOneOfTwoRefs},

	{does: "takes empty metadata", spec: `{metadata: {}}`},
	{does: "takes 256 metadata keys", spec: `{metadata: ` + object(256) + `}`},
	{does: "refuses 257 metadata keys", spec: `{metadata: ` + object(257) + `}`, field: "spec.metadata", message: "Too many: 257: must have at most 256 items"},
	{does: "refuses metadata that is a string", spec: `{metadata: team}`, field: "spec.metadata", message: "must be of type object"},
	{does: "refuses metadata that is a list", spec: `{metadata: [team]}`, field: "spec.metadata", message: "must be of type object"},

	{does: "takes a fleet by ID", spec: `{fleet: {id: ` + someUUID + `}}`},
	{does: "takes a fleet by a name of 32 characters", spec: `{fleet: {name: ` + long(32) + `}}`},
	{does: "refuses a fleet name of 33 characters", spec: `{fleet: {name: ` + long(33) + `}}`, field: "spec.fleet.name", message: tooLong(32)},
	{does: "refuses an empty fleet name", spec: `{fleet: {name: ""}}`, field: "spec.fleet.name", message: tooShort},
	{does: "refuses an empty fleet ID", spec: `{fleet: {id: ""}}`, field: "spec.fleet.id", message: tooShort},
	{does: "refuses a fleet by ID and name", spec: `{fleet: {id: ` + someUUID + `, name: edge}}`, field: "spec.fleet", message: idOrName},
	{does: "refuses a fleet by neither", spec: `{fleet: {}}`, field: "spec.fleet", message: idOrName},
	{does: "refuses a fleet ID that is a name", spec: `{fleet: {id: edge}}`, field: "spec.fleet.id", message: notAUUID},
	{does: "refuses a fleet ID in upper case", spec: `{fleet: {id: ` + strings.ToUpper(someUUID) + `}}`, field: "spec.fleet.id", message: notAUUID},
	{does: "refuses a fleet ID that is too long", spec: `{fleet: {id: ` + someUUID + `0}}`, field: "spec.fleet.id", message: tooLong(36)},
	{does: "takes an environment by an ID of 128 characters", spec: `{environment: {id: ` + long(128) + `}}`},
	{does: "refuses an environment ID of 129 characters", spec: `{environment: {id: ` + long(129) + `}}`, field: "spec.environment.id", message: tooLong(128)},
	{does: "refuses an empty environment ID", spec: `{environment: {id: ""}}`, field: "spec.environment.id", message: tooShort},
	{does: "takes an environment by a name of 128 characters", spec: `{environment: {name: ` + long(128) + `}}`},
	{does: "refuses an environment name of 129 characters", spec: `{environment: {name: ` + long(129) + `}}`, field: "spec.environment.name", message: tooLong(128)},
	{does: "refuses an empty environment name", spec: `{environment: {name: ""}}`, field: "spec.environment.name", message: tooShort},
	{does: "refuses an environment by ID and name", spec: `{environment: {id: a, name: b}}`, field: "spec.environment", message: idOrName},
	{does: "refuses an environment by neither", spec: `{environment: {}}`, field: "spec.environment", message: idOrName},

	{does: "takes an agent ID alone", spec: adoptedAgent},
	{does: "takes an agent ID with a declaration", spec: `{agentID: ` + someUUID + `}`},
	{does: "refuses an agent ID that is a name", spec: `{agentID: web-logs}`, field: "spec.agentID", message: notAUUID},
	{does: "refuses an agent ID in braces", spec: `{agentID: "{5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c}"}`, field: "spec.agentID", message: notAUUID},
	{does: "refuses an agent ID that is too long", spec: `{agentID: ` + someUUID + `0}`, field: "spec.agentID", message: tooLong(36)},
	{does: "takes Observe with an agent ID", spec: `{agentID: ` + someUUID + `, syncPolicy: Observe}`},
	{does: "refuses Observe without an agent ID", spec: `{syncPolicy: Observe}`, field: "spec.syncPolicy", message: observeWithoutID},
	{does: "refuses Observe with an empty agent ID", spec: `{syncPolicy: Observe, agentID: ""}`, field: "spec.syncPolicy", message: observeWithoutID},
	{does: "refuses another sync policy", spec: `{syncPolicy: Never}`, field: "spec.syncPolicy", message: `supported values: "Enforce", "OnChange", "Observe"`},
	{does: "takes the deletion policy Delete", spec: `{deletionPolicy: Delete}`},
	{does: "refuses another deletion policy", spec: `{deletionPolicy: Orphan}`, field: "spec.deletionPolicy", message: `supported values: "", "Delete", "Retain"`},
}

var agentUpdates = []updateRow{
	{does: "allows everything else to change", to: `{name: other, version: v4.1.0, edition: enterprise, flags: [-v], rawConfig: other, fleet: {id: ` + someUUID + `},
		environment: {name: e}, metadata: {a: 1}, syncPolicy: OnChange, deletionPolicy: Retain, suspend: true, projectRef: {name: other}}`},
	{does: "allows the source to change", to: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: a, key: b}}}`},
	{does: "keeps the type", to: `{type: fluentd}`, field: "spec.type", message: typeImmutable},
	{does: "keeps the type of an adopted agent", from: adoptedAgent, to: `{type: fluentd}`, field: "spec.type", message: typeImmutable},
	{does: "keeps the type from being removed", from: `{agentID: ` + someUUID + `}`, to: `{type: null}`, field: "spec.type", message: typeImmutable},
	{does: "keeps the machine ID", from: `{machineID: a}`, to: `{machineID: b}`, field: "spec.machineID", message: machineImmutable},
	{does: "keeps the machine ID from being removed", from: `{machineID: a}`, to: `{machineID: null}`, field: "spec.machineID", message: machineImmutable},
	{does: "keeps the machine ID from being added", to: `{machineID: a}`, field: "spec.machineID", message: machineImmutable},
	{does: "takes an empty machine ID for none", to: `{machineID: ""}`},
	{does: "allows adding the agent ID", to: `{agentID: ` + someUUID + `}`},
	{does: "allows setting an empty agent ID", from: `{agentID: ""}`, to: `{agentID: ` + someUUID + `}`},
	{does: "keeps the agent ID", from: `{agentID: ` + someUUID + `}`, to: `{agentID: ` + otherUUID + `}`, field: "spec.agentID", message: agentIDImmutable},
	{does: "keeps the agent ID from being removed", from: `{agentID: ` + someUUID + `}`, to: `{agentID: null}`, field: "spec.agentID", message: agentIDImmutable},
	{does: "keeps the agent ID from being emptied", from: `{agentID: ` + someUUID + `}`, to: `{agentID: ""}`, field: "spec.agentID", message: agentIDImmutable},
	{does: "keeps the version from being removed", to: `{version: null}`, field: "spec.version", message: noVersion},
	{does: "keeps the source from being removed", to: `{rawConfig: null}`, field: "spec.rawConfig", message: noSource},
	{does: "refuses Observe later, too", to: `{syncPolicy: Observe}`, field: "spec.syncPolicy", message: observeWithoutID},
}
