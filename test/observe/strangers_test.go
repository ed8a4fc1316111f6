/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Anybody may refer to a CloudProject. status.agents counts only the Agents that it allows; so must the metrics, or whoever may
// write Agents anywhere sets off the alerts of another team's CloudProject: CalyptiaAgentsStalled, CalyptiaAgentsOrphaned and
// CalyptiaDeletionStuck.
func TestTheMetricsOfACloudProjectCountNoAgentsThatItDoesNotAllow(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	stranger := w.In(w.AddNamespace("stranger"))
	c := launch(w, harness.Plane().Kubeconfig, "--watch-namespaces="+stranger.Namespace)
	token := reader(w, "prometheus", true)
	w.Ready(w.Apply("owned"))
	w.Guest(stranger, "stalled")
	stranger.Stalled("stalled", v1alpha1.ReasonProjectNotAllowed)
	w.Guest(stranger, "stuck", func(a *v1alpha1.Agent) { a.Finalizers = []string{"tenant.example.com/mine"} })
	stranger.Delete("stuck")
	w.Guest(stranger, "forged", func(a *v1alpha1.Agent) {
		a.Finalizers = []string{v1alpha1.AgentFinalizer}
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent,
			time.Now().UTC().Format(time.RFC3339Nano)+"/0011223344556677-00112233445566770011223344556677")
	})
	stranger.Delete("forged")
	stranger.Gone("forged")
	var body string
	w.Eventually("the metrics are served", func() (err error) {
		var status int
		if status, body, err = c.scrape(token, nil); err != nil || status != http.StatusOK {
			return fmt.Errorf("%d, %w", status, err)
		}
		if !strings.Contains(body, "\ncalyptia_agents{") {
			return fmt.Errorf("no Agents yet")
		}
		return nil
	})
	of := fmt.Sprintf("cloudproject=%q", w.Namespace+"/calyptia")
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(line, "{")
		wrong := name == "calyptia_agents" && !strings.HasSuffix(line, " 1") ||
			name == "calyptia_agents_condition" && strings.Contains(line, `condition="Stalled"`) ||
			name == "calyptia_agents_deleting" && !strings.HasSuffix(line, " 0") ||
			name == "calyptia_agents_deletion_oldest_timestamp_seconds" ||
			name == "calyptia_agent_events_total" && strings.Contains(line, "MaybeOrphaned") && !strings.HasSuffix(line, " 0")
		if strings.Contains(line, of) && wrong {
			t.Errorf("the CloudProject has one Agent, which is Ready, and %s", line)
		}
	}
}
