/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// IsGone reports whether the API itself says that an agent does not exist: a
// 410, or a 404 whose message is about this agent.
func IsGone(err error) bool {
	e, ok := AsError(err)
	return ok && e.API && ofAgent(e.Op) && (e.Reason == ReasonAgentNotFound || e.Reason == ReasonGone)
}

// MaybeGone reports whether the API itself returns 404 without saying what is missing: it may be the agent, or a route on
// the way. The caller needs a second source. It is false if IsGone is true.
func MaybeGone(err error) bool {
	e, ok := AsError(err)
	return ok && e.API && ofAgent(e.Op) && e.Status == http.StatusNotFound && e.Reason == ReasonNotFound && namesNothing(e.Message)
}

// ofAgent reports whether an operation is about one existing agent.
func ofAgent(op string) bool { return op != opRegister && op != opList }

// mostAbout bounds the message that may say what does not exist, in bytes: the patterns take a second for each few megabytes.
const mostAbout = 4 << 10

const uuidPattern = `[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`

var (
	// missingAgent matches a missing agent, at the start of a text or after a colon. It captures the IDs.
	missingAgent = regexp.MustCompile(`(?i)^(?:GET |PATCH |DELETE |.*[:;=] *)?` +
		`(?:(?:no such|unknown) agent\b|` +
		`(?:(?:the|this|that|requested|remote) )*agent(?: with)?(?: the)?(?: id)?:? ?["'(\[]?(` + uuidPattern + `)?["')\]]?:? ?` +
		`(?:(?:was|is|has|been|already|could|does) )*` +
		`(?:not found|not be found|cannot be found|not exist|doesn't exist|no longer exists|gone|deleted|removed)\b)` +
		`(?:[: ("'\[]*(` + uuidPattern + `))?`)

	// otherThing matches what else can be missing. A text that names it may be about the way to the API.
	otherThing = regexp.MustCompile(`(?i)\b(?:rout(?:e|er|ing)|page|path|endpoint|url|uri|host(?:name)?|upstream|backend|service|server|` +
		`gateway|proxy|balancer|user[- ]agent|browser|handler|method|api|version|domain|dns|cluster|ingress|origin|connection)s?\b`)

	// holder matches what an agent belongs to.
	holder = regexp.MustCompile(`(?i)\b(?:project|fleet|environment|tenant|organi[sz]ation|account|team|workspace)s?\b`)

	uuids = regexp.MustCompile(uuidPattern)
)

// notFound classifies a 404 by its message: a user must correct a reference to a missing fleet or environment, while the
// caller decides what to do about a missing agent.
func notFound(call call, message string) (Class, Reason) {
	class := ClassRetryable
	if call.op == opRegister || call.op == opUpdate {
		class = ClassTerminal
	}
	if len(message) > mostAbout {
		return ClassRetryable, ReasonNotFound
	}
	about := withoutPaths(message)
	missing := missingAgent.FindStringSubmatch(about)
	switch {
	case otherAgent(missing, call.path):
		return ClassRetryable, ReasonInvalidResponse
	case ofAgent(call.op) && missing != nil && !otherThing.MatchString(about):
		return ClassRetryable, ReasonAgentNotFound
	case mentions(message, "fleet"):
		return class, ReasonFleetNotFound
	case mentions(message, "environment"):
		return class, ReasonEnvironmentNotFound
	default:
		return ClassRetryable, ReasonNotFound
	}
}

// gone classifies a 410 by its message: it is about the agent, unless it names something else.
func gone(call call, message string) (Class, Reason) {
	if len(message) > mostAbout {
		return ClassRetryable, ReasonNotFound
	}
	about := withoutPaths(message)
	switch {
	case otherAgent(missingAgent.FindStringSubmatch(about), call.path):
		return ClassRetryable, ReasonInvalidResponse
	case otherThing.MatchString(about) || holder.MatchString(about):
		return ClassRetryable, ReasonNotFound
	default:
		return ClassRetryable, ReasonGone
	}
}

// otherAgent reports whether a text about a missing agent has an ID other than that of the path.
func otherAgent(found, path []string) bool {
	return found != nil && slices.ContainsFunc(found[1:], func(id string) bool {
		return id != "" && !slices.ContainsFunc(path, func(asked string) bool { return strings.EqualFold(asked, id) })
	})
}

// plainWords are words that say that something is missing without naming it.
var plainWords = map[string]bool{
	"not": true, "found": true, "404": true, "error": true, "the": true, "a": true, "an": true, "requested": true, "such": true, "no": true,
	"resource": true, "record": true, "object": true, "entity": true, "item": true, "agent": true, "id": true, "with": true,
	"was": true, "is": true, "be": true, "could": true, "can": true, "cannot": true, "does": true, "do": true, "exist": true, "exists": true,
	"find": true, "missing": true, "it": true, "http": true, "unknown": true,
}

// namesNothing reports whether a text says that something is missing, and names nothing but the agent.
func namesNothing(message string) bool {
	words := strings.FieldsFunc(uuids.ReplaceAllString(strings.ToLower(message), " "), func(r rune) bool {
		return strings.ContainsRune(` .,:;!"'()[]`, r)
	})
	return len(words) > 0 && !slices.ContainsFunc(words, func(word string) bool { return !plainWords[word] }) &&
		mentions(message, "not", "no such", "unknown", "missing")
}

// withoutPaths drops the words with a slash: they quote the request.
func withoutPaths(text string) string {
	words := slices.DeleteFunc(strings.Fields(text), func(word string) bool { return strings.Contains(word, "/") })
	return strings.Join(words, " ")
}
