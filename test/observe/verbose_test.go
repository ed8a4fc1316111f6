/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// At a high log level, a client of Kubernetes logs the bodies of its requests, which include Secrets.
func TestTheHighestLogLevelShowsNoToken(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	c := launch(w, harness.Plane().Kubeconfig, "--zap-log-level=7")
	w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} }))
	tokens := map[string]string{"the project": w.Token.Reveal(), "the agent": w.Remote()[0].Token.Reveal()}
	w.Delete("web")
	w.Gone("web")
	c.end()
	output := c.output()
	if !strings.Contains(output, "GET") && !strings.Contains(output, "Level(-") {
		t.Errorf("nothing of the level is logged:\n%s", output)
	}
	for whose, token := range tokens {
		// Plain, as in the JSON of a Secret, and as a dump of protobuf begins.
		for _, form := range []string{token, base64.StdEncoding.EncodeToString([]byte(token))[:len(token)/3*4], spaced(token[:8])} {
			if strings.Contains(output, form) {
				t.Errorf("the log shows the token of %s as %s", whose, form)
			}
		}
	}
	if strings.Contains(output, `"body"`) || strings.Contains(output, "Response Body") || strings.Contains(output, "Request Body") {
		t.Error("the log shows bodies")
	}
}

// spaced is text as in the left half of a dump.
func spaced(text string) string {
	var all []string
	for _, b := range []byte(text) {
		all = append(all, hex.EncodeToString([]byte{b}))
	}
	return strings.Join(all, " ")
}

func TestALogLevelThatShowsBodiesIsRefused(t *testing.T) {
	t.Parallel()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range []string{"8", "9", "10", "11", "127", "128", "250", "2147483648"} {
		out, err := exec.Command(path, "--kubeconfig=/dev/null", "--zap-log-level="+level).CombinedOutput()
		var ended *exec.ExitError
		if !errors.As(err, &ended) || ended.ExitCode() != 2 || !strings.Contains(string(out), "the highest is 7") {
			t.Errorf("level %s: %v\n%s", level, err, out)
		}
	}
}
