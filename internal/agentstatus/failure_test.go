/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentstatus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// said is an error response of the API.
func said(status int, reason cloud.Reason, message string) *cloud.Error {
	return &cloud.Error{Op: "update agent", Status: status, Reason: reason, API: message != "", Message: message}
}

// waits is the same with a Retry-After.
func waits(e *cloud.Error) *cloud.Error {
	e.RetryAfter = 30 * time.Second
	return e
}

func TestClassifyGivesEveryErrorOfTheAPIAClassAReasonAndARemedy(t *testing.T) {
	quota := said(403, cloud.ReasonQuotaExceeded, "agents quota exceeded")
	quota.QuotaLimit = ptr.To(int64(3))
	tooLarge := said(413, cloud.ReasonContentRefused, "")
	tooLarge.Class = cloud.ClassTerminal
	network := said(0, cloud.ReasonNetwork, "")
	network.Err = errors.New("connection refused")
	for _, row := range []struct {
		name   string
		err    *cloud.Error
		class  fault.Class
		reason string
		words  []string
		after  time.Duration
	}{
		{"400", said(400, cloud.ReasonInvalid, "bad"), fault.Terminal, v1alpha1.ReasonInvalid, []string{"400", "bad", "correct the spec"}, 0},
		{"422 that names a field", said(422, cloud.ReasonInvalid, "unsupported agent version"), fault.Terminal, v1alpha1.ReasonInvalid,
			[]string{"422", "unsupported agent version", "correct spec.version"}, 0},
		{"a fleet that is not there", said(404, cloud.ReasonFleetNotFound, "fleet not found"), fault.Terminal, v1alpha1.ReasonInvalid,
			[]string{"fleet not found", "correct spec.fleet"}, 0},
		{"an environment that is not there", said(404, cloud.ReasonEnvironmentNotFound, "environment not found"), fault.Terminal,
			v1alpha1.ReasonInvalid, []string{"correct spec.environment"}, 0},
		{"401", said(401, cloud.ReasonUnauthorized, "invalid token"), fault.Waiting, v1alpha1.ReasonProjectNotReady,
			[]string{"token of the CloudProject", "Secret"}, 0},
		{"403", said(403, cloud.ReasonForbidden, "permission denied"), fault.Terminal, v1alpha1.ReasonForbidden,
			[]string{"permission denied", "use a project token"}, 0},
		{"403 for a field", said(403, cloud.ReasonFieldForbidden, "update agent raw config forbidden"), fault.Terminal, v1alpha1.ReasonForbidden,
			[]string{"raw config forbidden", "remove the field from the spec"}, 0},
		{"403 for the quota", quota, fault.Terminal, v1alpha1.ReasonQuotaExceeded, []string{"limit 3", "delete agents", "quota raised"}, 0},
		{"404", said(404, cloud.ReasonNotFound, "not found"), fault.Retryable, v1alpha1.ReasonInvalidResponse, []string{"CloudProject's url"}, 0},
		{"404 of an agent where none was expected to miss", said(404, cloud.ReasonAgentNotFound, "agent not found"), fault.Retryable,
			v1alpha1.ReasonInvalidResponse, []string{"agent not found", "CloudProject's url"}, 0},
		{"405", said(405, cloud.ReasonUnsupported, ""), fault.Terminal, v1alpha1.ReasonInvalidResponse, []string{"405", "CloudProject's url"}, 0},
		{"409", said(409, cloud.ReasonConflict, "machine ID conflict"), fault.Terminal, v1alpha1.ReasonMachineIDConflict,
			[]string{"machine ID conflict", "spec.machineID"}, 0},
		{"410", said(410, cloud.ReasonGone, "agent gone"), fault.Retryable, v1alpha1.ReasonInvalidResponse, []string{"CloudProject's url"}, 0},
		{"413", tooLarge, fault.Terminal, v1alpha1.ReasonInvalid, []string{"413", "smaller"}, 0},
		{"a firewall's 403", said(403, cloud.ReasonContentRefused, ""), fault.Retryable, v1alpha1.ReasonInvalidResponse,
			[]string{"403", "content refused", "filters requests"}, 0},
		{"429", said(429, cloud.ReasonRateLimited, "slow down"), fault.Retryable, v1alpha1.ReasonRateLimited, []string{"automatically"}, 0},
		{"429 that says when", waits(said(429, cloud.ReasonRateLimited, "slow down")), fault.Waiting, v1alpha1.ReasonRateLimited,
			[]string{"automatically"}, 30 * time.Second},
		{"a firewall's 429", &cloud.Error{Op: "update agent", Class: cloud.ClassWaiting, Reason: cloud.ReasonRateLimited, Status: 429},
			fault.Retryable, v1alpha1.ReasonRateLimited, []string{"429", "filters requests"}, 0},
		{"500", said(500, cloud.ReasonUnavailable, "database is down"), fault.Retryable, v1alpha1.ReasonUnavailable, []string{"database is down"}, 0},
		{"503 that says when", waits(said(503, cloud.ReasonUnavailable, "maintenance")), fault.Retryable, v1alpha1.ReasonUnavailable,
			[]string{"maintenance"}, 30 * time.Second},
		{"no response in time", said(0, cloud.ReasonTimeout, ""), fault.Retryable, v1alpha1.ReasonUnavailable, []string{"timeout"}, 0},
		{"no connection", network, fault.Retryable, v1alpha1.ReasonUnavailable, []string{"connection refused"}, 0},
		{"not the API's JSON", said(200, cloud.ReasonInvalidResponse, ""), fault.Retryable, v1alpha1.ReasonInvalidResponse, []string{"CloudProject's url"}, 0},
		{"an agent that is too large", said(200, cloud.ReasonTooLarge, ""), fault.Retryable, v1alpha1.ReasonInvalidResponse,
			[]string{"too large", "smaller"}, 0},
		{"an unknown reason", said(299, "Unheard", ""), fault.Retryable, v1alpha1.ReasonUnavailable, []string{"unheard"}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := Classify(fmt.Errorf("in a phase: %w", row.err))
			if got.Class != row.class || got.Reason != row.reason || got.RetryAfter != row.after || got.Quiet {
				t.Errorf("%+v", *got)
			}
			for _, word := range row.words {
				if !strings.Contains(got.Message, word) {
					t.Errorf("the message %q lacks %q", got.Message, word)
				}
			}
			if !errors.Is(got, row.err) {
				t.Error("the error is lost")
			}
		})
	}
}

