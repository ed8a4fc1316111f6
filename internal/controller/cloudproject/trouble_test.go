/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	status "github.com/calyptia-agent-operator/operator/internal/testenv/kstatus"
)

// trouble is something wrong with a CloudProject, what it shows then, and the remedy in its message.
type trouble struct {
	name     string
	options  func(*options)
	cause    func(*world)
	change   func(*world, *v1alpha1.CloudProjectSpec)
	want     expect
	requests int // at most
	fix      func(*world, *v1alpha1.CloudProject)
}

func stalledBy(reason string, message ...string) expect {
	return expect{metav1.ConditionFalse, reason, message, true, status.FailedStatus}
}

func waitingFor(reason string, message ...string) expect {
	return expect{metav1.ConditionFalse, reason, message, false, status.InProgressStatus}
}

func unverified(message ...string) expect {
	return expect{metav1.ConditionUnknown, v1alpha1.ReasonCredentialsUnverified, message, false, status.InProgressStatus}
}

var sourceTroubles = []trouble{{
	name:  "no Secret",
	cause: func(w *world) { w.deleteSecret(tokenName) },
	want:  waitingFor(v1alpha1.ReasonSourceNotFound, "spec.tokenSecretRef", `"token-source"`, "create it", `"token"`),
	fix:   func(w *world, _ *v1alpha1.CloudProject) { w.putToken(w.token.Reveal()) },
}, {
	name:  "no key",
	cause: func(w *world) { w.SetSecret(tokenName, map[string]string{"other": "x"}) },
	want:  waitingFor(v1alpha1.ReasonSourceNotFound, `"token-source" has no key "token"`),
	fix:   func(w *world, _ *v1alpha1.CloudProject) { w.putToken(w.token.Reveal() + "\n") },
}, {
	name:  "an empty key",
	cause: func(w *world) { w.putToken(" \n") },
	want:  stalledBy(v1alpha1.ReasonSourceInvalid, `key "token" of Secret "token-source" is empty`),
	fix:   func(w *world, _ *v1alpha1.CloudProject) { w.putToken(w.token.Reveal()) },
}, {
	name: "a token of two lines",
	cause: func(w *world) {
		w.putToken("first-line-canary-0123456789\nsecond")
		w.hide("first-line-canary-0123456789")
	},
	want: stalledBy(v1alpha1.ReasonSourceInvalid, "in one line"),
	fix:  func(w *world, _ *v1alpha1.CloudProject) { w.putToken(w.token.Reveal()) },
}, {
	name: "a token with a zero-width space inside",
	cause: func(w *world) {
		w.putToken("first-\u200bcanary-0123456789")
		w.hide("first-canary-0123456789")
	},
	want: stalledBy(v1alpha1.ReasonSourceInvalid, `key "token" of Secret "token-source"`, "invisible character (U+200B)"),
	fix:  func(w *world, _ *v1alpha1.CloudProject) { w.putToken("\ufeff" + w.token.Reveal() + "\u200b\r\n") },
}, {
	name:   "the name of the operator's own copy",
	change: func(_ *world, spec *v1alpha1.CloudProjectSpec) { spec.TokenSecretRef.Name = "main-credentials" },
	want:   stalledBy(v1alpha1.ReasonSourceInvalid, "reserved"),
	fix: func(w *world, cp *v1alpha1.CloudProject) {
		w.Edit(cp, func() { cp.Spec.TokenSecretRef.Name = tokenName })
	},
}, {
	name: "no CA bundle",
	change: func(_ *world, spec *v1alpha1.CloudProjectSpec) {
		spec.CABundle = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"}}
	},
	want: waitingFor(v1alpha1.ReasonSourceNotFound, "spec.caBundle", `ConfigMap "ca" does not exist`),
	fix: func(w *world, _ *v1alpha1.CloudProject) {
		other := httptest.NewTLSServer(nil)
		defer other.Close()
		w.putCA("ca", pemOf(other))
	},
}, {
	name: "a CA bundle without a certificate",
	change: func(w *world, spec *v1alpha1.CloudProjectSpec) {
		w.SetSecret("ca", map[string]string{"ca.crt": "none"})
		spec.CABundle = &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "ca", Key: "ca.crt"}}
	},
	want: stalledBy(v1alpha1.ReasonInvalid, "CA bundle"),
	fix: func(w *world, _ *v1alpha1.CloudProject) {
		other := httptest.NewTLSServer(nil)
		defer other.Close()
		w.SetSecret("ca", map[string]string{"ca.crt": pemOf(other)})
	},
}, {
	name:   "a host that is not allowed",
	change: func(_ *world, spec *v1alpha1.CloudProjectSpec) { spec.URL = "https://elsewhere.example" },
	want:   stalledBy(v1alpha1.ReasonURLNotAllowed, "spec.url", "elsewhere.example", "--allowed-hosts"),
	fix:    func(w *world, cp *v1alpha1.CloudProject) { w.Edit(cp, func() { cp.Spec.URL = w.url }) },
}, {
	name:    "http that is not allowed",
	options: func(o *options) { o.policy.AllowInsecureHTTP = false },
	want:    stalledBy(v1alpha1.ReasonURLNotAllowed, "spec.url", "https", "--allow-insecure-http"),
}, {
	name:   "the ID of another project",
	change: func(_ *world, spec *v1alpha1.CloudProjectSpec) { spec.ProjectID = otherID },
	want:   stalledBy(v1alpha1.ReasonInvalid, "spec.projectID", otherID, projectID),
	fix:    func(w *world, cp *v1alpha1.CloudProject) { w.Edit(cp, func() { cp.Spec.ProjectID = "" }) },
}, {
	name:  "a Secret of somebody else in the place of the copy",
	cause: func(w *world) { w.SetSecret("main-credentials", map[string]string{"token": "foreign"}) },
	want:  stalledBy(v1alpha1.ReasonSecretConflict, `Secret "main-credentials"`, "delete or rename"),
	fix:   func(w *world, _ *v1alpha1.CloudProject) { w.deleteSecret("main-credentials") },

	requests: 1,
}}

