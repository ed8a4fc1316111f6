/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// endpoint is the CloudProject of a reconciliation and its endpoint, to which all responses are attributed.
type endpoint struct {
	turn         *ratelimit.Turn
	CloudProject *v1alpha1.CloudProject
	Project      *connection.Connection
	Endpoint     connection.Endpoint
	// EndpointVersion and credential are the version and the credential fingerprint from the start of the reconciliation.
	EndpointVersion int
	credential      string
	judged          int // the version before it was read whether the namespace is allowed; zero if it was not read
}

// outdated ends a reconciliation whose CloudProject changed meanwhile.
func (e *endpoint) outdated() error {
	return fault.Retryablef(v1alpha1.ReasonProgressing, "CloudProject %s/%s has changed meanwhile",
		e.CloudProject.Namespace, e.CloudProject.Name).Quietly()
}

// credentialNow is the fingerprint of the current project token.
func (e *endpoint) credentialNow() string { return e.Project.Sign("") }

// found is what a check of a remote agent found at the endpoint, and with the token, of this reconciliation.
func (e *endpoint) found(id string, code fault.Code) finding {
	return finding{of: Whereabouts{id, e.Endpoint}, by: e.credential, code: code}
}

// records reports whether an Agent's record is of this endpoint, or was made through this CloudProject while its token did not contain
// the project, or the current one does not. That an agent is missing needs more: see Absence.knownHere.
func (e *endpoint) records(agent *v1alpha1.Agent) bool {
	return RecordedEndpoint(agent) == e.Endpoint || e.Endpoint.RecordedBy(agent, string(e.CloudProject.UID))
}

// ResolveProject finds the connection that the Agent may use.
func (t *Task) ResolveProject(ctx context.Context) error {
	if err := t.FindProject(ctx); err != nil {
		return err
	}
	if err := t.allowed(ctx); err != nil {
		return err
	}
	return t.connect(ctx)
}

// InShard reports whether this operator manages the Agent. An Agent whose CloudProject is
// unknown belongs to the operator that manages the strays.
func (o *Operator) InShard(ctx context.Context, a *v1alpha1.Agent) bool {
	if o.Settings.Shard.Selector == nil {
		return true
	}
	ref, named := projectref.Ref(a, o.Settings.DefaultProject)
	var cp v1alpha1.CloudProject
	if !named || o.Client.Get(ctx, ref, &cp) != nil && o.APIReader.Get(ctx, ref, &cp) != nil {
		return o.Settings.Shard.HasStrays()
	}
	return o.Settings.Shard.Has(&cp)
}

// FindProject reads the CloudProject that the Agent refers to.
func (t *Task) FindProject(ctx context.Context) error {
	ref, named := projectref.Ref(t.Agent, t.Settings.DefaultProject)
	if !named {
		return fault.Terminalf(v1alpha1.ReasonNoProject,
			"spec.projectRef is not set, and the operator has no --default-project: set spec.projectRef")
	}
	if watched := t.Settings.Namespaces; len(watched) > 0 && !slices.Contains(watched, ref.Namespace) {
		return fault.Terminalf(v1alpha1.ReasonProjectNotFound,
			"CloudProject %s is in a namespace that the operator does not watch: add it to --watch-namespaces, or correct spec.projectRef",
			ref).Coded(fault.ProjectMissing)
	}
	var cp v1alpha1.CloudProject
	if err := t.Client.Get(ctx, ref, &cp, client.UnsafeDisableDeepCopy); apierrors.IsNotFound(err) {
		return fault.Waitingf(v1alpha1.ReasonProjectNotFound,
			"CloudProject %s does not exist: create it, or correct spec.projectRef", ref).Coded(fault.ProjectMissing)
	} else if err != nil {
		return err
	}
	t.CloudProject = &cp
	return nil
}

// connect gets the shared connection of the CloudProject, once that has the terms by which the Agent is judged.
func (t *Task) connect(ctx context.Context) (err error) {
	if t.Project, err = t.Projects.Get(t.CloudProject, t.Agent.Namespace); err != nil {
		return err
	}
	t.credential = t.credentialNow()
	t.Endpoint, t.EndpointVersion = t.Project.At()
	// The namespace may have been admitted, or the Agent made, for another token.
	former := t.judged != 0 && (t.judged != t.EndpointVersion || !hasToken(ctx, t, t.Project))
	if former || !connection.Serves(t.Project, t.CloudProject) { // Last: it may change at any time.
		t.Project = nil
		return fault.Waitingf(v1alpha1.ReasonProjectNotReady, "a change of CloudProject %s/%s is not in use yet: see its conditions",
			t.CloudProject.Namespace, t.CloudProject.Name).Coded(fault.ProjectNotReady).After(fault.Spread(time.Second)).Quietly()
	}
	return nil
}

// hasToken reports whether a connection has the token of the Secret as the cache shows it.
func hasToken(ctx context.Context, t *Task, c *connection.Connection) bool {
	return connection.TokenVersion(c) == t.Version(ctx, t.CloudProject.Namespace, "Secret", t.CloudProject.Spec.TokenSecretRef.Name)
}

