/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// resolveProject finds the way to the service that the Agent may use.
func (p *pass) resolveProject(ctx context.Context) error {
	if err := p.findProject(ctx); err != nil {
		return err
	}
	if err := p.admitted(ctx); err != nil {
		return err
	}
	return p.connect()
}

// inShard reports whether this operator looks after the Agent. One whose CloudProject cannot be told is looked
// after by the operator that tells so.
func (p *pass) inShard(ctx context.Context) bool {
	if p.Settings.Shard.Selector == nil {
		return true
	}
	ref, named := projectref.Ref(p.agent, p.Settings.DefaultProject)
	var cp v1alpha1.CloudProject
	if !named || p.Client.Get(ctx, ref, &cp) != nil && p.APIReader.Get(ctx, ref, &cp) != nil {
		return p.Settings.Shard.HasStrays()
	}
	return p.Settings.Shard.Has(&cp)
}

// findProject reads the CloudProject that the Agent refers to.
func (p *pass) findProject(ctx context.Context) error {
	ref, named := projectref.Ref(p.agent, p.Settings.DefaultProject)
	if !named {
		return fault.Terminalf(v1alpha1.ReasonNoProject,
			"spec.projectRef is not set, and the operator has no --default-project: set spec.projectRef")
	}
	if watched := p.Settings.Namespaces; len(watched) > 0 && !slices.Contains(watched, ref.Namespace) {
		return fault.Terminalf(v1alpha1.ReasonProjectNotFound,
			"CloudProject %s is in a namespace that the operator does not look after: add it to --watch-namespaces, or correct spec.projectRef",
			ref)
	}
	var cp v1alpha1.CloudProject
	if err := p.Client.Get(ctx, ref, &cp, client.UnsafeDisableDeepCopy); apierrors.IsNotFound(err) {
		return fault.Waitingf(v1alpha1.ReasonProjectNotFound,
			"CloudProject %s does not exist: create it, or correct spec.projectRef", ref)
	} else if err != nil {
		return err
	}
	p.cloudProject = &cp
	return nil
}

// connect takes the shared client of the CloudProject. What the pass is told it takes to be said of where that
// leads to now.
func (p *pass) connect() (err error) {
	if p.project, err = p.Projects.Get(p.cloudProject); err == nil {
		p.shown = p.credential()
		p.place, p.placed = p.project.At()
	}
	return err
}

// caller is who the rate limit counts the calls of this pass for.
func (p *pass) caller() ratelimit.Caller {
	return ratelimit.Caller{UID: p.agent.UID, Namespace: p.agent.Namespace}
}

// outdated ends a pass whose CloudProject changed under it.
func (p *pass) outdated() error {
	return fault.Retryablef(v1alpha1.ReasonProgressing, "CloudProject %s/%s has changed meanwhile",
		p.cloudProject.Namespace, p.cloudProject.Name).Quietly()
}

// admitted asks the CloudProject whether it lets this namespace use it.
func (p *pass) admitted(ctx context.Context) error {
	allowed, err := projectref.Allows(ctx, p.APIReader, p.cloudProject, p.agent.Namespace)
	if err != nil || allowed {
		return err
	}
	return fault.Terminalf(v1alpha1.ReasonProjectNotAllowed,
		"CloudProject %s/%s does not admit namespace %s: add it to its spec.allowedNamespaces, or use another one",
		p.cloudProject.Namespace, p.cloudProject.Name, p.agent.Namespace)
}

// version is the resourceVersion of a Secret or ConfigMap as the cache has it, empty if it is not there.
func (p *pass) version(ctx context.Context, kind, name string) string {
	object := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}}
	// A cache that fails to answer reads as a changed object, which is then looked at for itself.
	if p.Client.Get(ctx, client.ObjectKey{Namespace: p.agent.Namespace, Name: name}, &object, client.UnsafeDisableDeepCopy) != nil {
		return ""
	}
	return object.ResourceVersion
}

// sourceVersion is the resourceVersion of the object that rawConfig comes from.
func (p *pass) sourceVersion(ctx context.Context) string {
	from := p.agent.Spec.RawConfigFrom
	switch {
	case from == nil:
		return ""
	case from.SecretKeyRef != nil:
		return p.version(ctx, "Secret", from.SecretKeyRef.Name)
	default:
		return p.version(ctx, "ConfigMap", from.ConfigMapKeyRef.Name)
	}
}
