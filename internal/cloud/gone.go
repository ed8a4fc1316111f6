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

// IsGone reports whether the API itself proves that an agent is not, or no
// longer, there: a 410, or a 404 whose message says so of this very agent.
func IsGone(err error) bool {
	e, ok := AsError(err)
	return ok && e.API && ofAgent(e.Op) && (e.Reason == ReasonAgentNotFound || e.Reason == ReasonGone)
}

// MaybeGone reports whether the API itself answers 404 without saying what is
// missing: it may be the agent, or what the request has to pass. The caller
// needs a second source. It is false where IsGone is true.
func MaybeGone(err error) bool {
	e, ok := AsError(err)
	return ok && e.API && ofAgent(e.Op) && e.Status == http.StatusNotFound && e.Reason == ReasonNotFound && namesNothing(e.Message)
}

// ofAgent reports whether a call is about one agent that exists.
func ofAgent(op string) bool { return op != opRegister && op != opList }

const uuidPattern = `[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`

var (
	// missingAgent is an agent that is missing, at the start of a text or after a colon. It catches the IDs.
	missingAgent = regexp.MustCompile(`(?i)^(?:GET |PATCH |DELETE |.*[:;=] *)?` +
		`(?:(?:no such|unknown) agent\b|` +
		`(?:(?:the|this|that|requested|remote) )*agent(?: with)?(?: the)?(?: id)?:? ?["'(\[]?(` + uuidPattern + `)?["')\]]?:? ?` +
		`(?:(?:was|is|has|been|already|could|does) )*` +
		`(?:not found|not be found|cannot be found|not exist|doesn't exist|no longer exists|gone|deleted|removed)\b)` +
		`(?:[: ("'\[]*(` + uuidPattern + `))?`)

	// otherThing is what else can be missing. A text that names it may speak of the way to the API.
	otherThing = regexp.MustCompile(`(?i)\b(?:rout(?:e|er|ing)|page|path|endpoint|url|uri|host(?:name)?|upstream|backend|service|server|` +
		`gateway|proxy|balancer|user[- ]agent|browser|handler|method|api|version|domain|dns|cluster|ingress|origin|connection)s?\b`)

	// holder is what an agent belongs to.
	holder = regexp.MustCompile(`(?i)\b(?:project|fleet|environment|tenant|organi[sz]ation|account|team|workspace)s?\b`)

	uuids = regexp.MustCompile(uuidPattern)
)

// notFound goes by the message of a 404: what a call refers to must be
// corrected by a person, while an agent that is missing is for the caller to judge.
func notFound(call call, message string) (Class, Reason) {
	class := ClassRetryable
	if call.op == opRegister || call.op == opUpdate {
		class = ClassTerminal
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

// gone goes by the message of a 410: it is about the agent, unless it names something else.
func gone(call call, message string) (Class, Reason) {
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

// otherAgent reports whether a text about a missing agent holds an ID, and not the one of the path.
func otherAgent(found, path []string) bool {
	return found != nil && slices.ContainsFunc(found[1:], func(id string) bool {
		return id != "" && !slices.ContainsFunc(path, func(asked string) bool { return strings.EqualFold(asked, id) })
	})
}

// plainWords can say that something is missing without naming it.
var plainWords = map[string]bool{
	"not": true, "found": true, "404": true, "error": true, "the": true, "a": true, "an": true, "requested": true, "such": true, "no": true,
	"resource": true, "record": true, "object": true, "entity": true, "item": true, "agent": true, "id": true, "with": true,
	"was": true, "is": true, "be": true, "could": true, "can": true, "cannot": true, "does": true, "do": true, "exist": true, "exists": true,
	"find": true, "missing": true, "it": true, "http": true, "unknown": true,
}

// namesNothing reports whether a text says that something is not found, and
// not what, unless it is the agent.
func namesNothing(message string) bool {
	words := strings.FieldsFunc(uuids.ReplaceAllString(strings.ToLower(message), " "), func(r rune) bool {
		return strings.ContainsRune(` .,:;!"'()[]`, r)
	})
	return len(words) > 0 && !slices.ContainsFunc(words, func(word string) bool { return !plainWords[word] }) &&
		mentions(message, "not", "no such", "unknown", "missing")
}

// withoutPaths leaves out the words that hold a slash: they quote what was asked.
func withoutPaths(text string) string {
	words := slices.DeleteFunc(strings.Fields(text), func(word string) bool { return strings.Contains(word, "/") })
	return strings.Join(words, " ")
}