// Caller identifies this Agent to the rate limiter. Its requests go to the endpoint of the reconciliation alone: what another
// responds is not recorded there.
func (t *Task) Caller() ratelimit.Caller {
	return ratelimit.Caller{
		UID: t.Agent.UID, Namespace: t.Agent.Namespace, Session: t.EndpointVersion, Turn: t.turn,
		Requested: requestOf(t.Agent), Interval: intervalOf(t.CloudProject),
	}
}

// snapshots are what the API lists, at the endpoint of the reconciliation.
type snapshots struct{ *Task }

// current replaces what a snapshot showed, which is that of another endpoint if the CloudProject changed meanwhile.
func (s snapshots) current(err error) error {
	if err == nil && s.Project.Version() != s.EndpointVersion {
		return s.outdated()
	}
	return err
}

// optional takes the failure of a search that needs a list, which the Agent itself does not: a list that takes long or fails delays no
// change of it.
func (s snapshots) optional(ctx context.Context, err error) error {
	s.Searching = nil
	switch f, _ := fault.As(err); {
	case err == nil || ctx.Err() != nil:
		return err
	case s.Project.Version() != s.EndpointVersion:
		return s.outdated()
	case f != nil && f.Quiet && s.Handled():
		s.Confirm = f.RetryAfter // The list has ended by then.
	case f != nil && f.Quiet:
		s.Searching = err
	default:
		Logger(ctx).V(1).Info("Left the search for duplicates to the next check", "cause", agentstatus.Classify(err).Message)
	}
	return nil
}

// gather waits for a snapshot that was begun after a time. Whoever writes annotations, Secrets and deletions in other namespaces than
// the CloudProject's can give reasons for a later one all the time: there Agents share lists, with a pause between them.
func (s snapshots) gather(ctx context.Context, after time.Time) error {
	if s.Agent.Namespace == s.CloudProject.Namespace {
		return nil
	}
	return inventory.Gather(ctx, s.Project.Inventory, after)
}

// withMachineID are the remote agents with our machine ID, from a snapshot that was begun after a time. lists is false if the API
// does not list agents.
func (s snapshots) withMachineID(ctx context.Context, after time.Time) (found []inventory.Entry, lists bool, err error) {
	if err := s.gather(ctx, after); err != nil {
		return nil, true, err
	}
	return s.withMachineIDAtOnce(ctx, after)
}

// withMachineIDAtOnce is withMachineID for what only this reconciliation knows, and a request of it showed.
func (s snapshots) withMachineIDAtOnce(ctx context.Context, after time.Time) (found []inventory.Entry, lists bool, err error) {
	found, lists, err = s.Project.FindByMachine(ctx, s.MachineID(), after)
	return found, lists, s.current(err)
}

// lacks reports whether a snapshot that was begun after a time lacks a remote agent. lists is false if the API does not list agents.
func (s snapshots) lacks(ctx context.Context, id string, after time.Time) (lacks, lists bool, err error) {
	if err := s.gather(ctx, after); err != nil {
		return false, true, err
	}
	lacks, lists, err = s.Project.Lacks(ctx, id, after)
	return lacks, lists, s.current(err)
}

// allowed checks that the CloudProject allows the namespace of the Agent.
func (t *Task) allowed(ctx context.Context) error {
	t.judged = -1
	if shared := t.Projects.Lookup(t.CloudProject.UID); shared != nil {
		t.judged = shared.Version()
	}
	allowed, err := projectref.Allows(ctx, t.APIReader, t.CloudProject, t.Agent.Namespace)
	t.Known.Barred = err == nil && !allowed || fault.Is(err, fault.ProjectNotAllowed)
	if err != nil || allowed {
		return err
	}
	return fault.Terminalf(v1alpha1.ReasonProjectNotAllowed,
		"CloudProject %s/%s does not allow namespace %s: add it to its spec.allowedNamespaces, or use another CloudProject",
		t.CloudProject.Namespace, t.CloudProject.Name, t.Agent.Namespace).Coded(fault.ProjectNotAllowed)
}

// Version is the resourceVersion of a Secret or ConfigMap as the cache has it, empty if it is not there.
func (o *Operator) Version(ctx context.Context, namespace, kind, name string) string {
	object := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}}
	// A failed cache read counts as a change, so that the object itself is read.
	if o.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &object, client.UnsafeDisableDeepCopy) != nil {
		return ""
	}
	return object.ResourceVersion
}

// SourceVersion is the resourceVersion of the object that the configuration comes from.
func (o *Operator) SourceVersion(ctx context.Context, a *v1alpha1.Agent) string {
	from := a.Spec.RawConfigFrom
	switch {
	case from == nil:
		return ""
	case from.SecretKeyRef != nil:
		return o.Version(ctx, a.Namespace, "Secret", from.SecretKeyRef.Name)
	default:
		return o.Version(ctx, a.Namespace, "ConfigMap", from.ConfigMapKeyRef.Name)
	}
}
