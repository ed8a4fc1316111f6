/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// server is a kind of server.
type server struct {
	name     string
	settings cloudtest.Settings
}

// The kinds of server that the tables have a column for, in this order.
var servers = [...]server{
	{"list, unique", cloudtest.Settings{}},
	{"list, duplicates", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}},
	{"list, unique, masked", cloudtest.Settings{MaskTokens: true, MaskAs: "redacted"}},
	{"no list, upserts", cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert}},
	{"no list, 409", cloudtest.Settings{NoList: true}},
	{"no list, duplicates", cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble}},
}

// end is the expected end of a row. It is checked until it holds, and again after one more sync.
type end int

const (
	// one: Ready, one remote agent, with the declared configuration and with id and token in the Secret.
	one end = iota
	// tokenless: as one, but Stalled because the token cannot be read; the Secret has only the ID.
	tokenless
	// stranded: Stalled because Calyptia Cloud has an agent but does not return its ID. Setting agentID resolves it.
	stranded
	// two: as one, and a duplicate that nothing can find remains. The documentation says so.
	two
	// none: no remote agent, no Agent, no Secret.
	none
	// blocked: the deletion waits and its message has the remedy; one remote agent that cannot be found.
	blocked
	// left: no Agent and no Secret; one remote agent that cannot be found, and a warning event about it.
	left
	// kept: no Agent; its remote agent and its Secret remain.
	kept
)

// cell is the end of a row on one kind of server, and the number of registrations that reach it.
type cell struct {
	end   end
	posts int
}

// scene is a World whose operator will be stopped.
type scene struct {
	*harness.World
	*fence
	t *testing.T
	// wanted is the declared configuration; secret is the name of the token Secret, former its previous name.
	wanted, secret, former string
	// lost is the ID of a deleted remote agent.
	lost string
	// strangers are remote agents that the Agent must not touch.
	strangers int
	// listless is true where Calyptia Cloud has no list.
	listless bool
	// adopted is true if the remote agent was registered externally.
	adopted bool
}

const firstConfig, secondConfig = "[INPUT]\n    name dummy\n", "[INPUT]\n    name cpu\n"

// newScene makes a World behind a fence. With options, the caller starts the operator.
func newScene(t *testing.T, settings cloudtest.Settings, options ...harness.Option) *scene {
	t.Helper()
	t.Parallel()
	f := &fence{}
	times := func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.Settings.PostWindow, w.Settings.Slack, w.CloudTimeout = 4*time.Second, 5*time.Second, 10*time.Second
	}
	w := harness.New(t, settings, append(options, newFence(f), times)...)
	s := &scene{World: w, fence: f, t: t, wanted: firstConfig, secret: "web-token", listless: settings.NoList}
	if len(options) == 0 {
		s.ProjectBecomes(metav1.ConditionTrue, "")
	}
	return s
}

// await waits until the operator reaches the expected moment.
func (s *scene) await(reached <-chan struct{}) {
	s.t.Helper()
	await.Closed(s.t, "the operator reaches the moment", reached, func() string {
		return fmt.Sprintf("it never reached %+v; requests: %s", s.moments, s.calls())
	})
}

// die runs act and stops the operator at the last moment.
func (s *scene) die(act func(*scene), moments ...moment) {
	s.t.Helper()
	reached := s.expect(moments...)
	act(s)
	s.await(reached)
	s.Stop()
	s.open()
}

// revive starts an operator with empty caches, and delivers late requests once it has searched for the agent.
func (s *scene) revive(lateCommit bool) {
	s.t.Helper()
	before := len(s.Cloud.Requests())
	s.Start()
	if lateCommit {
		s.commitAfterASearch(before)
	}
}

// commitAfterASearch delivers late requests once the operator has searched for the agent, after its first requests.
// Where nothing is listed, it cannot search: then its first read counts.
func (s *scene) commitAfterASearch(before int) {
	s.t.Helper()
	s.Eventually("the operator syncs", func() error {
		for _, r := range s.Cloud.Requests()[before:] {
			if r.Status != 0 && (strings.Contains(r.Query, "last=100") || s.listless && r.Route == cloudtest.RouteAgent) {
				return nil
			}
		}
		return errors.New("not yet")
	})
	s.commitNow()
}

func (s *scene) commitNow() {
	close(s.commit)
	s.Cloud.Wait()
}

