/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	intents "github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
)

// needs decides which Agents need a CloudProject for their deletion. Users can write the finalizer and the registration
// intent of any Agent, so in a namespace that is not allowed only a record at this endpoint or an authentic intent counts.
// The agent controller applies the same rule before it uses the credentials for such an Agent.
type needs struct {
	allows func(namespace string) (bool, error)
	uid    string
	place  connection.Endpoint
	sign   intents.Signer  // nil without credentials
	id     string          // of the cluster
	unused bool            // there was never a copy of the credentials, so no intent was signed with them
	known  map[string]bool // namespaces already decided
	err    error           // why a namespace could not be read; that an Agent does not hold is void then
}

func (r releaser) needs(ctx context.Context, cp *v1alpha1.CloudProject) (*needs, error) {
	n := &needs{
		allows: func(namespace string) (bool, error) { return projectref.Allows(ctx, r.apiReader, cp, namespace) },
		uid:    string(cp.UID),
		place:  connection.Recorded(cp.Status.URL, cp.Status.ProjectID),
		known:  map[string]bool{},
		id:     r.clusterID,
	}
	if p := r.projects.Lookup(cp.UID); p != nil {
		n.place, n.sign = p.Endpoint(), p.Sign
		return n, nil
	}
	// There is no connection yet, or the spec is not usable. Nothing is registered before there is a copy of the credentials.
	secret, err := r.copies.find(ctx, cp)
	if secret != nil && ours(secret, cp) {
		n.sign = connection.Signer(contents(secret).Token)
	} else {
		n.unused = true
	}
	return n, err
}

// holds reports whether an Agent may have something remote to delete with this CloudProject.
func (n *needs) holds(agent *v1alpha1.Agent) bool {
	return holds(agent) && !n.copied(agent) && (n.recorded(agent) || n.registering(agent) || n.allowed(agent.Namespace))
}

// copied reports whether an Agent has nothing but the intent of another, whose manifest it was copied from.
func (n *needs) copied(agent *v1alpha1.Agent) bool {
	return agent.Status.ID == "" && len(agent.Status.DuplicatesToDelete) == 0 && remoteagent.ForeignIntent(agent, n.id)
}

// uses reports whether an Agent counts for this CloudProject: anybody may refer to it, and the resync interval grows with
// the number of Agents. Conditions that need no read of a namespace come first.
func (n *needs) uses(agent *v1alpha1.Agent) bool {
	return n.recorded(agent) || n.sign != nil && n.registering(agent) || n.allowed(agent.Namespace)
}

// count returns the number of Agents that use the CloudProject, by namespace, and the remote agents that they record, without those
// that are not checked or being deleted. An Agent whose namespace cannot be read counts only once it is registered.
func (n *needs) count(agents []v1alpha1.Agent) (counted map[string]int, recorded map[types.UID]string) {
	counted, recorded = map[string]int{}, map[types.UID]string{}
	for i := range agents {
		agent := &agents[i]
		if !n.uses(agent) {
			continue
		}
		counted[agent.Namespace]++
		if agent.Status.ID != "" && !agent.Spec.Suspend && agent.DeletionTimestamp.IsZero() &&
			(n.recorded(agent) || n.registered(agent)) {
			recorded[agent.UID] = agent.Status.ID
		}
	}
	return counted, recorded
}

// duplicates returns the duplicates of the Agents that are still checked here, sorted; the first hundred at most. An Agent that left, is
// suspended or is no longer allowed does not learn that its duplicates were deleted.
func (n *needs) duplicates(agents []v1alpha1.Agent, recorded map[types.UID]string, of func(types.UID) []string) []string {
	const most = 100
	var all []string
	for i := range agents {
		agent := &agents[i]
		ids := of(agent.UID)
		if len(ids) == 0 || recorded[agent.UID] == "" {
			continue
		}
		if n.allowed(agent.Namespace) || n.err != nil { // That the namespace cannot be read now changes nothing.
			all = append(all, ids...)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), most)]
}

func (n *needs) allowed(namespace string) bool {
	if allowed, known := n.known[namespace]; known {
		return allowed
	}
	allowed, err := n.allows(namespace)
	switch _, invalid := fault.As(err); {
	case apierrors.IsForbidden(err):
		n.err = unreadable(namespace)
	case err != nil && !invalid && !apierrors.IsNotFound(err):
		n.err = err
	}
	n.known[namespace] = allowed
	return allowed
}

// recorded reports whether an Agent has a record made through this CloudProject. Another CloudProject may have the same URL
// and spec.projectID, so the UID has to match.
func (n *needs) recorded(agent *v1alpha1.Agent) bool {
	return n.place.RecordedBy(agent, n.uid)
}

// registered reports whether an Agent records here what was registered with this token, through a CloudProject that was created again.
// The safeguard counts these Agents like those with a record made through this one.
func (n *needs) registered(agent *v1alpha1.Agent) bool {
	return n.sign != nil && agent.Status.Origin == v1alpha1.OriginRegistered && n.place == remoteagent.RecordedEndpoint(agent) &&
		n.authentic(agent, remoteagent.ClosedIntent(agent))
}

// registering reports whether an intent in doubt may have registered something here. Without credentials an intent cannot
// be authenticated; if they were never copied, it is forged.
func (n *needs) registering(agent *v1alpha1.Agent) bool {
	intent := remoteagent.IntentOf(agent)
	if n.unused || intent.IsZero() || intent.Spent(remoteagent.ClosedIntent(agent)) {
		return false
	}
	return n.sign == nil || n.authentic(agent, intent)
}

// authentic reports whether an intent of an Agent was signed with this token, for this URL.
func (n *needs) authentic(agent *v1alpha1.Agent, intent intents.Intent) bool {
	return intent.Authentic(remoteagent.Subject(agent, n.id, n.place.URL), n.sign)
}
