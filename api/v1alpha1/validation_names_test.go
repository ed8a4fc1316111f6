/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

const (
	notAProjectName  = "must be the name of a CloudProject: lower-case letters, digits, '-' and '.'"
	notANamespace    = "must be the name of a namespace: lower-case letters, digits and '-'"
	notAConfigMap    = "must be the name of a ConfigMap: lower-case letters, digits, '-' and '.'"
	notAConfigMapKey = "must be a key of a ConfigMap: letters, digits, '-', '_' and '.'"
	notASecretKey    = "must be a key of a Secret: letters, digits, '-', '_' and '.'"
)

// agentNames are about the name of an Agent and the names of what it refers to.
var agentNames = []createRow{
	{does: "takes a name of 247 characters", object: longName(247)},
	{does: "refuses a name of 248 characters, whose token Secret had no name", object: longName(248),
		field: "spec.tokenSecretRef", message: longForToken},
	{does: "refuses a name of 248 characters with an empty token Secret name", object: longName(248),
		spec: `{tokenSecretRef: {name: ""}}`, field: "spec.tokenSecretRef", message: longForToken},
	{does: "takes a name of 253 characters with a token Secret name", object: longName(253), spec: `{tokenSecretRef: {name: a}}`},
	{does: "takes a name of 245 characters with a session", object: longName(245), spec: `{sessionSecretRef: {}}`},
	{does: "refuses a name of 246 characters, whose session Secret had no name", object: longName(246),
		spec: `{sessionSecretRef: {}}`, field: "spec.sessionSecretRef", message: longForSession},
	{does: "takes a name of 246 characters with a session Secret name", object: longName(246), spec: `{sessionSecretRef: {name: a}}`},
	{does: "takes a name of 253 characters with both Secret names", object: longName(253),
		spec: `{tokenSecretRef: {name: a}, sessionSecretRef: {name: b}}`},

	{does: "takes a name with a label of 63 characters", object: long(63)},
	{does: "refuses a name with a label of 64 characters, which is no host name", object: "a." + long(64),
		field: "spec.name", message: longForHostname},
	{does: "takes a name with a label of 64 characters beside a host name", object: long(64), spec: `{name: web-logs}`},
	{does: "takes a name with a label of 64 characters for an adopted agent, which has a host name", object: long(64), spec: adoptedAgent},

	{does: "takes a session in the default Secret", spec: `{sessionSecretRef: {}}`},
	{does: "refuses session and token in one Secret", spec: `{tokenSecretRef: {name: a}, sessionSecretRef: {name: a}}`,
		field: "spec.sessionSecretRef", message: sharedSecret},
	{does: "refuses the session in the default Secret of the token", object: "web", spec: `{sessionSecretRef: {name: web-token}}`,
		field: "spec.sessionSecretRef", message: sharedSecret},
	{does: "refuses the token in the default Secret of the session", object: "web",
		spec:  `{tokenSecretRef: {name: web-session}, sessionSecretRef: {}}`,
		field: "spec.sessionSecretRef", message: sharedSecret},
	{does: "takes the default Secret of a session that is not asked for", object: "web", spec: `{tokenSecretRef: {name: web-session}}`},

	{does: "takes a token Secret name of 253 characters", spec: `{tokenSecretRef: {name: ` + longName(253) + `}}`},
	{does: "refuses a token Secret name in upper case", spec: `{tokenSecretRef: {name: Web}}`, field: "spec.tokenSecretRef.name", message: notASecretName},
	{does: "refuses a token Secret name of 254 characters", spec: `{tokenSecretRef: {name: ` + longName(254) + `}}`,
		field: "spec.tokenSecretRef.name", message: tooLong(253)},
	{does: "takes a session Secret name with dots", spec: `{sessionSecretRef: {name: a.b}}`},
	{does: "refuses a session Secret name with a slash", spec: `{sessionSecretRef: {name: a/b}}`, field: "spec.sessionSecretRef.name", message: notASecretName},
	{does: "refuses a session Secret name of 254 characters", spec: `{sessionSecretRef: {name: ` + longName(254) + `}}`,
		field: "spec.sessionSecretRef.name", message: tooLong(253)},

	{does: "takes a CloudProject of another namespace", spec: `{projectRef: {name: ` + longName(253) + `, namespace: ` + long(63) + `}}`},
	{does: "refuses a CloudProject without a name", spec: `{projectRef: {namespace: a}}`, field: "spec.projectRef.name", message: required},
	{does: "refuses a CloudProject with an empty name", spec: `{projectRef: {name: ""}}`, field: "spec.projectRef.name", message: tooShort},
	{does: "takes a CloudProject name with dots and digits", spec: `{projectRef: {name: 1.a-b.2, namespace: 1-a}}`},
	{does: "takes an empty namespace as absent", spec: `{projectRef: {name: a, namespace: ""}}`},
	{does: "refuses a CloudProject name with a slash", spec: `{projectRef: {name: a/b}}`, field: "spec.projectRef.name", message: notAProjectName},
	{does: "refuses a CloudProject name in upper case", spec: `{projectRef: {name: Main}}`, field: "spec.projectRef.name", message: notAProjectName},
	{does: "refuses a CloudProject name of two dots", spec: `{projectRef: {name: ..}}`, field: "spec.projectRef.name", message: notAProjectName},
	{does: "refuses a CloudProject name with a percent sign", spec: `{projectRef: {name: "a%2fb"}}`, field: "spec.projectRef.name", message: notAProjectName},
	{does: "refuses a CloudProject name with a line break", spec: `{projectRef: {name: "a\n"}}`, field: "spec.projectRef.name", message: notAProjectName},
	{does: "refuses a namespace with a slash", spec: `{projectRef: {name: a, namespace: a/b}}`, field: "spec.projectRef.namespace", message: notANamespace},
	{does: "refuses a namespace with a dot", spec: `{projectRef: {name: a, namespace: a.b}}`, field: "spec.projectRef.namespace", message: notANamespace},
	{does: "refuses a ConfigMap name with a slash", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: a/b, key: a}}}`,
		field: "spec.rawConfigFrom.configMapKeyRef.name", message: notAConfigMap},
	{does: "takes a ConfigMap key of a file", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: a, key: Fluent_bit-1.conf}}}`},
	{does: "refuses a ConfigMap key with a slash", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: a, key: a/b}}}`,
		field: "spec.rawConfigFrom.configMapKeyRef.key", message: notAConfigMapKey},
	{does: "refuses a Secret name with a slash", spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {name: a/b, key: a}}}`,
		field: "spec.rawConfigFrom.secretKeyRef.name", message: notASecretName},
	{does: "refuses a Secret key with a space", spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {name: a, key: "a b"}}}`,
		field: "spec.rawConfigFrom.secretKeyRef.key", message: notASecretKey},
	{does: "refuses a CloudProject name of 254 characters", spec: `{projectRef: {name: ` + longName(254) + `}}`,
		field: "spec.projectRef.name", message: tooLong(253)},
	{does: "refuses a namespace of 64 characters", spec: `{projectRef: {name: a, namespace: ` + long(64) + `}}`,
		field: "spec.projectRef.namespace", message: tooLong(63)},

	{does: "takes a ConfigMap and key of 253 characters",
		spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: ` + longName(253) + `, key: ` + long(253) + `}}}`},
	{does: "refuses a ConfigMap without a name", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {key: a}}}`,
		field: "spec.rawConfigFrom.configMapKeyRef.name", message: required},
	{does: "refuses a ConfigMap without a key", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: a}}}`,
		field: "spec.rawConfigFrom.configMapKeyRef.key", message: required},
	{does: "refuses a ConfigMap with an empty name", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: "", key: a}}}`,
		field: "spec.rawConfigFrom.configMapKeyRef.name", message: tooShort},
	{does: "refuses a ConfigMap with an empty key", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: a, key: ""}}}`,
		field: "spec.rawConfigFrom.configMapKeyRef.key", message: tooShort},
	{does: "refuses a ConfigMap name of 254 characters", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: ` + longName(254) + `, key: a}}}`,
		field: "spec.rawConfigFrom.configMapKeyRef.name", message: tooLong(253)},
	{does: "refuses a ConfigMap key of 254 characters", spec: `{rawConfig: null, rawConfigFrom: {configMapKeyRef: {name: a, key: ` + long(254) + `}}}`,
		field: "spec.rawConfigFrom.configMapKeyRef.key", message: tooLong(253)},
	{does: "takes a Secret and key of 253 characters",
		spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {name: ` + longName(253) + `, key: ` + long(253) + `}}}`},
	{does: "refuses a Secret without a name", spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {key: a}}}`,
		field: "spec.rawConfigFrom.secretKeyRef.name", message: required},
	{does: "refuses a Secret without a key", spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {name: a}}}`,
		field: "spec.rawConfigFrom.secretKeyRef.key", message: required},
	{does: "refuses a Secret with an empty name", spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {name: "", key: a}}}`,
		field: "spec.rawConfigFrom.secretKeyRef.name", message: tooShort},
	{does: "refuses a Secret with an empty key", spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {name: a, key: ""}}}`,
		field: "spec.rawConfigFrom.secretKeyRef.key", message: tooShort},
	{does: "refuses a Secret name of 254 characters", spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {name: ` + longName(254) + `, key: a}}}`,
		field: "spec.rawConfigFrom.secretKeyRef.name", message: tooLong(253)},
	{does: "refuses a Secret key of 254 characters", spec: `{rawConfig: null, rawConfigFrom: {secretKeyRef: {name: a, key: ` + long(254) + `}}}`,
		field: "spec.rawConfigFrom.secretKeyRef.key", message: tooLong(253)},
}

var agentStatuses = []createRow{
	{does: "takes a status with Secret names", spec: `{tokenSecretRef: {name: a}, sessionSecretRef: {name: b}}`},
	{does: "refuses a bad token Secret name in the status", spec: `{tokenSecretRef: {name: A}}`,
		field: "status.tokenSecretRef.name", message: notASecretName},
	{does: "refuses a bad session Secret name in the status", spec: `{sessionSecretRef: {name: A}}`,
		field: "status.sessionSecretRef.name", message: notASecretName},
}
