/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const (
	// batch is how many Agents one pass deletes, and marks, creates and updates, so that the status follows.
	batch = 500
	// writers is how many of these writes are concurrent.
	writers = 8
	// mostRejected is after how many rejected writes of a kind the others of it wait for the next pass: a quota rejects all of them.
	mostRejected = writers
)

// action is one write of one Agent.
type action struct {
	agent string
	do    func(context.Context) (pendingWrite, error)
}

// writer writes the Agents of a set.
type writer struct {
	client    client.Client
	apiReader client.Reader
	set       *v1alpha1.AgentSet
	agents    map[string]*v1alpha1.Agent // by name, as the cache has them
	memory    *memory
	facts     agentset.Facts
}

// execute writes the Agents as decided. It returns when the next pass has to start at the latest, and the failure
// that is retried first.
func (w writer) execute(ctx context.Context, d agentset.Decision) (time.Duration, error) {
	if slices.ContainsFunc(d.Update, func(name string) bool { return w.facts.Agents[name].Ownership == agentset.Adoptable }) {
		if err := stillExists(ctx, w.apiReader, w.set); err != nil {
			return 0, err
		}
	}
	var soon wait
	if len(d.Mark) > 0 {
		soon.atMost(removalDelay(w.set))
	}
	var failed error
	for _, kind := range w.actions(d) {
		err := w.write(ctx, kind, &soon)
		failed = firstRetried(failed, err)
		if unreachable(err) {
			break
		}
	}
	return time.Duration(soon), failed
}

// write executes actions of one kind, as many as one pass may. It ends early if writes cannot succeed now, or too many are rejected: the
// pass after a failed one begins with others.
func (w writer) write(ctx context.Context, actions []action, soon *wait) (failed error) {
	all := len(actions)
	if all > 0 {
		first := w.memory.failed.all * mostRejected % all
		actions = slices.Concat(actions[first:], actions[:first])[:min(all, batch)]
	}
	var mu sync.Mutex
	rejected := 0
	more, stop := context.WithCancel(ctx)
	defer stop()
	workqueue.ParallelizeUntil(more, writers, len(actions), func(i int) {
		write, err := actions[i].do(ctx)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			w.remember(actions[i].agent, write, soon)
		}
		if isBehind(err) {
			w.memory.outdated(actions[i].agent, w.facts.Now)
			soon.atMost(time.Second)
		} else if judged := w.judge(actions[i].agent, err); judged != nil {
			failed = firstRetried(failed, judged)
			if rejected++; rejected >= mostRejected || classify(judged).Class != fault.Terminal {
				stop()
			}
		}
	})
	if failed == nil && all > batch {
		soon.atMost(staleWait)
	}
	return failed
}

// remember keeps what the cache may not show yet, and which update it was.
func (w writer) remember(agent string, write pendingWrite, soon *wait) {
	w.memory.writes[agent] = write
	if write.generation == 0 {
		return
	}
	w.memory.updates[agent] = write
	if write.version == w.agents[agent].ResourceVersion {
		soon.atMost(staleWait) // It changed nothing, so no event follows.
	}
}

// stillExists fails if the set is deleted, which the cache may not show yet: what the set adopted would be deleted with it.
func stillExists(ctx context.Context, live client.Reader, set *v1alpha1.AgentSet) error {
	var sets v1alpha1.AgentSetList
	err := live.List(ctx, &sets, client.InNamespace(set.Namespace), client.MatchingFields{"metadata.name": set.Name})
	if err != nil {
		return err
	}
	if len(sets.Items) == 1 && sets.Items[0].UID == set.UID && sets.Items[0].DeletionTimestamp.IsZero() {
		return nil
	}
	return fault.Waitingf(v1alpha1.ReasonProgressing, "the AgentSet is being deleted")
}

func removalDelay(set *v1alpha1.AgentSet) time.Duration {
	if set.Spec.RemovalDelay == nil {
		return 10 * time.Minute
	}
	return set.Spec.RemovalDelay.Duration
}

// actions are the writes by kind: those of one kind that are rejected, or change nothing, must not keep the others from their turn.
// Removals are first: they make room for new Agents in a quota.
func (w writer) actions(d agentset.Decision) [][]action {
	keys := map[string]string{}
	for _, key := range d.Desired {
		keys[agentset.AgentName(w.set.Name, key)] = key
	}
	var created []string
	for _, key := range d.Create {
		created = append(created, agentset.AgentName(w.set.Name, key))
	}
	kind := func(names []string, do func(ctx context.Context, name string) (pendingWrite, error)) (actions []action) {
		for _, name := range names {
			actions = append(actions, action{name, func(ctx context.Context) (pendingWrite, error) { return do(ctx, name) }})
		}
		return actions
	}
	return [][]action{
		kind(d.Delete, func(ctx context.Context, name string) (pendingWrite, error) { return w.remove(ctx, w.agents[name]) }),
		kind(d.Mark, func(ctx context.Context, name string) (pendingWrite, error) { return w.mark(ctx, w.agents[name]) }),
		kind(created, func(ctx context.Context, name string) (pendingWrite, error) { return w.create(ctx, keys[name]) }),
		kind(d.Update, func(ctx context.Context, name string) (pendingWrite, error) {
			return w.update(ctx, w.agents[name], keys[name])
		}),
	}
}

func (w writer) create(ctx context.Context, key string) (pendingWrite, error) {
	agent, _ := agentset.Build(w.set, key, nil)
	err := w.client.Create(ctx, agent)
	return pendingWrite{version: agent.ResourceVersion, at: w.facts.Now}, err
}

