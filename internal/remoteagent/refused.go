/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// ContentRefused stalls an Agent whose content a proxy or firewall refuses: at once if it is too large, otherwise when the
// same content is refused a second time. Other errors are returned unchanged.
func (t *Task) ContentRefused(err error) error {
	e, ok := cloud.AsError(err)
	if !ok || e.Reason != cloud.ReasonContentRefused {
		return err
	}
	content := fmt.Sprint(t.Agent.Generation, " ", t.Config.ResourceVersion)
	again := t.Known.Updates.Refused == content
	t.Known.Updates.Refused = content
	if e.Status != http.StatusRequestEntityTooLarge && !again {
		return err
	}
	remedy := "change the configuration, or have the proxy or firewall in front of Calyptia Cloud allow it"
	if e.Status == http.StatusRequestEntityTooLarge {
		remedy = "make the configuration smaller, or raise the limit of the proxy in front of Calyptia Cloud"
	}
	if e.API {
		return fault.Terminalf(v1alpha1.ReasonInvalid, "%v: make the configuration smaller", e).Because(err)
	}
	refusal := fault.Terminalf(v1alpha1.ReasonInvalid,
		"something between the operator and the API refuses this configuration (%v): %s", e, remedy).Because(err)
	if t.Open() && !again { // It may have been registered anyway, which is checked after the slack.
		refusal = refusal.After(t.Settings.Slack)
	}
	return refusal
}

// Redactor hides tokens and configurations in what the API writes.
type Redactor struct{ *Task }

// Redacted removes the agent's token from API errors, because the client knows only the project token. It also removes
// what the API repeats of a configuration from a Secret: more people may read an Agent than a Secret.
func (r Redactor) Redacted(ctx context.Context, failure *fault.Error) *fault.Error {
	if failure == nil {
		return nil
	}
	e, ok := cloud.AsError(failure.Err)
	if !ok || e.Message+e.Detail == "" {
		return failure
	}
	clean := *failure
	// Before the tokens, which the configuration may contain: then the words are still those of the API.
	clean.Message = r.sayable(ctx, clean.Message, e)
	var stored cloud.Token
	if secret, _, err := r.Secrets.Find(ctx, r.Agent, tokensecret.Name(r.Agent)); err == nil && secret != nil {
		stored = tokensecret.Token(secret)
	}
	clean.Message = r.hide(cloud.Redact(clean.Message, stored), cloud.Redact)
	return &clean
}

// sayable hides what the words of the API may not show: of a configuration from a Secret, the declared and the current one, or all if the
// declared one cannot be read any more; of agents that the namespace may not adopt, all of an error of a list, or of a read while none is
// recorded, and each ID that the Agent itself does not have. Where words of the error are found, but not the whole, the rest of the
// message is dropped.
func (r Redactor) sayable(ctx context.Context, message string, e *cloud.Error) string {
	if !repeats(message, e.Message) && !repeats(message, e.Detail) {
		return message
	}
	from := r.Agent.Spec.RawConfigFrom
	secret := from != nil && from.SecretKeyRef != nil
	known := secret && r.WholeConfig(ctx) == nil && r.Config.Data != ""
	config := r.Config.Data
	if r.Remote != nil {
		config += "\x00" + r.Remote.RawConfig
	}
	ofOthers := r.CloudProject == nil || !r.mayAdopt()
	reads := e.OfList() || e.ShowsContent() && r.Base.Status.ID == "" // What is read while none is recorded may be another's.
	hide := func(words string) string {
		switch {
		case words == "":
			return ""
		case ofOthers && reads, secret && !known:
			return cloud.Redacted
		case known:
			words = rawconfig.Hide(words, config)
		}
		if ofOthers {
			words = cloud.HideIDs(words, r.has)
		}
		return words
	}
	sayable := *e
	sayable.Message, sayable.Detail = hide(e.Message), hide(e.Detail)
	switch {
	case sayable.Message == e.Message && sayable.Detail == e.Detail:
		return message
	case strings.Contains(message, e.Error()):
		return strings.ReplaceAll(message, e.Error(), sayable.Error())
	default:
		return sayable.Error()
	}
}

// repeats reports whether a text has these words of the API.
func repeats(text, words string) bool {
	words = strings.TrimSpace(words)
	return words != "" && strings.Contains(text, words)
}

// has reports whether the spec or the status of the Agent has an ID.
func (r Redactor) has(id string) bool {
	own, _ := json.Marshal([]any{r.Agent.Spec, r.Agent.Status}) // Never fails.
	return bytes.Contains(bytes.ToLower(own), []byte(strings.ToLower(id)))
}

// Hide removes the project's token and the agent's from a text that a tenant, its agent or the API wrote about something else.
func (r Redactor) Hide(text string) string { return r.hide(text, cloud.RedactWhole) }

func (r Redactor) hide(text string, redact func(string, cloud.Token) string) string {
	for _, own := range []cloud.Token{r.Token, r.Writes.token} {
		text = redact(text, own)
	}
	if r.Project == nil {
		return text
	}
	return r.Project.Hide(text, redact)
}
