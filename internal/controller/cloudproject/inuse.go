/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// namedHolders is how many Agents a message names.
const namedHolders = 5

// releaser delays the deletion of a CloudProject while Agents need it.
type releaser struct {
	client         client.Client
	apiReader      client.Reader
	projects       *connection.Registry
	recorder       events.EventRecorder
	copies         copies
	defaultProject types.NamespacedName
	namespaces     []string // that the operator watches; all if empty
	clusterID      string
}

// protect adds the finalizer to a CloudProject before anything can be registered with it. One that is being deleted is
// released once no Agent needs it; held says which Agents do.
func (r releaser) protect(ctx context.Context, cp *v1alpha1.CloudProject, m *memo) (held *fault.Error, released bool, err error) {
	users, err := r.users(ctx, client.ObjectKeyFromObject(cp))
	if err != nil {
		return nil, false, err
	}
	needs, err := r.needs(ctx, cp)
	if err != nil {
		return nil, false, err
	}
	m.agents, m.recorded = needs.count(users)
	p := r.projects.Lookup(cp.UID)
	if p != nil {
		m.duplicates = needs.duplicates(users, m.recorded, p.DuplicatesOf)
	}
	if cp.DeletionTimestamp.IsZero() {
		m.unfenced, err = r.keepFinalizer(ctx, cp, m.unfenced)
		return m.unfenced.failure, false, err
	}
	m.unfenced = unfenced{}
	// Pause registration first: then no registration can be missed below.
	if p != nil {
		p.PauseRegistration(pauseReason(cp, nil, nil))
	}
	orphan := cp.Annotations[v1alpha1.AnnotationOrphanAgents] == "true"
	if !orphan && controllerutil.ContainsFinalizer(cp, v1alpha1.CloudProjectFinalizer) {
		if held, err = r.holders(ctx, cp, users); held != nil || err != nil {
			return held, false, err
		}
	}
	now, err := r.release(ctx, cp)
	if err != nil {
		return nil, false, err
	}
	if left := names(users, holds); now && orphan && len(left) > 0 {
		r.recorder.Eventf(cp, nil, corev1.EventTypeWarning, v1alpha1.ReasonInUse, actionRelease, "%s",
			"released by annotation although it is used by "+enumerate(left))
	}
	return nil, true, nil
}

// keepFinalizer adds the finalizer. Nothing is registered while the cluster does not store it: the CloudProject, and with it the way to
// delete what was registered, could be gone at any time. What is registered is kept as usual.
func (r releaser) keepFinalizer(ctx context.Context, cp *v1alpha1.CloudProject, was unfenced) (unfenced, error) {
	base := cp.DeepCopy()
	if !controllerutil.AddFinalizer(cp, v1alpha1.CloudProjectFinalizer) {
		return unfenced{}, nil
	}
	err := patch(ctx, r.client, cp, base)
	var failure *fault.Error
	switch {
	case err == nil && controllerutil.ContainsFinalizer(cp, v1alpha1.CloudProjectFinalizer):
		return unfenced{}, nil
	case err == nil:
		failure = fault.Terminalf(v1alpha1.ReasonAPIServer, "the API server accepted and did not store the finalizer %s of the CloudProject, "+
			"which the operator needs: correct the policy or webhook that removes it", v1alpha1.CloudProjectFinalizer)
	case apiserver.Denied(err), apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		base.DeepCopyInto(cp)
		failure = fault.Terminalf(v1alpha1.ReasonAPIServer, "the finalizer %s of the CloudProject, which the operator needs, is rejected: %s: "+
			"correct the policy or webhook that rejects it", v1alpha1.CloudProjectFinalizer, agentstatus.Classify(err).Message).Because(err)
	default:
		if p := r.projects.Lookup(cp.UID); p != nil && !apiserver.Outdated(err) {
			p.PauseRegistration(pauseReason(cp, agentstatus.Classify(err), nil))
		}
		return was, err
	}
	return unfenced{failure, was.times + 1}, nil
}

// users returns the Agents of a CloudProject from the cache. They are shared: do not modify them.
func (r releaser) users(ctx context.Context, key types.NamespacedName) ([]v1alpha1.Agent, error) {
	var list v1alpha1.AgentList
	err := r.client.List(ctx, &list, client.MatchingFields{projectref.AgentIndex: key.String()}, client.UnsafeDisableDeepCopy)
	return list.Items, err
}

// holders returns the Agents that delay the deletion of a CloudProject. That there are none is confirmed by the API server.
func (r releaser) holders(ctx context.Context, cp *v1alpha1.CloudProject, users []v1alpha1.Agent) (*fault.Error, error) {
	needs, err := r.needs(ctx, cp)
	if err != nil {
		return nil, err
	}
	holding := names(users, needs.holds)
	if len(holding) == 0 && needs.err == nil {
		holding, err = r.listHolders(ctx, cp, needs)
	}
	if len(holding) == 0 {
		err = cmp.Or(err, needs.err)
		if unseen, ok := fault.As(err); ok {
			return unseen, nil
		}
		return nil, err
	}
	return fault.Waitingf(v1alpha1.ReasonInUse,
		"the deletion waits for %s, which still need this CloudProject: delete them, or keep what they registered with the annotation "+
			"%s: \"true\"",
		enumerate(holding), v1alpha1.AnnotationOrphanAgents), nil
}