// update replaces the whole spec: a merge patch could not write null, and would keep fields that the template lost.
func (w writer) update(ctx context.Context, agent *v1alpha1.Agent, key string) (pendingWrite, error) {
	built, _ := agentset.Build(w.set, key, agent)
	patch := []operation{
		{Op: "replace", Path: "/spec", Value: built.Spec},
		{Op: "add", Path: "/metadata/ownerReferences", Value: built.OwnerReferences},
	}
	patch = append(patch, entries("/metadata/labels", agent.Labels, built.Labels)...)
	patch = append(patch, entries("/metadata/annotations", agent.Annotations, built.Annotations)...)
	write, err := w.patch(ctx, agent, patch)
	write.generation = w.set.Generation
	return write, err
}

// mark records since when an Agent's node or replica is missing.
func (w writer) mark(ctx context.Context, agent *v1alpha1.Agent) (pendingWrite, error) {
	const mark = v1alpha1.AnnotationRemovalStarted
	marked := map[string]string{}
	maps.Copy(marked, agent.Annotations)
	marked[mark] = w.facts.Now.UTC().Format(time.RFC3339)
	write, stored, err := w.patched(ctx, agent, entries("/metadata/annotations", agent.Annotations, marked))
	if err == nil && stored.Annotations[mark] != marked[mark] { // The Agent would never be deleted.
		err = fault.Terminalf(v1alpha1.ReasonAPIServer, "the API server accepted and did not store the annotation %s of Agent %q: "+
			"correct the policy or webhook that removes it, or delete the Agent", mark, agent.Name)
	}
	return write, err
}

// remove deletes an Agent. One that is not needed does not get the template any more; that the template retains remote agents counts
// for it.
func (w writer) remove(ctx context.Context, agent *v1alpha1.Agent) (pendingWrite, error) {
	if w.set.Spec.Template.Spec.DeletionPolicy == v1alpha1.DeletionRetain && agent.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
		write, _, err := w.patched(ctx, agent, []operation{{Op: "add", Path: "/spec/deletionPolicy", Value: v1alpha1.DeletionRetain}})
		if err != nil {
			return write, err
		}
		agent = agent.DeepCopy()
		agent.ResourceVersion = write.version
	}
	err := w.client.Delete(ctx, &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: agent.Namespace, Name: agent.Name}},
		client.Preconditions{UID: &agent.UID, ResourceVersion: &agent.ResourceVersion}) // The cache may show a mark that was removed since.
	return pendingWrite{deleted: agent.UID, at: w.facts.Now}, err
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
func (w writer) patch(ctx context.Context, agent *v1alpha1.Agent, patch []operation) (pendingWrite, error) {
	write, _, err := w.patched(ctx, agent, patch)
	return write, err
}

// patched is patch, with the metadata that the API server stored.
func (w writer) patched(
	ctx context.Context, agent *v1alpha1.Agent, patch []operation,
) (pendingWrite, *metav1.PartialObjectMetadata, error) {
	version := operation{Op: "test", Path: "/metadata/resourceVersion", Value: agent.ResourceVersion}
	data, err := json.Marshal(append([]operation{version}, patch...))
	if err != nil {
		return pendingWrite{}, nil, err
	}
	written := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: agent.Namespace, Name: agent.Name}}
	written.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Agent"))
	err = w.client.Patch(ctx, written, client.RawPatch(types.JSONPatchType, data))
	if isInvalidPatch(err) && !w.unchanged(ctx, agent) {
		err = apierrors.NewConflict(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "agents"}, agent.Name, err)
	}
	return pendingWrite{version: written.ResourceVersion, at: w.facts.Now}, written, err
}

// unchanged reports whether the API server has the version of an Agent that a patch tested.
func (w writer) unchanged(ctx context.Context, agent *v1alpha1.Agent) bool {
	is := &metav1.PartialObjectMetadata{}
	is.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Agent"))
	err := w.apiReader.Get(ctx, client.ObjectKeyFromObject(agent), is)
	return err == nil && is.UID == agent.UID && is.ResourceVersion == agent.ResourceVersion
}

// isBehind reports whether a write failed on a change that the cache is about to show.
func isBehind(err error) bool { return apiserver.Outdated(err) && !apierrors.IsNotFound(err) }

// unreachable reports whether a judged failure is that the API server does not respond, so that other writes would fail, too.
func unreachable(failed error) bool {
	var status apierrors.APIStatus
	failure, judged := fault.As(failed)
	return judged && failure.Class == fault.Retryable && !errors.As(failed, &status)
}

// judge classifies a write error: a rejection, which only a user can fix, or a temporary failure.
func (w writer) judge(agent string, err error) error {
	var status apierrors.APIStatus
	if _, judged := fault.As(err); judged {
		return err
	}
	switch {
	case apiserver.IgnoreGone(err) == nil:
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fault.Waitingf(v1alpha1.ReasonProgressing, "namespace %s is being deleted", w.set.Namespace)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return fault.Terminalf(v1alpha1.ReasonInvalid,
			"the API server rejected Agent %q: %s: correct spec.template", agent, cloud.Words(err)).Because(err)
	case apierrors.IsForbidden(err), apiserver.Denied(err):
		return fault.Terminalf(v1alpha1.ReasonAPIServer,
			"the API server rejected Agent %q: %s: change the policy that rejects it", agent, cloud.Words(err)).Because(err)
	case errors.As(err, &status):
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "Agent %q cannot be written: %s", agent, apierrors.ReasonForError(err)).Because(err)
	default:
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "Agent %q cannot be written: the API server cannot be reached", agent).Because(err)
	}
}

// isInvalidPatch reports whether a test of a JSON patch failed, because the Agent changed meanwhile, or a webhook rejected the patch
// without a cause.
func isInvalidPatch(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
		return false
	}
	details := status.Status().Details
	return details == nil || len(details.Causes) == 0
}