// finish checks the end of the cell, also after one more requested sync.
func (s *scene) finish(want cell) {
	s.t.Helper()
	check := map[end]func() error{
		one: s.one, tokenless: s.tokenless, stranded: s.stranded, two: s.two, none: s.none, blocked: s.blocked, left: s.left, kept: s.kept,
	}[want.end]
	s.Eventually("the end", check)
	if got := s.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); got != want.posts {
		s.t.Errorf("%d registrations reached Calyptia Cloud, want %d: %s", got, want.posts, s.calls())
	}
	switch want.end {
	case none, left, kept:
		return
	case one, tokenless, two:
		s.syncAgain()
		if err := check(); err != nil {
			s.t.Errorf("after another sync: %v", err)
		}
		if got := s.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); got != want.posts {
			s.t.Errorf("%d registrations after another sync, want %d", got, want.posts)
		}
	case stranded:
		s.Change("web", func(a *v1alpha1.Agent) { a.Spec.AgentID = s.Remote()[0].ID })
		s.Eventually("the remedy", s.one)
	case blocked:
		s.Change("web", func(a *v1alpha1.Agent) {
			a.Annotations[v1alpha1.AnnotationOrphan] = "true"
		})
		s.Gone("web")
		if n := len(s.Remote()); n != 1 {
			s.t.Errorf("%d remote agents, want the orphaned one", n)
		}
	}
}

