/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"fmt"
	"strings"
)

const (
	minimalProject = `{tokenSecretRef: {name: calyptia-project-token}}`

	notAURL           = "must be an absolute URL that begins with https://, such as https://cloud-api.calyptia.com"
	urlWithMore       = "must have no user, query or fragment: use scheme, host and path only"
	urlWithVersion    = "must not end in /v1: remove it, the operator adds it to every request"
	selectorMismatch  = "set selector if, and only if, from is Selector"
	manyExpressions   = "must have at most 16 expressions with at most 1024 values each"
	intervalOutside   = "must be between 1m and 24h"
	onTheRoot         = "<nil>" // as the API server names it
	notADuration      = "should match '^([0-9]+"
	longForCredential = "metadata.name is too long for the Secret name derived from it: use at most 241 characters"
)

// numbered repeats a part of a YAML text with a number.
func numbered(count int, part string) string {
	parts := make([]string, count)
	for i := range parts {
		parts[i] = fmt.Sprintf(part, i)
	}
	return strings.Join(parts, ", ")
}

func expressions(count, values int) string {
	return numbered(count, "{key: a%d, operator: In, values: ["+strings.ReplaceAll(numbered(values, "b%d"), "%", "%%")+"]}")
}

var projectCreates = []createRow{
	{does: "takes the minimum"},
	{does: "takes every field", spec: `{url: "https://cloud.example/base", tokenSecretRef: {name: a, key: b}, authentication: Bearer,
		projectID: ` + someUUID + `, caBundle: {configMapKeyRef: {name: a, key: ca.crt}}, adoption: Allowed,
		allowedNamespaces: {from: Selector, selector: {matchLabels: {a: b}}},
		rateLimit: {requestsPerSecond: 5, burst: 10}, resyncInterval: 1h30m}`},
	{does: "takes a name of 241 characters", object: longName(241)},
	{does: "refuses a name of 242 characters, whose credentials had no name", object: longName(242), field: onTheRoot, message: longForCredential},

	{does: "takes plain http, which only the operator can judge", spec: `{url: "http://localhost:5000"}`},
	{does: "takes an IPv6 address with a port", spec: `{url: "https://[::1]:8443/"}`},
	{does: "refuses a URL that is none", spec: `{url: "cloud api"}`, field: "spec.url", message: notAURL},
	{does: "refuses a host alone", spec: `{url: cloud-api.calyptia.com}`, field: "spec.url", message: notAURL},
	{does: "refuses a path alone", spec: `{url: /v1}`, field: "spec.url", message: notAURL},
	{does: "refuses a URL without a host", spec: `{url: "https:///v1"}`, field: "spec.url", message: notAURL},
	{does: "refuses a port alone as host", spec: `{url: "https://:443"}`, field: "spec.url", message: notAURL},
	{does: "refuses ftp", spec: `{url: "ftp://cloud-api.calyptia.com"}`, field: "spec.url", message: notAURL},
	{does: "refuses a user in the URL", spec: `{url: "https://user:pass@cloud-api.calyptia.com"}`, field: "spec.url", message: urlWithMore},
	{does: "refuses a query in the URL", spec: `{url: "https://cloud-api.calyptia.com/?a=b"}`, field: "spec.url", message: urlWithMore},
	{does: "refuses a fragment in the URL", spec: `{url: "https://cloud-api.calyptia.com/#a"}`, field: "spec.url", message: urlWithMore},
	{does: "takes a URL with v1 before the end", spec: `{url: "https://gateway.example/v1/calyptia/"}`},
	{does: "takes a URL that ends in v10", spec: `{url: "https://gateway.example/v10"}`},
	{does: "takes a host named v1", spec: `{url: "https://v1"}`},
	{does: "refuses a URL with the version", spec: `{url: "https://cloud-api.calyptia.com/v1"}`, field: "spec.url", message: urlWithVersion},
	{does: "refuses a URL with the version and a slash", spec: `{url: "https://cloud-api.calyptia.com/v1/"}`, field: "spec.url", message: urlWithVersion},
	{does: "refuses a URL with a base, the version and slashes", spec: `{url: "https://cloud.example/base/v1//"}`,
		field: "spec.url", message: urlWithVersion},
	{does: "refuses the URL of a request", spec: `{url: "https://cloud-api.calyptia.com/v1/agents"}`, field: "spec.url", message: urlWithVersion},
	{does: "refuses an empty URL", spec: `{url: ""}`, field: "spec.url", message: tooShort},
	{does: "takes a URL of 2048 characters", spec: `{url: "https://a.example/` + long(2030) + `"}`},
	{does: "refuses a URL of 2049 characters", spec: `{url: "https://a.example/` + long(2031) + `"}`, field: "spec.url", message: tooLong(2048)},

	{does: "refuses no token Secret", spec: `{tokenSecretRef: null}`, field: "spec.tokenSecretRef", message: required},
	{does: "refuses a token Secret without a name", spec: `{tokenSecretRef: {name: null}}`, field: "spec.tokenSecretRef.name", message: required},
	{does: "refuses a token Secret with an empty name", spec: `{tokenSecretRef: {name: ""}}`, field: "spec.tokenSecretRef.name", message: tooShort},
	{does: "takes a token Secret name of 253 characters", spec: `{tokenSecretRef: {name: ` + longName(253) + `}}`},
	{does: "refuses a token Secret name of 254 characters", spec: `{tokenSecretRef: {name: ` + longName(254) + `}}`,
		field: "spec.tokenSecretRef.name", message: tooLong(253)},
	{does: "refuses a token Secret name with a slash", spec: `{tokenSecretRef: {name: a/b}}`,
		field: "spec.tokenSecretRef.name", message: notASecretName},
	{does: "refuses a key with a slash", spec: `{tokenSecretRef: {key: a/b}}`, field: "spec.tokenSecretRef.key", message: notASecretKey},
	{does: "takes a key of 253 characters", spec: `{tokenSecretRef: {key: ` + long(253) + `}}`},
	{does: "refuses an empty key", spec: `{tokenSecretRef: {key: ""}}`, field: "spec.tokenSecretRef.key", message: tooShort},
	{does: "refuses a key of 254 characters", spec: `{tokenSecretRef: {key: ` + long(254) + `}}`, field: "spec.tokenSecretRef.key", message: tooLong(253)},

	{does: "takes the header for project tokens", spec: `{authentication: ProjectToken}`},
	{does: "refuses another authentication", spec: `{authentication: Basic}`, field: "spec.authentication",
		message: `supported values: "Auto", "Bearer", "ProjectToken"`},

	{does: "takes an empty project ID as absent", spec: `{projectID: ""}`},
	{does: "refuses a project ID that is a name", spec: `{projectID: production}`, field: "spec.projectID", message: notAUUID},
	{does: "refuses a project ID that is too long", spec: `{projectID: ` + someUUID + `0}`, field: "spec.projectID", message: tooLong(36)},

	{does: "takes a CA of a Secret", spec: `{caBundle: {secretKeyRef: {name: a, key: b}}}`},
	{does: "refuses a CA of nothing", spec: `{caBundle: {}}`, field: "spec.caBundle", message: notOneOfTwoRefs},
	{does: "refuses a CA of a ConfigMap and a Secret", spec: `{caBundle: {configMapKeyRef: {name: a, key: b}, secretKeyRef: {name: a, key: b}}}`,
		field: "spec.caBundle", message: notOneOfTwoRefs},
	{does: "refuses a CA ConfigMap name with a slash", spec: `{caBundle: {configMapKeyRef: {name: a/b, key: b}}}`,
		field: "spec.caBundle.configMapKeyRef.name", message: notAConfigMap},
	{does: "refuses a CA ConfigMap key with a slash", spec: `{caBundle: {configMapKeyRef: {name: a, key: a/b}}}`,
		field: "spec.caBundle.configMapKeyRef.key", message: notAConfigMapKey},
	{does: "refuses a CA Secret name with a slash", spec: `{caBundle: {secretKeyRef: {name: a/b, key: b}}}`,
		field: "spec.caBundle.secretKeyRef.name", message: notASecretName},
	{does: "refuses a CA Secret key with a slash", spec: `{caBundle: {secretKeyRef: {name: a, key: a/b}}}`,
		field: "spec.caBundle.secretKeyRef.key", message: notASecretKey},
	{does: "refuses a CA ConfigMap without a name", spec: `{caBundle: {configMapKeyRef: {key: a}}}`,
		field: "spec.caBundle.configMapKeyRef.name", message: required},
	{does: "refuses a CA ConfigMap without a key", spec: `{caBundle: {configMapKeyRef: {name: a}}}`,
		field: "spec.caBundle.configMapKeyRef.key", message: required},
	{does: "refuses a CA ConfigMap with an empty name", spec: `{caBundle: {configMapKeyRef: {name: "", key: a}}}`,
		field: "spec.caBundle.configMapKeyRef.name", message: tooShort},
	{does: "refuses a CA ConfigMap with an empty key", spec: `{caBundle: {configMapKeyRef: {name: a, key: ""}}}`,
		field: "spec.caBundle.configMapKeyRef.key", message: tooShort},
	{does: "refuses a CA ConfigMap name of 254 characters", spec: `{caBundle: {configMapKeyRef: {name: ` + longName(254) + `, key: a}}}`,
		field: "spec.caBundle.configMapKeyRef.name", message: tooLong(253)},
	{does: "refuses a CA ConfigMap key of 254 characters", spec: `{caBundle: {configMapKeyRef: {name: a, key: ` + long(254) + `}}}`,
		field: "spec.caBundle.configMapKeyRef.key", message: tooLong(253)},
	{does: "refuses a CA Secret without a name", spec: `{caBundle: {secretKeyRef: {key: a}}}`,
		field: "spec.caBundle.secretKeyRef.name", message: required},
	{does: "refuses a CA Secret without a key", spec: `{caBundle: {secretKeyRef: {name: a}}}`,
		field: "spec.caBundle.secretKeyRef.key", message: required},
	{does: "refuses a CA Secret with an empty name", spec: `{caBundle: {secretKeyRef: {name: "", key: a}}}`,
		field: "spec.caBundle.secretKeyRef.name", message: tooShort},
	{does: "refuses a CA Secret with an empty key", spec: `{caBundle: {secretKeyRef: {name: a, key: ""}}}`,
		field: "spec.caBundle.secretKeyRef.key", message: tooShort},
	{does: "refuses a CA Secret name of 254 characters", spec: `{caBundle: {secretKeyRef: {name: ` + longName(254) + `, key: a}}}`,
		field: "spec.caBundle.secretKeyRef.name", message: tooLong(253)},
	{does: "refuses a CA Secret key of 254 characters", spec: `{caBundle: {secretKeyRef: {name: a, key: ` + long(254) + `}}}`,
		field: "spec.caBundle.secretKeyRef.key", message: tooLong(253)},

	{does: "takes all namespaces", spec: `{allowedNamespaces: {from: All}}`},
	{does: "takes its own namespace", spec: `{allowedNamespaces: {from: Same}}`},
	{does: "takes a selector of every namespace", spec: `{allowedNamespaces: {from: Selector, selector: {}}}`},
	{does: "refuses Selector without a selector", spec: `{allowedNamespaces: {from: Selector}}`,
		field: "spec.allowedNamespaces.selector", message: selectorMismatch},
	{does: "refuses a selector with All", spec: `{allowedNamespaces: {from: All, selector: {}}}`,
		field: "spec.allowedNamespaces.selector", message: selectorMismatch},
	{does: "refuses a selector with Same", spec: `{allowedNamespaces: {from: Same, selector: {}}}`,
		field: "spec.allowedNamespaces.selector", message: selectorMismatch},
	{does: "refuses a selector alone", spec: `{allowedNamespaces: {selector: {matchLabels: {a: b}}}}`,
		field: "spec.allowedNamespaces.selector", message: selectorMismatch},
	{does: "refuses another choice of namespaces", spec: `{allowedNamespaces: {from: Any}}`,
		field: "spec.allowedNamespaces.from", message: `supported values: "Same", "All", "Selector"`},
	{does: "refuses a label expression without a key", spec: `{allowedNamespaces: {from: Selector, selector: {matchExpressions: [{operator: Exists}]}}}`,
		field: "spec.allowedNamespaces.selector.matchExpressions[0].key", message: required},
	{does: "refuses a label expression without an operator", spec: `{allowedNamespaces: {from: Selector, selector: {matchExpressions: [{key: a}]}}}`,
		field: "spec.allowedNamespaces.selector.matchExpressions[0].operator", message: required},
	{does: "takes 64 labels, and 16 expressions of 1,024 values", spec: `{allowedNamespaces: {from: Selector, selector: {matchLabels: {` +
		numbered(64, "a%d: b") + `}, matchExpressions: [` + expressions(16, 1024) + `]}}}`},
	{does: "refuses 65 labels of a selector", spec: `{allowedNamespaces: {from: Selector, selector: {matchLabels: {` + numbered(65, "a%d: b") + `}}}}`,
		field: "spec.allowedNamespaces.selector.matchLabels", message: "must have at most 64 labels"},
	{does: "refuses 17 label expressions", spec: `{allowedNamespaces: {from: Selector, selector: {matchExpressions: [` + expressions(17, 1) + `]}}}`,
		field: "spec.allowedNamespaces.selector.matchExpressions", message: manyExpressions},
	{does: "refuses 1,025 values of a label", spec: `{allowedNamespaces: {from: Selector, selector: {matchExpressions: [` + expressions(1, 1025) + `]}}}`,
		field: "spec.allowedNamespaces.selector.matchExpressions", message: manyExpressions},

	{does: "refuses another adoption", spec: `{adoption: Never}`, field: "spec.adoption", message: `supported values: "SameNamespace", "Allowed"`},

	{does: "takes no rate limit", spec: `{rateLimit: {requestsPerSecond: 0}}`},
	{does: "takes the highest rate limit", spec: `{rateLimit: {requestsPerSecond: 10000, burst: 10000}}`},
	{does: "takes a burst of one", spec: `{rateLimit: {burst: 1}}`},
	{does: "refuses a negative rate", spec: `{rateLimit: {requestsPerSecond: -1}}`,
		field: "spec.rateLimit.requestsPerSecond", message: "should be greater than or equal to 0"},
	{does: "refuses a rate of 10001", spec: `{rateLimit: {requestsPerSecond: 10001}}`,
		field: "spec.rateLimit.requestsPerSecond", message: "should be less than or equal to 10000"},
	{does: "refuses a burst of nothing", spec: `{rateLimit: {burst: 0}}`,
		field: "spec.rateLimit.burst", message: "should be greater than or equal to 1"},
	{does: "refuses a burst of 10001", spec: `{rateLimit: {burst: 10001}}`,
		field: "spec.rateLimit.burst", message: "should be less than or equal to 10000"},

	{does: "takes a resync interval of 1m", spec: `{resyncInterval: 60s}`},
	{does: "takes a resync interval of 24h", spec: `{resyncInterval: 24h}`},
	{does: "takes a resync interval of several units", spec: `{resyncInterval: 1h30.5m}`},
	{does: "refuses a resync interval of 30s", spec: `{resyncInterval: 30s}`, field: "spec.resyncInterval", message: intervalOutside},
	{does: "refuses a resync interval of 25h", spec: `{resyncInterval: 25h}`, field: "spec.resyncInterval", message: intervalOutside},
	{does: "refuses a resync interval that is none", spec: `{resyncInterval: often}`, field: "spec.resyncInterval", message: notADuration},
	{does: "refuses a resync interval in days", spec: `{resyncInterval: 1d}`, field: "spec.resyncInterval", message: notADuration},
	{does: "refuses a negative resync interval", spec: `{resyncInterval: -10m}`, field: "spec.resyncInterval", message: notADuration},
	{does: "refuses a resync interval of more than an int64", spec: `{resyncInterval: 99999999999h}`, field: "spec.resyncInterval", message: intervalOutside},
	{does: "refuses a resync interval of 33 characters", spec: `{resyncInterval: 00000000000000000000000000000010m}`,
		field: "spec.resyncInterval", message: tooLong(32)},
}

var projectUpdates = []updateRow{
	{does: "allows everything to change", to: `{url: "https://other.example", tokenSecretRef: {name: b, key: c}, authentication: Bearer,
		projectID: ` + otherUUID + `, adoption: Allowed, allowedNamespaces: {from: All}, rateLimit: {burst: 5}, resyncInterval: 1h}`},
	{does: "refuses a bad change", to: `{resyncInterval: 1s}`, field: "spec.resyncInterval", message: intervalOutside},
}
