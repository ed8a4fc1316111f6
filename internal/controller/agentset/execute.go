/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const (
	// batch is how many Agents one pass writes, so that the status follows.
	batch = 500
	// writers is how many of these writes are concurrent.
	writers = 8
)

// action is one write of one Agent.
type action struct {
	agent string
	do    func(context.Context) (pendingWrite, error)
}

// execute writes the Agents as decided, and returns the first failure.
func (p *pass) execute(ctx context.Context) error {
	if slices.ContainsFunc(p.decision.Update, func(name string) bool { return p.facts.Agents[name].Ownership == agentset.Adoptable }) {
		if err := p.stillExists(ctx); err != nil {
			return err
		}
	}
	actions := p.actions()
	if len(actions) > batch {
		actions = actions[:batch]
		p.sooner(staleWait)
	}
	var (
		mu     sync.Mutex
		failed error
		group  sync.WaitGroup
		next   = make(chan action)
	)
	for range min(writers, len(actions)) {
		group.Go(func() {
			for a := range next {
				write, err := a.do(ctx)
				mu.Lock()
				if err == nil {
					p.memory.writes[a.agent] = write
				}
				if judged := p.judge(a.agent, err); failed == nil {
					failed = judged
				}
				mu.Unlock()
			}
		})
	}
	for _, a := range actions {
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop {
			break
		}
		next <- a
	}
	close(next)
	group.Wait()
	return failed
}

// stillExists fails if the set is deleted, which the cache may not show yet: what the set adopted would be deleted with it.
func (p *pass) stillExists(ctx context.Context) error {
	var sets v1alpha1.AgentSetList
	err := p.APIReader.List(ctx, &sets, client.InNamespace(p.set.Namespace), client.MatchingFields{"metadata.name": p.set.Name})
	if err != nil {
		return err
	}
	if len(sets.Items) == 1 && sets.Items[0].UID == p.set.UID && sets.Items[0].DeletionTimestamp.IsZero() {
		return nil
	}
	return fault.Waitingf(v1alpha1.ReasonProgressing, "the AgentSet is being deleted")
}

func (p *pass) actions() (actions []action) {
	keys := map[string]string{}
	for _, key := range p.decision.Desired {
		keys[agentset.AgentName(p.set.Name, key)] = key
	}
	add := func(name string, do func(context.Context) (pendingWrite, error)) {
		actions = append(actions, action{agent: name, do: do})
	}
	for _, key := range p.decision.Create {
		add(agentset.AgentName(p.set.Name, key), func(ctx context.Context) (pendingWrite, error) { return p.create(ctx, key) })
	}
	for _, name := range p.decision.Update {
		add(name, func(ctx context.Context) (pendingWrite, error) { return p.update(ctx, p.agents[name], keys[name]) })
	}
	if len(p.decision.Mark) > 0 {
		p.sooner(p.facts.RemovalDelay)
	}
	for _, name := range p.decision.Mark {
		add(name, func(ctx context.Context) (pendingWrite, error) { return p.mark(ctx, p.agents[name]) })
	}
	for _, name := range p.decision.Delete {
		add(name, func(ctx context.Context) (pendingWrite, error) { return p.remove(ctx, p.agents[name]) })
	}
	return actions
}

func (p *pass) create(ctx context.Context, key string) (pendingWrite, error) {
	agent, _ := agentset.Build(p.set, key, nil)
	err := p.Client.Create(ctx, agent)
	return pendingWrite{version: agent.ResourceVersion, at: p.facts.Now}, err
}

// update replaces the whole spec: a merge patch could not write null, and would keep fields that the template lost.
func (p *pass) update(ctx context.Context, agent *v1alpha1.Agent, key string) (pendingWrite, error) {
	built, _ := agentset.Build(p.set, key, agent)
	patch := []operation{
		{Op: "replace", Path: "/spec", Value: built.Spec},
		{Op: "add", Path: "/metadata/ownerReferences", Value: built.OwnerReferences},
	}
	patch = append(patch, entries("/metadata/labels", agent.Labels, built.Labels)...)
	patch = append(patch, entries("/metadata/annotations", agent.Annotations, built.Annotations)...)
	return p.patch(ctx, agent, patch)
}

// mark records since when an Agent's node or replica is missing.
func (p *pass) mark(ctx context.Context, agent *v1alpha1.Agent) (pendingWrite, error) {
	marked := map[string]string{v1alpha1.AnnotationRemovalStarted: p.facts.Now.UTC().Format(time.RFC3339)}
	for key, value := range agent.Annotations {
		if key != v1alpha1.AnnotationRemovalStarted {
			marked[key] = value
		}
	}
	return p.patch(ctx, agent, entries("/metadata/annotations", agent.Annotations, marked))
}

func (p *pass) remove(ctx context.Context, agent *v1alpha1.Agent) (pendingWrite, error) {
	err := p.Client.Delete(ctx, &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: agent.Namespace, Name: agent.Name}},
		client.Preconditions{UID: &agent.UID})
	return pendingWrite{deleted: agent.UID, at: p.facts.Now}, err
}

// operation is one step of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// entries returns the patch from one metadata map to another; other entries stay.
func entries(path string, from, to map[string]string) (patch []operation) {
	if len(from) == 0 {
		return []operation{{Op: "add", Path: path, Value: to}}
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	for key, value := range to {
		if had, found := from[key]; !found || had != value {
			patch = append(patch, operation{Op: "add", Path: path + "/" + escape.Replace(key), Value: &value})
		}
	}
	for key := range from {
		if _, kept := to[key]; !kept {
			patch = append(patch, operation{Op: "remove", Path: path + "/" + escape.Replace(key)})
		}
	}
	return patch
}

// patch changes only the version of an Agent that the decision was made for. Else a map that was empty then could replace
// one that has a registration intent by now.
func (p *pass) patch(ctx context.Context, agent *v1alpha1.Agent, patch []operation) (pendingWrite, error) {
	version := operation{Op: "test", Path: "/metadata/resourceVersion", Value: agent.ResourceVersion}
	data, err := json.Marshal(append([]operation{version}, patch...))
	if err != nil {
		return pendingWrite{}, err
	}
	written := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: agent.Namespace, Name: agent.Name}}
	written.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Agent"))
	err = p.Client.Patch(ctx, written, client.RawPatch(types.JSONPatchType, data))
	return pendingWrite{version: written.ResourceVersion, at: p.facts.Now}, err
}

// judge classifies a write error: a rejection, which only a user can fix, or a temporary failure. It is nil for a change
// that the cache is about to show.
func (p *pass) judge(agent string, err error) error {
	var status apierrors.APIStatus
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return nil
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), isStale(err):
		p.sooner(time.Second)
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fault.Waitingf(v1alpha1.ReasonProgressing, "namespace %s is being deleted", p.set.Namespace)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return fault.Terminalf(v1alpha1.ReasonInvalid, "the API server rejected Agent %q: %v: correct spec.template", agent, err).Because(err)
	case apierrors.IsForbidden(err):
		return fault.Terminalf(v1alpha1.ReasonAPIServer,
			"the API server rejected Agent %q: %v: change the policy that rejects it", agent, err).Because(err)
	case errors.As(err, &status):
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "Agent %q cannot be written: %s", agent, apierrors.ReasonForError(err)).Because(err)
	default:
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "Agent %q cannot be written: the API server cannot be reached", agent).Because(err)
	}
}

// isStale reports whether a test of a JSON patch failed, because the Agent changed meanwhile.
func isStale(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
		return false
	}
	details := status.Status().Details
	return details == nil || len(details.Causes) == 0
}