func TestARefusalNamesTheFieldThatItSpeaksOf(t *testing.T) {
	for message, field := range map[string]string{
		"invalid agent name":        "spec.name",
		"Invalid Agent Name":        "spec.name",
		"invalid machine ID":        "spec.machineID (immutable: delete this Agent and create it again)",
		"invalid agent type":        "spec.type (immutable: delete this Agent and create it again)",
		"invalid agent version":     "spec.version",
		"unsupported agent version": "spec.version",
		"invalid agent edition":     "spec.edition",
		"invalid agent flags":       "spec.flags",
		"invalid agent raw config":  "spec.rawConfig (or what spec.rawConfigFrom refers to)",
		"invalid agent metadata":    "spec.metadata",
		"invalid fleet ID":          "spec.fleet",
		"invalid environment ID":    "spec.environment",
		"something else":            "the spec",
	} {
		t.Run(message, func(t *testing.T) {
			got := Classify(said(422, cloud.ReasonInvalid, message))
			if want := message + ": correct " + field; !strings.HasSuffix(got.Message, want) {
				t.Errorf("%q does not end with %q", got.Message, want)
			}
		})
	}
	detailed := said(400, cloud.ReasonInvalid, "bad request")
	detailed.Detail = "metadata must be an object"
	if got := Classify(detailed); !strings.HasSuffix(got.Message, "correct spec.metadata") {
		t.Errorf("the detail is not heard: %q", got.Message)
	}
}

func TestClassifyOfErrorsOfTheAPIServer(t *testing.T) {
	agents := schema.GroupResource{Group: "cloud.calyptia.com", Resource: "agents"}
	why := errors.New("denied by the policy")
	for _, row := range []struct {
		name  string
		err   error
		quiet bool
		words string
	}{
		{"a conflict is retried quietly", apierrors.NewConflict(agents, "web", why), true, "meanwhile"},
		{"so is an object that was deleted", apierrors.NewNotFound(agents, "web"), true, "meanwhile"},
		{"a refusal is reported", apierrors.NewForbidden(agents, "web", why), false, "denied by the policy"},
		{"so is what is not valid", apierrors.NewInvalid(schema.GroupKind{Kind: "Agent"}, "web", nil), false, `"web" is invalid`},
		{"so is an overload", apierrors.NewTooManyRequests("busy", 1), false, "busy"},
		{"so is a timeout", apierrors.NewServerTimeout(agents, "patch", 1), false, "patch"},
		{"so is its own trouble", apierrors.NewInternalError(why), false, "denied by the policy"},
		{"no response at all", io.ErrUnexpectedEOF, false, "cannot be reached"},
		{"a context that ended", context.DeadlineExceeded, false, "cannot be reached"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := Classify(fmt.Errorf("in a phase: %w", row.err))
			if got.Class != fault.Retryable || got.Reason != v1alpha1.ReasonAPIServer || got.Quiet != row.quiet || !errors.Is(got, row.err) {
				t.Errorf("%+v", *got)
			}
			if !strings.Contains(got.Message, row.words) {
				t.Errorf("the message %q lacks %q", got.Message, row.words)
			}
		})
	}
	long := Classify(&apierrors.StatusError{ErrStatus: metav1.Status{Message: strings.Repeat("x\n", 5000)}})
	if len(long.Message) > 1200 || strings.Contains(long.Message, "\n") {
		t.Errorf("the API server's words are not bounded: %d bytes", len(long.Message))
	}
}

