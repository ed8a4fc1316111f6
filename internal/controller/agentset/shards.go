/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// readShards returns the Secrets with sessions; those that changed since are read from the API server.
func (p *pass) readShards(ctx context.Context) ([]shard, error) {
	count := int(max(p.set.Spec.Sessions.Shards, 1))
	known := p.memory.shards
	shards := make([]shard, count)
	for i := range shards {
		name := agentset.SecretName(p.set.Name, p.set.Spec.Sessions.SecretName, i)
		if i < len(known) && known[i].name == name && p.unchanged(ctx, &known[i]) {
			shards[i] = known[i]
			continue
		}
		read, err := p.readShard(ctx, name)
		if err != nil {
			return nil, err
		}
		shards[i] = read
	}
	p.memory.shards = shards
	for _, shard := range shards {
		switch shard.verdict {
		case tokensecret.Foreign:
			return nil, fault.Terminalf(v1alpha1.ReasonSecretConflict,
				"Secret %q exists and is not this AgentSet's: delete it, or set another spec.sessions.secretName", shard.name)
		case tokensecret.Doomed:
			return nil, fault.Waitingf(v1alpha1.ReasonProgressing, "Secret %q is being deleted", shard.name).After(staleWait * 20)
		}
	}
	return shards, nil
}

// unchanged reports whether a Secret is as this process last read or wrote it. The cache may be behind this process's writes.
func (p *pass) unchanged(ctx context.Context, known *shard) bool {
	cached := p.version(ctx, known.name)
	if cached != "" {
		delete(p.memory.created, known.name)
	}
	switch {
	case known.verdict == tokensecret.Absent:
		return cached == ""
	case cached == "": // Deleted, or not shown yet.
		return p.memory.fresh(known.name, p.Clock.Now())
	case cached == known.version:
		return true
	}
	return kubecache.Behind(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: cached}}, known.version)
}

func (p *pass) readShard(ctx context.Context, name string) (shard, error) {
	var secret corev1.Secret
	err := p.APIReader.Get(ctx, client.ObjectKey{Namespace: p.set.Namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return shard{name: name, stored: map[string]agentset.Stored{}}, nil
	}
	if err != nil {
		return shard{}, readFailure(name, err)
	}
	read := shard{
		name: name, version: secret.ResourceVersion, uid: secret.UID, verdict: tokensecret.JudgeShard(p.set, &secret),
		stored: map[string]agentset.Stored{},
	}
	for slot, entry := range tokensecret.Entries(&secret) {
		read.stored[slot] = agentset.Stored{Digest: tokensecret.EntryDigest(entry), Size: agentset.Size(entry)}
	}
	return read, nil
}

// writeShards executes the plan: one write for each Secret.
func (p *pass) writeShards(
	ctx context.Context, agents map[string]*v1alpha1.Agent, fresh map[string]session,
	wanted map[string]agentset.Wanted, stored []map[string]agentset.Stored,
) error {
	if slices.ContainsFunc(p.memory.shards, func(s shard) bool { return s.verdict == tokensecret.Ownerless }) {
		if err := p.stillExists(ctx); err != nil {
			return err
		}
	}
	var missing []string
	for _, write := range p.plan.Writes {
		for _, slot := range write.Set {
			if fresh[slot] == nil {
				missing = append(missing, slot)
			}
		}
	}
	more, err := p.readSessions(ctx, agents, missing)
	if err != nil {
		return err
	}
	maps.Copy(fresh, more)
	written := 0
	for _, write := range p.plan.Writes {
		if err = p.writeShard(ctx, write, fresh); err != nil {
			break
		}
		written++
	}
	pause := agentset.Pause(written)
	p.memory.free = p.Clock.Now().Add(pause)
	p.sooner(pause)
	if err != nil {
		return err
	}
	p.countStored(wanted, stored)
	if len(p.plan.Renewed) > 0 {
		p.sessionsRenewed(ctx, p.plan.Renewed)
	}
	return nil
}

// writeShard creates or patches one Secret, and remembers its content.
func (p *pass) writeShard(ctx context.Context, write agentset.Write, fresh map[string]session) error {
	shard := &p.memory.shards[write.Shard]
	data := map[string][]byte{}
	for _, slot := range write.Remove {
		for key := range tokensecret.Entry(slot, nil) {
			data[key] = nil
		}
	}
	for _, slot := range write.Set {
		maps.Copy(data, fresh[slot])
	}
	var err error
	if shard.verdict == tokensecret.Absent {
		err = p.createShard(ctx, shard, data)
	} else {
		err = p.patchShard(ctx, shard, data)
	}
	if err != nil {
		p.memory.shards = nil // Read it again, whatever it is.
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
			return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q was changed meanwhile", shard.name).Quietly().Because(err)
		}
		return p.refused(shard.name, err)
	}
	for _, slot := range write.Remove {
		delete(shard.stored, slot)
	}
	for _, slot := range write.Set {
		known := p.memory.sources[slot]
		shard.stored[slot] = agentset.Stored{Digest: known.Digest, Size: known.Size}
	}
	return nil
}