func (s *scene) syncAgain() {
	s.t.Helper()
	s.Poke("web")
	s.Eventually("another sync", func() error {
		a := s.Get("web")
		if a.Status.LastHandledReconcileAt != a.Annotations[v1alpha1.AnnotationReconcileAt] {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
}

func (s *scene) one() error { return errors.Join(s.remotes(1), s.ready(), s.recorded(), s.holds(true)) }
func (s *scene) two() error { return errors.Join(s.remotes(2), s.ready(), s.recorded(), s.holds(true)) }

func (s *scene) tokenless() error {
	return errors.Join(s.remotes(1), s.stalled(v1alpha1.ReasonTokenUnavailable, s.secret), s.recorded(), s.holds(false))
}

func (s *scene) stranded() error {
	a, err := s.agent()
	if err == nil && (a.Status.ID != s.lost || s.lost == "" && s.Secret(s.secret) != nil) {
		err = fmt.Errorf("the status has ID %q, want %q", a.Status.ID, s.lost)
	}
	return errors.Join(err, s.remotes(1), s.stalled(v1alpha1.ReasonRegistrationOutcomeUnknown, "spec.agentID"))
}

func (s *scene) none() error { return errors.Join(s.remotes(0), s.gone()) }

func (s *scene) blocked() error {
	return errors.Join(s.remotes(1), s.stalled(v1alpha1.ReasonRegistrationOutcomeUnknown, v1alpha1.AnnotationOrphan))
}

func (s *scene) left() error {
	err := errors.Join(s.remotes(1), s.gone())
	if err == nil && !strings.Contains(strings.Join(s.Events("web", 1), " "), "MaybeOrphaned") {
		err = errors.New("no event reports the remote agent that may be left")
	}
	return err
}

func (s *scene) kept() error {
	secret := s.Secret(s.secret)
	if _, err := s.agent(); !apierrors.IsNotFound(err) || secret == nil || len(secret.OwnerReferences) != 0 {
		return fmt.Errorf("the Agent is there (%w), or its Secret is not free: %v", err, secret)
	}
	return s.remotes(1)
}

func (s *scene) remotes(want int) error {
	if got := len(s.Remote()) - s.strangers; got != want {
		return fmt.Errorf("%d remote agents, want %d: %s", got, want, s.calls())
	}
	return nil
}

// agent reads the Agent.
func (s *scene) agent() (*v1alpha1.Agent, error) {
	var a v1alpha1.Agent
	return &a, s.Client.Get(s.t.Context(), s.Key("web"), &a)
}

func (s *scene) gone() error {
	a, err := s.agent()
	switch {
	case err == nil:
		return fmt.Errorf("the Agent still exists: %s", harness.Describe(a))
	case !apierrors.IsNotFound(err):
		return err
	case s.Secret(s.secret) != nil:
		return errors.New("the Secret still exists")
	}
	return nil
}

func (s *scene) ready() error {
	a, err := s.agent()
	if err != nil {
		return err
	}
	ready := harness.Condition(a, v1alpha1.ConditionReady)
	if ready.Status != "True" || a.Status.ObservedGeneration != a.Generation || a.Status.Applied.Generation != a.Generation ||
		harness.Condition(a, v1alpha1.ConditionStalled).Status == "True" {
		return fmt.Errorf("generation %d of %d: %s", a.Status.ObservedGeneration, a.Generation, harness.Describe(a))
	}
	return nil
}

func (s *scene) stalled(reason string, words ...string) error {
	a, err := s.agent()
	if err != nil {
		return err
	}
	c := harness.Condition(a, v1alpha1.ConditionStalled)
	if c.Status != "True" || c.Reason != reason || harness.Condition(a, v1alpha1.ConditionReady).Status != "False" {
		return fmt.Errorf("not stalled for %s: %s", reason, harness.Describe(a))
	}
	for _, word := range words {
		if !strings.Contains(c.Message, word) {
			return fmt.Errorf("the message %q lacks %q", c.Message, word)
		}
	}
	return nil
}

// recorded checks that the status names the remote agent, that it matches the spec, and that no registration is open.
func (s *scene) recorded() error {
	a, err := s.agent()
	if err != nil {
		return err
	}
	remote, found := s.Cloud.Agent(a.Status.ID)
	intent := a.Annotations[v1alpha1.AnnotationRegistrationIntent]
	switch {
	case !found || a.Status.ID == s.lost:
		return fmt.Errorf("Calyptia Cloud has no current agent %q", a.Status.ID)
	case remote.MachineID != a.Status.MachineID:
		return fmt.Errorf("its machine ID is %s, the status has %s", remote.MachineID, a.Status.MachineID)
	case remote.RawConfig != s.wanted || remote.Version != a.Spec.Version:
		return fmt.Errorf("version %s with %q, want %s with %q", remote.Version, remote.RawConfig, a.Spec.Version, s.wanted)
	case intent != "" && intent != a.Status.RegistrationIntent:
		return errors.New("the registration is still open")
	case !controllerutil.ContainsFinalizer(a, v1alpha1.AgentFinalizer):
		return errors.New("the finalizer is missing")
	case a.Status.Origin == map[bool]v1alpha1.Origin{true: v1alpha1.OriginRegistered, false: v1alpha1.OriginAdopted}[s.adopted]:
		return fmt.Errorf("the origin is %s", a.Status.Origin)
	case len(a.Status.DuplicatesToDelete) != 0:
		return fmt.Errorf("duplicates %v are not deleted yet", a.Status.DuplicatesToDelete)
	}
	return nil
}

// holds checks the token Secret: its owner, the id, and the token or no token.
func (s *scene) holds(token bool) error {
	a, err := s.agent()
	secret := s.Secret(s.secret)
	if err != nil || secret == nil {
		return errors.Join(err, fmt.Errorf("no Secret %s, or %w", s.secret, errors.New("no Agent")))
	}
	remote, _ := s.Cloud.Agent(a.Status.ID)
	held, has := secret.Data[v1alpha1.TokenKey]
	switch {
	case string(secret.Data[v1alpha1.IDKey]) != a.Status.ID:
		return errors.New("the Secret has another id")
	case token && !cloud.NewToken(string(held)).Equal(remote.Token):
		return errors.New("the Secret does not have the token")
	case !token && has:
		return errors.New("the Secret has a token, want only the ID")
	case a.Spec.SessionSecretRef != nil && (a.Status.SessionSecretRef == nil || s.Secret("web-session") == nil):
		return errors.New("the session is missing")
	case a.Spec.SessionSecretRef == nil && s.Secret("web-session") != nil:
		return errors.New("the session still exists")
	case s.former != "" && s.Secret(s.former) != nil:
		return errors.New("the former Secret still exists")
	case harness.Retains(a) == (len(secret.OwnerReferences) == 1 && secret.OwnerReferences[0].UID == a.UID):
		return fmt.Errorf("the Secret is owned by %v", secret.OwnerReferences)
	case a.Status.TokenSecretRef == nil || a.Status.TokenSecretRef.Name != s.secret:
		return fmt.Errorf("the status names the Secret %v", a.Status.TokenSecretRef)
	}
	return nil
}

// calls describes the requests that reached Calyptia Cloud.
func (s *scene) calls() string {
	var all []string
	for _, r := range s.Cloud.Requests() {
		all = append(all, fmt.Sprintf("%s %s %d", r.Method, r.Route, r.Status))
	}
	return strings.Join(all, ", ")
}

// edit patches the Agent as a user would; a write of the operator at that moment gets a conflict.
func (s *scene) edit(change func(*v1alpha1.Agent)) error {
	a, err := s.agent()
	if err != nil {
		return err
	}
	base := a.DeepCopy()
	change(a)
	return s.Client.Patch(s.t.Context(), a, client.MergeFrom(base))
}
