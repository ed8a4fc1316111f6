/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Bounds of the requests with the shared project's token.
const (
	mostRequests  = 60 // of one move
	mostPerSecond = 15 // of the time that it takes
)

// guard checks after each move that the thief got and changed nothing.
type guard struct {
	*walk
	handled  int // requests that were checked before
	checked  time.Time
	most     int
	mu       sync.Mutex
	secrets  map[string]string // what the thief must not read, by its text
	caught   []string
	existing []*target
	tokens   []string // of the shared project
}

func newGuard(w *walk) *guard {
	g := &guard{walk: w, secrets: map[string]string{}, checked: time.Now(), handled: len(w.Cloud.Requests())}
	g.shared(w.Token.Reveal())
	for _, v := range w.victims {
		g.protect(v)
	}
	w.API.Around(g.watch)
	return g
}

func (g *guard) forbid(text, what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.secrets[text] = what
	g.server.forbid(text, what)
}

// shared adds a token of the shared project.
func (g *guard) shared(token string) {
	g.tokens = append(g.tokens, token)
	g.forbid(token, "the token of the shared project")
}

// protect adds an agent of a victim.
func (g *guard) protect(v *target) {
	g.existing = append(g.existing, v)
	g.forbid(v.Token.Reveal(), "the token of "+v.Name)
	if v.hidden {
		g.forbid(v.ID, "the ID of "+v.Name)
	}
}

// watch looks for secrets in what the operator writes into the thief's namespace, however short it is there.
func (g *guard) watch(r *http.Request, send harness.Send) (*http.Response, error) {
	if r.Body == nil || r.Method == http.MethodGet || !strings.Contains(r.URL.Path, "/namespaces/"+g.thief.Namespace+"/") {
		return send(r)
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.mu.Lock()
	for text, what := range g.secrets {
		if bytes.Contains(body, []byte(text)) || bytes.Contains(body, []byte(base64.StdEncoding.EncodeToString([]byte(text)))) {
			g.caught = append(g.caught, fmt.Sprintf("%s %s of the operator holds %s", r.Method, r.URL.Path, what))
		}
	}
	g.mu.Unlock()
	return send(r)
}

// check checks all invariants.
func (g *guard) check() {
	g.Helper()
	g.mu.Lock()
	found := slices.Clone(g.caught)
	g.mu.Unlock()
	for _, heard := range g.server.heard() {
		found = append(found, "a request to the thief's server: "+heard)
	}
	found = append(found, g.readable()...)
	found = append(found, g.requests()...)
	found = append(found, g.unharmed()...)
	found = append(found, g.ready()...)
	if len(found) > 0 {
		g.Fatalf("after move %d:\n%s", len(g.done), strings.Join(found, "\n"))
	}
}

// readable looks for secrets in all that the thief can read, and for a record of the victim's agent at the shared endpoint.
func (g *guard) readable() (found []string) {
	g.Helper()
	written, reported := (&scene{World: g.World}).texts(g.thief)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, texts := range []map[string]string{written, reported} {
		for where, text := range texts {
			for secret, what := range g.secrets {
				if strings.Contains(text, secret) {
					found = append(found, fmt.Sprintf("%s of the thief holds %s", where, what))
				}
			}
		}
	}
	for _, a := range g.all() {
		for _, v := range g.existing {
			if a.Status.ID == v.ID && a.Status.URL == g.HTTP.URL && !g.variant.granted {
				found = append(found, fmt.Sprintf("Agent %s of the thief records the agent of %s at the shared API", a.Name, v.Name))
			}
		}
	}
	return found
}

// requests looks at the requests since the last check: none may change a victim's agent, or use its token, and there are not too many.
func (g *guard) requests() (found []string) {
	all, shared := g.Cloud.Requests(), 0
	for _, r := range all[g.handled:] {
		header := fmt.Sprint(r.Header)
		if slices.ContainsFunc(g.tokens, func(token string) bool { return strings.Contains(header, token) }) {
			shared++
		}
		for _, v := range g.existing {
			if r.AgentID == v.ID && r.Method != http.MethodGet && r.Method != http.MethodPost {
				found = append(found, fmt.Sprintf("%s of the agent of %s", r.Method, v.Name))
			}
			if strings.Contains(header, v.Token.Reveal()) {
				found = append(found, fmt.Sprintf("%s %s with the token of %s", r.Method, r.Path, v.Name))
			}
		}
	}
	most := mostRequests + int(time.Since(g.checked).Seconds()*mostPerSecond)
	if shared > most {
		found = append(found, fmt.Sprintf("%d requests with the shared project's token, want at most %d", shared, most))
	}
	g.most = max(g.most, shared)
	g.handled, g.checked = len(all), time.Now()
	return found
}

// unharmed compares the victims' agents with what they were.
func (g *guard) unharmed() (found []string) {
	machines := map[string]int{}
	for _, remote := range g.Remote() {
		machines[remote.MachineID]++
	}
	for _, v := range g.existing {
		now, there := g.Cloud.Agent(v.ID)
		switch {
		case !there:
			found = append(found, fmt.Sprintf("the agent of %s was deleted", v.Name))
			continue
		case machines[v.MachineID] != 1:
			found = append(found, fmt.Sprintf("there are %d agents with the machine ID of %s", machines[v.MachineID], v.Name))
		}
		if was, is := text(g, v.Agent.Name, v.Version, v.RawConfig, v.Flags, v.Metadata, v.MachineID, v.Type),
			text(g, now.Name, now.Version, now.RawConfig, now.Flags, now.Metadata, now.MachineID, now.Type); was != is || !now.Token.Equal(v.Token) {
			found = append(found, fmt.Sprintf("the agent of %s was changed from %s to %s", v.Name, was, is))
		}
	}
	return found
}

// ready checks that the victim's Agents are Ready with their agents.
func (g *guard) ready() (found []string) {
	g.Helper()
	look := func() bool {
		found = nil
		for _, v := range g.existing {
			if v.agent == "" {
				continue
			}
			a := g.victim.Get(v.agent)
			if ready := harness.Condition(a, v1alpha1.ConditionReady); ready.Status != "True" || a.Status.ID != v.ID {
				found = append(found, fmt.Sprintf("the victim's Agent %s has the agent %s and is %s", v.agent, a.Status.ID, harness.Describe(a)))
				continue
			}
			secret := g.victim.Secret(a.Status.TokenSecretRef.Name)
			if secret == nil || !cloud.NewToken(string(secret.Data[v1alpha1.TokenKey])).Equal(v.Token) {
				found = append(found, fmt.Sprintf("the Secret of the victim's Agent %s does not hold its token", v.agent))
			}
		}
		return len(found) == 0
	}
	if !look() && g.thiefs.uncertain { // A read of the victim failed, which is retried.
		g.brief(promptly, look)
	}
	return found
}
