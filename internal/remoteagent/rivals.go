/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// rivals are the other Agents of the cluster that have or want the same remote agent or machine ID.
type rivals struct{ *Task }

// unowned refuses a remote agent that belongs to another Agent: the one whose name the machine ID is derived from, else
// the one that has it recorded, as precedes orders them.
func (r rivals) unowned(ctx context.Context, remote *cloud.Agent) error {
	if remote.MachineID == r.derived() {
		return nil
	}
	others, err := r.having(ctx, remoteIndex, remote.ID)
	if err != nil {
		return err
	}
	recordedHere := r.Agent.Status.ID == remote.ID && r.has(r.Agent)
	for i := range others {
		other := &others[i]
		if other.UID == r.Agent.UID || !r.has(other) { // An ID means something only at its endpoint.
			continue
		}
		theirs := remote.MachineID == registration.DerivedMachineID(r.Settings.ClusterID, other.Namespace, other.Name)
		if recordedHere && !theirs && precedes(r.Agent, other, r.Endpoint.URL) {
			continue
		}
		return r.owned(other, remote.ID)
	}
	if recordedHere {
		return nil
	}
	if owner := r.leases.take(leaseOn(connection.Endpoint{URL: r.Endpoint.URL}, "agent", remote.ID), r.Key()); owner != r.Key() {
		return r.owned(r.other(ctx, owner), remote.ID)
	}
	return nil
}

// has reports whether what an Agent has recorded is here: at this URL, whatever the project, or known to be of this project since before
// the url of its CloudProject changed: it may be suspended, or not be checked yet.
func (r rivals) has(agent *v1alpha1.Agent) bool {
	return RecordedEndpoint(agent).URL == r.Endpoint.URL || r.registeredHere(agent)
}

// owned waits while the owner of the remote agent is being deleted, and otherwise refuses the remote agent.
func (r rivals) owned(other *v1alpha1.Agent, id string) error {
	remote := "the remote agent " + id
	if other.Namespace != r.Agent.Namespace {
		remote = Evidence{r.Task}.named("the remote agent", id)
	}
	if !other.DeletionTimestamp.IsZero() {
		return fault.Retryablef(v1alpha1.ReasonRemoteAlreadyManaged,
			"%s belongs to %s, which is being deleted", remote, r.called(other)).Coded(fault.RemoteOwned)
	}
	return fault.Terminalf(v1alpha1.ReasonRemoteAlreadyManaged,
		"%s belongs to %s: delete one of the two Agents (this one makes no remote changes)", remote, r.called(other)).
		Coded(fault.RemoteOwned)
}

// called names another Agent, but hides an Agent of another namespace from a namespace that may not adopt.
func (r rivals) called(other *v1alpha1.Agent) string {
	if other.Namespace != r.Agent.Namespace && !r.mayAdopt() {
		return "an Agent of another namespace"
	}
	return "Agent " + other.Namespace + "/" + other.Name
}

// other reads another Agent from the cache. If the cache does not have it, it counts as being deleted.
func (r rivals) other(ctx context.Context, key types.NamespacedName) *v1alpha1.Agent {
	var other v1alpha1.Agent
	if r.Client.Get(ctx, key, &other) != nil {
		other.Namespace, other.Name, other.DeletionTimestamp = key.Namespace, key.Name, new(metav1.Now())
	}
	return &other
}