// listHolders reads these Agents from the API server. A namespace that the operator may not read delays the deletion only
// if its Agents may be allowed to use the CloudProject.
func (r releaser) listHolders(ctx context.Context, cp *v1alpha1.CloudProject, needs *needs) ([]string, error) {
	key, shared := client.ObjectKeyFromObject(cp), sharedByNamespaces(cp)
	uses := func(agent *v1alpha1.Agent) bool {
		ref, ok := projectref.Ref(agent, r.defaultProject)
		return ok && ref == key && needs.holds(agent)
	}
	namespaces := r.namespaces
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	var holding []string
	for _, namespace := range namespaces {
		sizes := pagesOf(ctx, r.client, namespace)
		var list v1alpha1.AgentList
		last := ""
		for more := true; more; more = list.Continue != "" {
			err := r.apiReader.List(ctx, &list, client.InNamespace(namespace), sizes.limit(last), client.Continue(list.Continue))
			if apierrors.IsForbidden(err) && namespace != "" && namespace != cp.Namespace {
				if shared {
					return nil, unreadable(namespace)
				}
				break
			}
			if err != nil {
				return nil, err
			}
			holding = append(holding, names(list.Items, uses)...)
			if n := len(list.Items); n > 0 {
				last = listKey(&list.Items[n-1])
			}
		}
	}
	return holding, nil
}

// sharedByNamespaces reports whether Agents of other namespaces may be allowed to use a CloudProject.
func sharedByNamespaces(cp *v1alpha1.CloudProject) bool {
	allowed := cp.Spec.AllowedNamespaces
	return allowed != nil && allowed.From != v1alpha1.NamespacesFromSame && allowed.From != ""
}

func unreadable(namespace string) *fault.Error {
	return fault.Waitingf(v1alpha1.ReasonInUse,
		"the deletion waits for namespace %s, where the operator has no rights to see whether Agents need it: restore the namespace "+
			"with its Role, remove it from --watch-namespaces, or release the CloudProject with the annotation %s: \"true\"",
		namespace, v1alpha1.AnnotationOrphanAgents)
}

// holds reports whether an Agent may have something remote to delete. The finalizer alone shows nothing: it stays when the API
// refuses a registration, and users can write it.
func holds(agent *v1alpha1.Agent) bool {
	if !agent.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(agent, v1alpha1.AgentFinalizer) {
		return false
	}
	intent := registration.ParseIntent(agent.Annotations[v1alpha1.AnnotationRegistrationIntent])
	open := !intent.IsZero() && !intent.Spent(registration.ParseIntent(agent.Status.RegistrationIntent))
	return agent.Status.ID != "" || len(agent.Status.DuplicatesToDelete) > 0 || open
}

func names(agents []v1alpha1.Agent, wanted func(*v1alpha1.Agent) bool) []string {
	var found []string
	for i := range agents {
		if wanted(&agents[i]) {
			found = append(found, client.ObjectKeyFromObject(&agents[i]).String())
		}
	}
	return found
}

// enumerate names the first Agents, and counts the others.
func enumerate(agents []string) string {
	slices.Sort(agents)
	shown, rest := agents[:min(len(agents), namedHolders)], max(len(agents)-namedHolders, 0)
	text := "Agents " + strings.Join(shown, ", ")
	if len(agents) == 1 {
		text = "Agent " + agents[0]
	}
	if rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}

// release deletes the copy of the credentials and removes the finalizer. now is false if that was done before, which the
// cache may not show yet.
func (r releaser) release(ctx context.Context, cp *v1alpha1.CloudProject) (now bool, err error) {
	if err := r.copies.remove(ctx, cp); err != nil {
		return false, err
	}
	base := cp.DeepCopy()
	if !controllerutil.RemoveFinalizer(cp, v1alpha1.CloudProjectFinalizer) {
		return false, nil
	}
	if err := patch(ctx, r.client, cp, base); err != nil {
		return false, apiserver.IgnoreGone(err)
	}
	logf.FromContext(ctx).Info("Released the CloudProject")
	return true, nil
}

// gone removes the finalizer of a deleted CloudProject's copy of the credentials. It is left if somebody else removed the
// finalizer of the CloudProject.
func (r releaser) gone(ctx context.Context, key types.NamespacedName) error {
	cp := &v1alpha1.CloudProject{}
	cp.Namespace, cp.Name = key.Namespace, key.Name
	secret, err := r.copies.find(ctx, cp)
	if err != nil || secret == nil || secret.DeletionTimestamp == nil || !ours(secret, cp) {
		return err
	}
	if err := r.apiReader.Get(ctx, key, cp); !apierrors.IsNotFound(err) {
		return err
	}
	return r.copies.removeFinalizer(ctx, secret)
}
