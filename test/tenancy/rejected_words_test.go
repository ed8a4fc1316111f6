/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr/funcr"
	admission "k8s.io/api/admissionregistration/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// journal is the log of an operator.
type journal struct {
	mu    sync.Mutex
	lines []string
}

// journaled makes the operator of a World write a journal.
func journaled(w *harness.World) *journal {
	j := &journal{}
	w.Logger = funcr.New(func(_, args string) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lines = append(j.lines, args)
	}, funcr.Options{})
	return j
}

// with returns the lines that have some text.
func (j *journal) with(text string) (lines []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// shows checks what users see: the objects of a namespace, its Events, and the log.
func (j *journal) shows(w *harness.World, token string) {
	w.Helper()
	seen := map[string]string{}
	for what, list := range map[string]client.ObjectList{
		"an Agent": &v1alpha1.AgentList{}, "a CloudProject": &v1alpha1.CloudProjectList{}, "an AgentSet": &v1alpha1.AgentSetList{},
		"an Event": &eventsv1.EventList{},
	} {
		if err := w.Client.List(w.Context(), list, client.InNamespace(w.Namespace)); err != nil {
			w.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			w.Fatal(err)
		}
		seen[what] = string(text)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		if len(line) > 16<<10 {
			w.Errorf("a line of the log has %d bytes: %.200s", len(line), line)
		}
	}
	seen["the log"] = strings.Join(j.lines, "\n")
	inBase64 := base64.StdEncoding.EncodeToString([]byte(token))
	for what, text := range seen {
		if strings.Contains(text, token) || strings.Contains(text, inBase64) {
			w.Errorf("%s shows the token", what)
		}
	}
}

// A policy of the cluster rejects a Secret of the operator, and repeats what it rejects, as the API has it.
func TestRejectedSecret_PolicyRepeatsIt_TheTokenIsRedacted(t *testing.T) {
	t.Run("Agent", func(t *testing.T) {
		t.Parallel()
		w, tenant, log := quotedTenant(t, admission.Deny)
		tenant.Stalled(w.Guest(tenant, "web"), v1alpha1.ReasonSecretWriteRefused, "no static credentials: token="+cloud.Redacted)
		log.shows(tenant, w.Remote()[0].Token.Reveal())
	})
	t.Run("CloudProject", func(t *testing.T) {
		t.Parallel()
		w, log := quoted(t, admission.Deny)
		w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused, "no static credentials: token="+cloud.Redacted)
		log.shows(w, w.Token.Reveal())
	})
}

// A webhook repeats all sessions, those that were stored before included, within a longer text.
func TestRejectedSessions_WebhookRepeatsThem_TheTokensAreRedacted(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	log := journaled(w)
	w.Start()
	w.Nodes("a")
	w.AgentSet("logs", w.DaemonSet("logs"))
	w.SetReady("logs", 1)
	first := w.Remote()[0]
	rejecting(w, http.StatusBadRequest, func() string {
		said := "denied the request:"
		for _, remote := range w.Remote() {
			said += " " + base64.StdEncoding.EncodeToString([]byte("token: "+remote.Token.Reveal()))
		}
		return said
	}, secretsOf(w)+"/logs-sessions-0")
	w.Nodes("b")
	w.SetBecomes("logs", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretWriteRefused, "denied the request", cloud.Redacted)
	for _, remote := range w.Remote() {
		encoded := base64.StdEncoding.EncodeToString([]byte("token: " + remote.Token.Reveal()))
		log.shows(w, remote.Token.Reveal())
		if message := meta.FindStatusCondition(w.GetSet("logs").Status.Conditions, v1alpha1.ConditionStalled).Message; strings.Contains(message, encoded[12:40]) {
			t.Errorf("the AgentSet shows the token of %s (%t: it was stored): %s", remote.Name, remote.ID == first.ID, message)
		}
	}
}

// The status of an AgentSet is rejected again and again: only the log can say so, in one line of a bounded length.
func TestRejectedStatusOfAnAgentSet_OneBoundedLineInTheLog(t *testing.T) {
	for name, deleting := range map[string]bool{"that stays": false, "that is being deleted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			log := journaled(w)
			w.Nodes("a")
			w.AgentSet("logs", w.DaemonSet("logs"), func(set *v1alpha1.AgentSet) {
				if deleting {
					set.Finalizers = []string{"example.com/other"}
				}
			})
			if deleting {
				t.Cleanup(func() { w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Finalizers = nil }) })
				if err := w.Client.Delete(t.Context(), w.GetSet("logs")); err != nil {
					t.Fatal(err)
				}
			}
			var rejected atomic.Int32
			rejecting(w, http.StatusForbidden, func() string {
				rejected.Add(1)
				return "denied the request: " + strings.Repeat("policy ", 6000)
			}, "/agentsets/logs/status")
			w.Start()
			w.Eventually("the status was rejected several times", func() error {
				if n := rejected.Load(); n < 3 {
					return fmt.Errorf("%d times", n)
				}
				return nil
			})
			log.shows(w, w.Token.Reveal())
			if said := log.with("denied the request"); len(said) != 1 {
				t.Errorf("%d lines say that it was rejected, want one", len(said))
			}
			w.API.Around(nil)
		})
	}
}
