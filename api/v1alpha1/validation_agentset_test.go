/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	minimalSet = `{targetRef: {kind: DaemonSet, name: fluent-bit}, template: {spec: ` + minimalAgent + `}}`

	notAWorkload      = "must be the name of a workload: lower-case letters, digits, '-' and '.'"
	templateName      = "a template cannot set name: every Agent has the name of its node or replica"
	templateMachineID = "a template cannot set machineID: every Agent has its own"
	templateAgentID   = "a template cannot set agentID: every Agent has its own"
	templateSecrets   = "a template cannot name Secrets: every Agent has its own"
	templateSuspend   = "a template cannot set suspend: suspend single Agents"
	ownLabels         = "labels of cloud.calyptia.com are set by the operator: remove them"
	ownAnnotations    = "annotations of cloud.calyptia.com apply to a single Agent: remove them, and annotate that Agent"
	longForLabel      = "metadata.name is the value of a label of every Agent: use at most 63 characters"
	notADelay         = "must be between 0s and 24h"
)

// stringMap is flow YAML of n keys.
func stringMap(n int) string {
	fields := map[string]string{}
	for i := range n {
		fields[fmt.Sprint("key", i)] = "value"
	}
	content, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(content)
}

var setCreates = []createRow{
	{does: "takes the minimum"},
	{does: "takes every field", spec: `{targetRef: {kind: StatefulSet, name: a.b}, sessions: {secretName: s, shards: 32}, removalDelay: 1h30m,
		template: {metadata: {labels: {team: a}, annotations: {example.com/a: b}}, spec: {edition: community, sessionSecretRef: {}, tokenSecretRef: {}}}}`},
	{does: "takes a name of 63 characters", object: long(63)},
	{does: "refuses a name of 64 characters", object: long(64), field: onTheRoot, message: longForLabel},

	{does: "refuses no target", spec: `{targetRef: null}`, field: "spec.targetRef", message: required},
	{does: "refuses a target without a kind", spec: `{targetRef: {kind: null}}`, field: "spec.targetRef.kind", message: required},
	{does: "refuses a Deployment", spec: `{targetRef: {kind: Deployment}}`, field: "spec.targetRef.kind", message: `supported values: "DaemonSet", "StatefulSet"`},
	{does: "refuses a target without a name", spec: `{targetRef: {name: null}}`, field: "spec.targetRef.name", message: required},
	{does: "refuses a target with an empty name", spec: `{targetRef: {name: ""}}`, field: "spec.targetRef.name", message: tooShort},
	{does: "takes a target with a name of 253 characters", spec: `{targetRef: {name: ` + longName(253) + `}}`},
	{does: "refuses a target with a name of 254 characters", spec: `{targetRef: {name: ` + longName(254) + `}}`, field: "spec.targetRef.name", message: tooLong(253)},
	{does: "refuses a target in another namespace", spec: `{targetRef: {name: a/b}}`, field: "spec.targetRef.name", message: notAWorkload},

	{does: "refuses no template", spec: `{template: null}`, field: "spec.template", message: required},
	{does: "refuses a template without a spec", spec: `{template: {spec: null}}`, field: "spec.template.spec", message: required},
	{does: "takes an empty name in the template", spec: `{template: {spec: {name: ""}}}`},
	{does: "refuses a name in the template", spec: `{template: {spec: {name: web}}}`, field: "spec.template.spec.name", message: templateName},
	{does: "takes a fleet and an environment by name in the template", spec: `{template: {spec: {fleet: {name: edge}, environment: {name: production}}}}`},
	{does: "refuses a fleet by ID and name in the template", spec: `{template: {spec: {fleet: {id: ` + someUUID + `, name: edge}}}}`,
		field: "spec.template.spec.fleet", message: idOrName},
	{does: "refuses an environment by neither in the template", spec: `{template: {spec: {environment: {}}}}`,
		field: "spec.template.spec.environment", message: idOrName},
	{does: "refuses a machine ID in the template", spec: `{template: {spec: {machineID: a}}}`, field: "spec.template.spec.machineID", message: templateMachineID},
	{does: "refuses an agent ID in the template", spec: `{template: {spec: {agentID: ` + someUUID + `}}}`, field: "spec.template.spec.agentID", message: templateAgentID},
	{does: "refuses a token Secret in the template", spec: `{template: {spec: {tokenSecretRef: {name: a}}}}`,
		field: "spec.template.spec.tokenSecretRef.name", message: templateSecrets},
	{does: "refuses a session Secret in the template", spec: `{template: {spec: {sessionSecretRef: {name: a}}}}`,
		field: "spec.template.spec.sessionSecretRef.name", message: templateSecrets},
	{does: "refuses to suspend all Agents", spec: `{template: {spec: {suspend: true}}}`, field: "spec.template.spec.suspend", message: templateSuspend},
	{does: "takes Agents that are not suspended", spec: `{template: {spec: {suspend: false}}}`},

	{does: "takes 64 labels and annotations", spec: `{template: {metadata: {labels: ` + stringMap(64) + `, annotations: ` + stringMap(64) + `}}}`},
	{does: "refuses 65 labels", spec: `{template: {metadata: {labels: ` + stringMap(65) + `}}}`,
		field: "spec.template.metadata.labels", message: "must have at most 64 items"},
	{does: "refuses 65 annotations", spec: `{template: {metadata: {annotations: ` + stringMap(65) + `}}}`,
		field: "spec.template.metadata.annotations", message: "must have at most 64 items"},
	{does: "refuses a label of the operator", spec: `{template: {metadata: {labels: {cloud.calyptia.com/agentset: other}}}}`,
		field: "spec.template.metadata.labels", message: ownLabels},
	{does: "refuses an annotation of the operator", spec: `{template: {metadata: {annotations: {cloud.calyptia.com/orphan: "true"}}}}`,
		field: "spec.template.metadata.annotations", message: ownAnnotations},

	{does: "takes a Secret name of 250 characters", spec: `{sessions: {secretName: ` + longName(250) + `}}`},
	{does: "takes an empty Secret name", spec: `{sessions: {secretName: ""}}`},
	{does: "refuses a Secret name of 251 characters", spec: `{sessions: {secretName: ` + longName(251) + `}}`, field: "spec.sessions.secretName", message: tooLong(250)},
	{does: "refuses a Secret name in upper case", spec: `{sessions: {secretName: A}}`, field: "spec.sessions.secretName", message: notASecretName},
	{does: "refuses no shard", spec: `{sessions: {shards: 0}}`, field: "spec.sessions.shards", message: "should be greater than or equal to 1"},
	{does: "refuses 33 shards", spec: `{sessions: {shards: 33}}`, field: "spec.sessions.shards", message: "should be less than or equal to 32"},

	{does: "takes no removal delay", spec: `{removalDelay: 0s}`},
	{does: "takes a removal delay of a day", spec: `{removalDelay: 24h}`},
	{does: "refuses a longer removal delay", spec: `{removalDelay: 24h1s}`, field: "spec.removalDelay", message: notADelay},
	{does: "refuses a negative removal delay", spec: `{removalDelay: -1s}`, field: "spec.removalDelay", message: "should match"},
	{does: "refuses a removal delay without a unit", spec: `{removalDelay: "10"}`, field: "spec.removalDelay", message: "should match"},
	{does: "refuses a removal delay that is too long to read", spec: `{removalDelay: ` + strings.Repeat("1s", 17) + `}`,
		field: "spec.removalDelay", message: tooLong(32)},
}