func TestClassifyKeepsAFailureThatHasAClass(t *testing.T) {
	f := fault.Terminalf(v1alpha1.ReasonSecretConflict, "fix it").Because(said(500, cloud.ReasonUnavailable, "x"))
	if got := Classify(fmt.Errorf("in a phase: %w", f)); got != f {
		t.Errorf("%+v", got)
	}
	if none := Classify(nil); none != nil || CodeOf(nil) != fault.NoCode {
		t.Errorf("no failure became %+v", none)
	}
}

// What the controller shows of a failure fits into a status, an event and a log line, whatever the failure repeats.
func TestMessagesOfFailuresAndConditionsAreBoundedAndClean(t *testing.T) {
	for name, said := range map[string]string{
		"long": strings.Repeat("policy ", 6000), "control": "denied:\n\n\x1b[31mpolicy\x1b[0m \u202egpj.exe",
	} {
		t.Run(name, func(t *testing.T) {
			var conditions []metav1.Condition
			SetCondition(&conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Message: said})
			failure := Classify(fmt.Errorf("in a phase: %w", fault.Terminalf(v1alpha1.ReasonInvalid, "%s", said).Coded(fault.RemoteMissing)))
			if failure.Code != fault.RemoteMissing || failure.Class != fault.Terminal {
				t.Errorf("the failure became %+v", failure)
			}
			for _, message := range []string{conditions[0].Message, failure.Message} {
				if strings.ContainsAny(message, "\x1b\n\u202e") || len(message) > 5000 || !strings.Contains(message, "policy") {
					t.Errorf("%d bytes: %.80q", len(message), message)
				}
			}
		})
	}
}

// What the controller asks for are codes, whatever the reasons are called.
func TestCodeOf_FailuresOfTheAPI(t *testing.T) {
	for _, row := range []struct {
		name string
		err  error
		want fault.Code
	}{
		{"the token is refused", said(401, cloud.ReasonUnauthorized, "invalid token"), fault.ProjectNotReady},
		{"too many requests", said(429, cloud.ReasonRateLimited, "slow down"), fault.Throttled},
		{"the API's own trouble", said(500, cloud.ReasonUnavailable, "x"), fault.NoCode},
		{"a coded failure", fmt.Errorf("in a phase: %w", fault.Retryablef("x", "x").Coded(fault.RemoteMissing)), fault.RemoteMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := CodeOf(row.err); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// The API client removes tokens from error messages; what is added here contains none either.
func TestNoMessageHoldsAToken(t *testing.T) {
	const token = "eyJQcm9qZWN0SUQiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
	for _, reason := range []cloud.Reason{
		cloud.ReasonInvalid, cloud.ReasonUnauthorized, cloud.ReasonForbidden, cloud.ReasonQuotaExceeded, cloud.ReasonFieldForbidden,
		cloud.ReasonAgentNotFound, cloud.ReasonFleetNotFound, cloud.ReasonEnvironmentNotFound, cloud.ReasonNotFound, cloud.ReasonConflict,
		cloud.ReasonGone, cloud.ReasonUnsupported, cloud.ReasonRateLimited, cloud.ReasonUnavailable, cloud.ReasonTimeout,
		cloud.ReasonNetwork, cloud.ReasonInvalidResponse, cloud.ReasonContentRefused, cloud.ReasonTooLarge,
	} {
		e := said(400, reason, fmt.Sprint("you sent ", cloud.NewToken(token)))
		if got := Classify(e); strings.Contains(got.Message, token) || got.Message == "" || strings.Contains(got.Message, "\n") {
			t.Errorf("%s: %q", reason, got.Message)
		}
	}
}

func TestClipBoundsWordsOfOthers(t *testing.T) {
	for _, row := range []struct{ name, words, want string }{
		{"short words stay", "linux", "linux"},
		{"nothing stays nothing", "", ""},
		{"other scripts stay", "línux ✓", "línux ✓"},
		{"line breaks become spaces, and other control characters nothing", "a\nb\tc\x00d\x7fe", "a b cde"},
		{"direction marks become nothing", "a\u202eb\u200bc", "abc"},
		{"bytes that are no text become a mark", "a\xff\xfeb", "a\uFFFDb"},
		{"just fitting words stay", strings.Repeat("x", MaxNote), strings.Repeat("x", MaxNote)},
		{"long words are cut", strings.Repeat("x", 10000), strings.Repeat("x", MaxNote) + "…"},
		{"characters are cut whole", strings.Repeat("✓", MaxNote+1), strings.Repeat("✓", MaxNote) + "…"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := Clip(row.words)
			if got != row.want || !utf8.ValidString(got) {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}