var serviceTroubles = []trouble{{
	name:     "a token that the API refuses",
	options:  func(o *options) { o.delays.BackoffMin = time.Minute }, // so that the next try does not come here
	cause:    func(w *world) { w.putToken("wrong-canary-0123456789abcdef"); w.hide("wrong-canary-0123456789abcdef") },
	want:     stalledBy(v1alpha1.ReasonUnauthorized, "rejected the token", "spec.tokenSecretRef"),
	requests: 2, // one for each scheme
	fix:      func(w *world, _ *v1alpha1.CloudProject) { w.putToken(w.token.Reveal()) },
}, {
	name: "a scheme that the API does not take",
	options: func(o *options) {
		o.settings.Schemes, o.delays.BackoffMin = []cloud.Scheme{cloud.SchemeProjectToken}, time.Minute
	},
	change:   func(_ *world, spec *v1alpha1.CloudProjectSpec) { spec.Authentication = v1alpha1.AuthenticationBearer },
	want:     stalledBy(v1alpha1.ReasonUnauthorized),
	requests: 1,
	fix: func(w *world, cp *v1alpha1.CloudProject) {
		w.Edit(cp, func() { cp.Spec.Authentication = v1alpha1.AuthenticationAuto })
	},
}, {
	name: "an API that does not listen",
	change: func(_ *world, spec *v1alpha1.CloudProjectSpec) {
		closed := httptest.NewServer(nil)
		spec.URL = closed.URL
		closed.Close()
	},
	want: unverified("cannot be reached: connection refused"),
	fix:  func(w *world, cp *v1alpha1.CloudProject) { w.Edit(cp, func() { cp.Spec.URL = w.url }) },
}, {
	name: "a page of HTML in its place",
	cause: func(w *world) {
		w.repair = w.cloud.Inject(cloudtest.Fault{Status: http.StatusOK, Body: "<html>Log in</html>"})
	},
	want: unverified("not the API's JSON"),
}, {
	name: "a proxy that forbids it",
	cause: func(w *world) {
		w.repair = w.cloud.Inject(cloudtest.Fault{Status: http.StatusForbidden, Body: "<html>Forbidden</html>"})
	},
	want: unverified("not the API's JSON"),
}, {
	name: "its own error",
	cause: func(w *world) {
		w.repair = w.cloud.Inject(cloudtest.Fault{Status: http.StatusInternalServerError, Body: `{"error":"internal"}`})
	},
	want: unverified("500", "internal"),
}, {
	name: "an inconclusive read",
	cause: func(w *world) {
		w.cloud.Configure(func(s *cloudtest.Settings) { s.NoList = true })
		w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Status: http.StatusBadRequest, Body: `{"error":"invalid ID"}`})
	},
	want:     unverified("the first Agent request"),
	requests: 2,
	fix: func(w *world, cp *v1alpha1.CloudProject) {
		p, err := w.projects.Get(cp, cp.Namespace)
		noError(w, err)
		permit, err := p.Acquire(ratelimit.Caller{UID: "somebody"})
		noError(w, err)
		_, err = permit.Register(w.Context(), cloud.Registration{
			Name: "web", MachineID: "m", Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "x",
		})
		noError(w, err)
	},
}}

func TestTroubleIsReportedAndFixed(t *testing.T) {
	for _, row := range append(sourceTroubles, serviceTroubles...) {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *options) {
				if row.options != nil {
					row.options(o)
				}
			})
			w.putToken(w.token.Reveal())
			if row.cause != nil {
				row.cause(w)
			}
			cp := w.createOnly(func(cp *v1alpha1.CloudProject) {
				if row.change != nil {
					row.change(w, &cp.Spec)
				}
			})
			cp = w.becomes(cp, row.want)
			if row.want.ready == metav1.ConditionFalse {
				requests := row.requests
				w.stays("no further request is made", func() bool { return len(w.cloud.Requests()) <= requests })
			}
			woken := w.wakes()
			switch {
			case row.fix != nil:
				row.fix(w, cp)
			case w.repair != nil:
				w.repair()
			default:
				return
			}
			w.becomes(cp, verified)
			if reason := row.want.reason; reason != v1alpha1.ReasonCredentialsUnverified {
				w.eventually("the Agents to be woken", func() bool { return w.wakes() > woken })
			}
		})
	}
}