var setUpdates = []updateRow{
	{does: "allows everything else to change", to: `{targetRef: {kind: StatefulSet, name: other}, sessions: {shards: 4, secretName: x}, removalDelay: 1m,
		template: {metadata: {labels: {a: b}}, spec: {version: v4.1.0, rawConfig: other, projectRef: {name: other}}}}`},
}

// ofAgents are fields of an Agent that a template cannot set: a row that sets one of them, and is about another field, says
// nothing of a template.
var ofAgents = []string{"name:", "machineID", "agentID", "SecretRef", "suspend: true"}

// inTemplate makes of a row about an Agent one about a template.
func inTemplate(rows []createRow) (templates []createRow) {
	for _, row := range rows {
		own := slices.ContainsFunc(ofAgents, func(field string) bool { return strings.Contains(withoutRefs(row.spec), field) })
		about := slices.ContainsFunc(ofAgents, func(field string) bool { return strings.Contains(row.field, strings.TrimSuffix(field, ":")) })
		if row.object != "" || row.message == sharedSecret || own && (row.message == "" || !about) {
			continue
		}
		templates = append(templates, createRow{
			does: "in a template: " + row.does, spec: `{template: {spec: ` + nonEmpty(row.spec) + `}}`,
			field: strings.Replace(row.field, "spec.", "spec.template.spec.", 1), message: row.message,
		})
	}
	return templates
}

// withoutRefs takes the names of references out of a row: they are no name of an agent.
func withoutRefs(spec string) string {
	for _, ref := range []string{"configMapKeyRef: {name:", "secretKeyRef: {name:", "projectRef: {name:"} {
		spec = strings.ReplaceAll(spec, ref, "")
	}
	return spec
}

func nonEmpty(spec string) string {
	if spec == "" {
		return "{}"
	}
	return spec
}

func updatesInTemplate(rows []updateRow) (templates []updateRow) {
	for _, row := range rows {
		if strings.Contains(row.from, "agentID") || strings.Contains(row.from, "machineID") || row.message == "" {
			continue
		}
		templates = append(templates, updateRow{
			does: "in a template: " + row.does, from: `{template: {spec: ` + nonEmpty(row.from) + `}}`, to: `{template: {spec: ` + row.to + `}}`,
			field: strings.Replace(row.field, "spec.", "spec.template.spec.", 1), message: row.message,
		})
	}
	return templates
}

// unreachable are constraints of a template's spec that no object meets: it never has an agentID.
var unreachable = []constraint{
	{"AgentSet", "spec.template.spec.agentID", agentIDImmutable},
}
