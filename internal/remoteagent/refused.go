/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"fmt"
	"net/http"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
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