func (p *pass) createShard(ctx context.Context, shard *shard, data map[string][]byte) error {
	maps.DeleteFunc(data, func(_ string, value []byte) bool { return value == nil })
	secret := tokensecret.NewShard(p.set, shard.name, agentset.OwnerReference(p.set), data)
	if err := p.Client.Create(ctx, secret); err != nil {
		return err
	}
	shard.version, shard.uid, shard.verdict = secret.ResourceVersion, secret.UID, tokensecret.Ours
	p.memory.wrote(shard.name, p.Clock.Now())
	return nil
}

func (p *pass) patchShard(ctx context.Context, shard *shard, data map[string][]byte) error {
	written := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: p.set.Namespace, Name: shard.name}}
	written.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	known := &metav1.ObjectMeta{UID: shard.uid, ResourceVersion: shard.version}
	patch, err := tokensecret.ShardPatch(known, data)
	if shard.verdict == tokensecret.Ownerless {
		patch, err = tokensecret.AdoptShardPatch(p.set, agentset.OwnerReference(p.set), known, data)
	}
	if err != nil {
		return err
	}
	if err := p.Client.Patch(ctx, written, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	shard.version, shard.verdict = written.ResourceVersion, tokensecret.Ours
	return nil
}

// adopt adds a write for each Secret without an owner, which the set makes its own.
func (p *pass) adopt(shards []shard) {
	for i := range shards {
		planned := slices.ContainsFunc(p.plan.Writes, func(write agentset.Write) bool { return write.Shard == i })
		if shards[i].verdict == tokensecret.Ownerless && !planned {
			p.plan.Writes = append(p.plan.Writes, agentset.Write{Shard: i})
		}
	}
}

// refused classifies an API server error about a Secret with sessions.
func (p *pass) refused(name string, err error) error {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fault.Waitingf(v1alpha1.ReasonProgressing, "namespace %s is being deleted", p.set.Namespace)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return fault.Terminalf(v1alpha1.ReasonSecretWriteRefused,
			"the API server rejected Secret %q: %v: change the policy that rejects it, or set another spec.sessions.secretName",
			name, err).Because(err)
	default:
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q cannot be written", name).Because(err)
	}
}

// removeExcess deletes the Secrets that had sessions before the number or the name of the Secrets changed.
func (p *pass) removeExcess(ctx context.Context) error {
	var kept []string
	for _, shard := range p.memory.shards {
		kept = append(kept, shard.name)
	}
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := p.Client.List(ctx, secrets, client.InNamespace(p.set.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingLabels{v1alpha1.LabelAgentSetUID: string(p.set.UID)})
	if err != nil {
		return err
	}
	for i := range secrets.Items {
		name := secrets.Items[i].Name
		if slices.Contains(kept, name) {
			continue
		}
		found, err := p.readShard(ctx, name)
		if err != nil {
			return err
		}
		if found.verdict != tokensecret.Ours {
			continue
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.set.Namespace, Name: name}}
		err = p.Client.Delete(ctx, secret, client.Preconditions{UID: &found.uid, ResourceVersion: &found.version})
		if client.IgnoreNotFound(err) != nil {
			return p.refused(name, err)
		}
	}
	return nil
}
