/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// canaries are the tokens of a story, and everything that users could see.
type canaries struct {
	*harness.World
	lines  *lines
	tokens map[string]string // by their use
	seen   []string          // everything that users could see
}

// learn notes the tokens in use, and records what the API server shows.
func (c *canaries) learn() {
	c.Helper()
	for _, a := range c.Remote() {
		c.tokens["agent "+a.Name+" "+a.ID] = a.Token.Reveal()
	}
	for _, list := range []client.ObjectList{
		&v1alpha1.AgentList{}, &v1alpha1.CloudProjectList{}, &eventsv1.EventList{}, &corev1.ConfigMapList{}, &corev1.EventList{},
	} {
		if err := c.Client.List(c.Context(), list, client.InNamespace(c.Namespace)); err != nil {
			c.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			c.Fatal(err)
		}
		c.seen = append(c.seen, string(text))
	}
}

// shapes are the encodings in which a token could leak.
func shapes(token string) []string {
	forms := []string{token, base64.StdEncoding.EncodeToString([]byte(token))}
	if _, signature, found := strings.Cut(token, "."); found {
		forms = append(forms, signature)
	}
	return forms
}

func (c *canaries) nowhere(where, text string) {
	c.Helper()
	for whose, token := range c.tokens {
		for _, shape := range shapes(token) {
			if at := strings.Index(text, shape); at >= 0 {
				c.Errorf("%s shows the token of %s: ...%s", where, whose, text[max(at-200, 0):at])
			}
		}
	}
}

func (c *canaries) check() {
	c.Helper()
	for _, line := range c.lines.since(0, "") {
		c.nowhere("the log", line)
	}
	for _, text := range c.seen {
		c.nowhere("the API server", text)
	}
	families, err := metrics.Registry.Gather()
	if err != nil {
		c.Fatal(err)
	}
	for _, family := range families {
		c.nowhere("a metric", family.String())
	}
	var secrets corev1.SecretList
	if err := c.Client.List(c.Context(), &secrets, client.InNamespace(c.Namespace)); err != nil {
		c.Fatal(err)
	}
	for i := range secrets.Items {
		s := &secrets.Items[i]
		text, err := json.Marshal(s.ObjectMeta)
		if err != nil {
			c.Fatal(err)
		}
		c.nowhere("the metadata of Secret "+s.Name, string(text))
		for key, value := range s.Data {
			for whose, token := range c.tokens {
				project := strings.HasPrefix(whose, "project")
				belongs := project == slices.Contains([]string{"calyptia-token", "calyptia-credentials"}, s.Name)
				if strings.Contains(string(value), token) && !belongs {
					c.Errorf("Secret %s, key %s, holds the token of %s", s.Name, key, whose)
				}
			}
		}
	}
}

// echo is an error that repeats the request.
func echo(method string, status int, tokens ...string) cloudtest.Fault {
	said, _ := json.Marshal(map[string]string{
		"error": "invalid agent name: you sent " + strings.Join(tokens, " and "), "detail": strings.Join(tokens, "\u200b"),
	})
	return cloudtest.Fault{Method: method, Status: status, Body: string(said), Header: http.Header{"Content-Type": {"application/json"}}, Times: 1}
}

// The whole life of an operator at the highest verbosity: tokens are in their Secrets and nowhere else.
func TestTokensAreOnlyInTheirSecrets(t *testing.T) {
	t.Parallel()
	c := &canaries{lines: &lines{}, tokens: map[string]string{}}
	c.World = harness.New(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.Logger, w.Settings.OutageGrace = c.lines.logger(127), time.Millisecond
	})
	c.tokens["project, the first"] = c.Token.Reveal()
	legacy := c.World.Register("legacy", "machine-1")

	c.Ready(c.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} }))
	id := c.Get("web").Status.ID
	c.Ready(c.Apply("adopted", adopting(legacy.ID)))
	c.learn()

	remote, _ := c.Cloud.Agent(id)
	own, shown := remote.Token.Reveal(), c.Token.Reveal()
	c.Cloud.Inject(echo(http.MethodPost, 422, shown))
	c.Apply("refused")
	c.Stalled("refused", v1alpha1.ReasonInvalid, cloud.Redacted)
	for _, status := range []int{422, 500} {
		c.Cloud.Inject(echo(http.MethodPatch, status, shown, own))
		c.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = fmt.Sprintf("v4.0.%d", status) })
		c.NotReady("web", map[int]string{422: v1alpha1.ReasonInvalid, 500: v1alpha1.ReasonUnavailable}[status], cloud.Redacted)
		c.learn()
		c.Poke("web")
		c.Ready("web")
	}
	c.Cloud.Mutate(id, func(a *cloud.Agent) { a.Version = "v9.9.9" }) // drift
	c.Poke("web")
	handled(c.World, "web")
	c.Cloud.Configure(func(s *cloudtest.Settings) { s.OnlyAgentPatches = true })
	c.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
	c.Ready("web")
	c.Cloud.Configure(func(s *cloudtest.Settings) { s.OnlyAgentPatches, s.MaskTokens, s.MaskAs = false, true, "redacted" })
	c.Poke("web")
	handled(c.World, "web")
	c.learn()

	c.Cloud.Configure(func(s *cloudtest.Settings) { s.MaskTokens = false })
	c.Cloud.Inject(echo("", 401, shown))
	c.Cloud.RevokeToken(c.Token)
	c.Poke("web")
	c.World.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonUnauthorized)
	c.learn()
	next := c.Cloud.AddProject(c.ProjectID)
	c.tokens["project, the second"] = next.Reveal()
	setToken(c.World, next.Reveal())
	handled(c.World, "web")
	c.Ready("web")
	c.learn()

	c.Cloud.Inject(echo(http.MethodDelete, 500, next.Reveal(), own))
	c.Delete("web")
	for _, name := range []string{"web", "adopted", "refused"} {
		if name != "web" {
			c.Delete(name)
		}
		c.Gone(name)
	}
	c.learn()
	if n := len(c.lines.since(0, "")); n < 20 {
		t.Fatalf("only %d lines were logged", n)
	}
	if len(c.tokens) < 4 {
		t.Fatalf("only %d tokens were in use", len(c.tokens))
	}
	c.check()
}