// precedes reports whether of two Agents with records of one remote agent the first keeps it: the one that has it at this url, or else
// the older.
func precedes(a, b *v1alpha1.Agent, url string) bool {
	if here := RecordedEndpoint(a).URL == url; here != (RecordedEndpoint(b).URL == url) {
		return here
	}
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// misdirected refuses a response that names the remote agent of another Agent.
func (r rivals) misdirected(ctx context.Context, id, machineID string) error {
	others, err := r.having(ctx, remoteIndex, id)
	if err != nil {
		return err
	}
	for i := range others {
		// One with our machine ID adopted what is ours by derivation.
		if other := &others[i]; other.UID != r.Agent.UID && r.has(other) && other.Status.MachineID != machineID {
			return r.owned(other, id)
		}
	}
	return r.unowned(ctx, &cloud.Agent{ID: id, MachineID: machineID})
}

// machineIDFree refuses to register a machine ID that another Agent of the cluster has in the same project. The Agent
// whose name the machine ID is derived from always gets it: any other Agent yields.
func (r rivals) machineIDFree(ctx context.Context) error {
	if !r.explicit() {
		for _, what := range r.machineLeases() {
			r.leases.seize(what, r.Key())
		}
		return nil
	}
	// An Agent that is being deleted cannot choose another machine ID. One that was registered here keeps its own: the cluster's ID may have
	// changed since.
	chosen := r.Agent.Spec.MachineID != "" || RecordedEndpoint(r.Agent) != r.Endpoint
	if chosen && registration.LooksDerived(r.MachineID()) && !r.mayAdopt() && r.Agent.DeletionTimestamp.IsZero() {
		return fault.Terminalf(v1alpha1.ReasonMachineIDConflict,
			"spec.machineID: %q has the form of the machine IDs that the operator derives from the names of Agents, and could be that "+
				"of another: delete this Agent and create it with another machineID, or without one", r.MachineID())
	}
	others, err := r.having(ctx, machineIndex, r.MachineID())
	if err != nil {
		return err
	}
	for i := range others {
		other := &others[i]
		if other.UID == r.Agent.UID || other.Status.ID == "" {
			continue
		}
		if !r.registeredHere(other) {
			continue
		}
		if RecordedEndpoint(other).URL != r.Endpoint.URL { // It may be a former installation, which it has left.
			if wants, err := r.registersHere(ctx, other); err != nil {
				return err
			} else if !wants {
				continue
			}
		}
		return r.machineIDOf(other)
	}
	if r.leases.holds(r.machineLeases(), r.Key()) {
		return nil
	}
	// Leases end with the process, a registration in doubt does not: the first that was begun has the machine ID.
	mine := r.Open() && Evidence{r.Task}.authentic()
	doubtful, err := begunBy(ctx, r, r.MachineID())
	if err != nil {
		return err
	}
	for _, other := range doubtful {
		if !mine || r.MachineID() == derived(other, r.clusterID) || IntentOf(other).First.Before(r.Intent().First) {
			return r.machineIDOf(other)
		}
	}
	for _, what := range r.machineLeases() {
		if err := r.leaseFree(ctx, what); err != nil {
			return err
		}
	}
	return nil
}

// unclaimed refuses to adopt a remote agent that a registration of another Agent, whose outcome is unknown, may have created.
func (r rivals) unclaimed(ctx context.Context, remote *cloud.Agent) error {
	others, err := begunBy(ctx, r, remote.MachineID)
	window := Evidence{r.Task}.window()
	for _, other := range others { // None after an error.
		intent, own := IntentOf(other), remote.MachineID == derived(other, r.clusterID)
		if window.Covers(intent, remote.CreatedAt) || own && window.Follows(intent, remote.CreatedAt) {
			return fault.Waitingf(v1alpha1.ReasonRemoteAlreadyManaged,
				"a registration of %s, whose outcome is unknown, may have created the agent: wait, or delete that Agent",
				r.called(other)).Coded(fault.RemoteOwned).After(r.Settings.Slack)
		}
	}
	return err
}

// begunBy are the other Agents with a registration of a machine ID in the same project whose outcome is unknown, for however long:
// an outage, a filter or a suspension keeps them from asking.
func begunBy(ctx context.Context, r rivals, id string) (found []*v1alpha1.Agent, err error) {
	others, err := r.having(ctx, intentIndex, intentOpen)
	if err != nil {
		return nil, err
	}
	for i := range others {
		other := &others[i]
		if other.UID == r.Agent.UID || machineID(other, r.clusterID) != id {
			continue
		}
		if here, err := begun(ctx, r, other); err != nil {
			return nil, err
		} else if here {
			found = append(found, other)
		}
	}
	return found, nil
}

// begun reports whether another Agent has begun its open registration in the same project, with a token that its CloudProject has or had:
// whoever may write the Agent may write the intent. A derived machine ID is its own, whatever the intent.
func begun(ctx context.Context, r rivals, other *v1alpha1.Agent) (bool, error) {
	ref, named := projectref.Ref(other, r.Settings.DefaultProject)
	var cp v1alpha1.CloudProject
	if !named || r.Client.Get(ctx, ref, &cp, client.UnsafeDisableDeepCopy) != nil {
		return false, nil
	}
	through, now := r.Projects.Lookup(cp.UID), r.Clock.Now()
	own := machineID(other, r.clusterID) == derived(other, r.clusterID)
	if through != nil && !own && !connection.Signed(through, func(url string, sign func(text string) string) bool {
		return IntentOf(other).Authentic(Subject(other, r.clusterID, url), sign)
	}) {
		return false, nil
	}
	here, err := r.registersHere(ctx, other)
	if here || err != nil || through != nil && through.Result().Verified {
		return here, err
	}
	// What is known of a project ends with the process. Its status, which no tenant writes, shows what it once was.
	was := connection.Recorded(cp.Status.URL, cp.Status.ProjectID)
	if was == r.Endpoint && now.Sub(r.leases.kept(now)) < r.Settings.Slack {
		return false, fault.Waitingf(v1alpha1.ReasonProgressing, "the operator has just started, and has not verified all CloudProjects yet").
			After(fault.Spread(time.Second))
	}
	return false, nil
}

// leaseFree takes the lease on a machine ID, also from an Agent that may no longer register in this project.
func (r rivals) leaseFree(ctx context.Context, what lease) error {
	owner := r.leases.take(what, r.Key())
	if owner == r.Key() {
		return nil
	}
	other := r.other(ctx, owner)
	if other.UID != "" { // The cache has it.
		if wants, err := r.registersHere(ctx, other); err != nil {
			return err
		} else if !wants {
			r.leases.seize(what, r.Key())
			return nil
		}
	}
	return r.machineIDOf(other)
}

// registeredHere reports whether an Agent's record is of the same project, also at a former URL of it. Anybody may refer to a CloudProject,
// or name its URL and project: the record has to be made through it, or through one that is known to be of the same project.
func (r rivals) registeredHere(agent *v1alpha1.Agent) bool {
	project, here := agent.Status.ProjectID, r.Endpoint.ProjectID
	return r.sameProject(types.UID(agent.Status.CloudProjectUID)) && (project == here || project == "" || here == "")
}

// registersHere reports whether another Agent may register in the same project.
func (r rivals) registersHere(ctx context.Context, other *v1alpha1.Agent) (bool, error) {
	ref, named := projectref.Ref(other, r.Settings.DefaultProject)
	var cp v1alpha1.CloudProject
	if !named || r.Client.Get(ctx, ref, &cp, client.UnsafeDisableDeepCopy) != nil || !r.sameProject(cp.UID) {
		return false, nil
	}
	allowed, err := projectref.Allows(ctx, r.APIReader, &cp, other.Namespace)
	if fault.Is(err, fault.ProjectNotAllowed) {
		return false, nil // The other CloudProject's selector is not valid.
	}
	return allowed, err
}

// sameProject reports whether a CloudProject is of the same project. That both name it in spec.projectID is not enough: otherwise naming a
// project would reveal who has a machine ID in it.
func (r rivals) sameProject(cloudProject types.UID) bool {
	if cloudProject == r.CloudProject.UID {
		return true
	}
	other := r.Projects.Lookup(cloudProject)
	return other != nil && connection.SameProject(r.Project, other, r.Endpoint)
}

// machineLeases are on the machine ID in this CloudProject, whose token may be replaced, among those with this token, and, once more than
// spec.projectID shows which project that is, in the project.
func (r rivals) machineLeases() []lease {
	all := []lease{
		leaseOn(r.Endpoint, "machine of CloudProject "+string(r.CloudProject.UID), r.MachineID()),
		leaseOn(r.Endpoint, "machine of token "+r.Project.Sign("lease"), r.MachineID()),
	}
	if r.Project.Vouched() {
		all = append(all, leaseOn(r.Endpoint, "machine", r.MachineID()))
	}
	return all
}

// machineIDOf waits while the Agent with the same machine ID is being deleted, and otherwise refuses the machine ID.
func (r rivals) machineIDOf(other *v1alpha1.Agent) error {
	if !other.DeletionTimestamp.IsZero() {
		return fault.Retryablef(v1alpha1.ReasonMachineIDConflict,
			"spec.machineID: %s has the machine ID %q and is being deleted", r.called(other), r.MachineID()).Coded(fault.MachineIDLeased)
	}
	return fault.Terminalf(v1alpha1.ReasonMachineIDConflict,
		"spec.machineID: %s has the machine ID %q already: delete this Agent and create it with another machineID, or without one",
		r.called(other), r.MachineID()).Coded(fault.MachineIDLeased)
}

// machineIDTaken refuses a machine ID that another remote agent has.
func (r rivals) machineIDTaken(id string) *fault.Error {
	which := "another agent of the project"
	if id != "" && (Evidence{r.Task}).mayName(id) {
		which = "agent " + id + " of the project"
	}
	return fault.Terminalf(v1alpha1.ReasonMachineIDConflict,
		"spec.machineID: %s has the machine ID %q: "+agentstatus.MachineIDRemedy, which, r.MachineID())
}
