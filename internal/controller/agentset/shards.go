/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// mostKeys is more than the keys of all sessions that fit into a Secret. Each takes many times its bytes once it is read.
const mostKeys = 8 << 10

// shard is one of the Secrets with sessions.
type shard struct {
	name, version string
	at            time.Time // when this process read or wrote it
	uid           types.UID
	verdict       tokensecret.Verdict
	stored        map[string]agentset.Stored
	unknown       bool  // a write or a read failed: it is read again, whatever it is
	unread        error // why it could not be read
}

// failure is why the set does not write the Secret; nil if it may.
func (s *shard) failure() error {
	switch s.verdict {
	case tokensecret.Foreign:
		return fault.Terminalf(v1alpha1.ReasonSecretConflict,
			"Secret %q exists and is not this AgentSet's: delete it, or set another spec.sessions.secretName", s.name)
	case tokensecret.Doomed:
		return fault.Waitingf(v1alpha1.ReasonProgressing, "Secret %q is being deleted", s.name).After(staleWait * 20)
	default:
		return s.unread
	}
}

// shardStore reads and writes the Secrets with the sessions of a set. What it knows of them is in memory.shards.
type shardStore struct {
	client    client.Client
	apiReader client.Reader
	clock     clock.PassiveClock
	set       *v1alpha1.AgentSet
	memory    *memory
}

// read returns what each Secret with sessions holds; those that changed since are read from the API server. A Secret that failed holds
// nothing, and does not keep the others from being written; there are none if the API server does not respond.
func (s shardStore) read(ctx context.Context) (stored []map[string]agentset.Stored, failed error) {
	count := int(max(s.set.Spec.Sessions.Shards, 1))
	known := s.memory.shards
	shards := make([]shard, count)
	for i := range shards {
		name := agentset.SecretName(s.set.Name, s.set.Spec.Sessions.SecretName, i)
		if i < len(known) && known[i].name == name && !known[i].unknown && s.unchanged(ctx, &known[i]) {
			shards[i] = known[i]
			continue
		}
		read, err := s.one(ctx, name)
		if unreachable(err) {
			return nil, err
		}
		if err != nil {
			read = shard{name: name, unknown: true, unread: err}
		}
		shards[i] = read
	}
	s.memory.shards = shards
	for i := range shards {
		failure := shards[i].failure()
		failed = firstRetried(failed, failure)
		if failure != nil {
			shards[i].stored = map[string]agentset.Stored{}
		}
		stored = append(stored, shards[i].stored)
	}
	return stored, failed
}

// unchanged reports whether a Secret is as this process last read or wrote it. The cache may be behind this process's writes.
func (s shardStore) unchanged(ctx context.Context, known *shard) bool {
	cached := secretVersion(ctx, s.client, s.set.Namespace, known.name)
	if cached != "" {
		delete(s.memory.created, known.name)
	}
	switch {
	case known.verdict == tokensecret.Absent:
		return cached == ""
	case cached == "": // Deleted, or not shown yet.
		return s.memory.fresh(known.name, s.clock.Now())
	case cached == known.version:
		return true
	}
	seen := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: cached}}
	return behind(seen, known.version, known.at, s.clock.Now())
}

func (s shardStore) one(ctx context.Context, name string) (shard, error) {
	if !tokensecret.CanExist(name) {
		return shard{}, fault.Terminalf(v1alpha1.ReasonInvalid, "spec.sessions.secretName: no Secret can have the name %q: correct it", name)
	}
	var secret corev1.Secret
	err := s.apiReader.Get(ctx, client.ObjectKey{Namespace: s.set.Namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return shard{name: name, stored: map[string]agentset.Stored{}}, nil
	}
	if err != nil {
		return shard{}, readFailure(name, err)
	}
	read := shard{
		name: name, version: secret.ResourceVersion, at: s.clock.Now(), uid: secret.UID, verdict: tokensecret.JudgeShard(s.set, &secret),
		stored: map[string]agentset.Stored{},
	}
	if len(secret.Data) > mostKeys {
		read.verdict = tokensecret.Foreign
		return read, nil
	}
	for slot, entry := range tokensecret.Entries(&secret) {
		read.stored[slot] = agentset.Stored{Digest: tokensecret.EntryDigest(entry), Size: agentset.Size(entry)}
	}
	return read, nil
}

// write creates or patches one Secret, and remembers its content.
func (s shardStore) write(ctx context.Context, write agentset.Write, fresh map[string]session) error {
	shard := &s.memory.shards[write.Shard]
	data := map[string][]byte{}
	for _, slot := range write.Remove {
		for key := range tokensecret.Entry(slot, nil) {
			data[key] = nil
		}
	}
	for _, slot := range write.Set {
		maps.Copy(data, fresh[slot])
	}
	put := s.patch
	if shard.verdict == tokensecret.Absent {
		put = s.create
	}
	stored, err := put(ctx, shard, data)
	if err == nil {
		err = tokensecret.NotStored(shard.name, data, stored)
	}
	if err != nil {
		shard.unknown = true
		if apiserver.Outdated(err) {
			return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q was changed meanwhile", shard.name).Quietly().Because(err)
		}
		return s.refused(ctx, shard.name, err, data)
	}
	for _, slot := range write.Remove {
		delete(shard.stored, slot)
	}
	for _, slot := range write.Set {
		known := s.memory.sources[slot]
		shard.stored[slot] = agentset.Stored{Digest: known.Digest, Size: known.Size}
	}
	return nil
}

func (s shardStore) create(ctx context.Context, shard *shard, data map[string][]byte) (stored map[string][]byte, err error) {
	maps.DeleteFunc(data, func(_ string, value []byte) bool { return value == nil })
	secret := tokensecret.NewShard(s.set, shard.name, agentset.OwnerReference(s.set), maps.Clone(data))
	if err := s.client.Create(ctx, secret); err != nil {
		return nil, err
	}
	shard.version, shard.at, shard.uid, shard.verdict = secret.ResourceVersion, s.clock.Now(), secret.UID, tokensecret.Ours
	s.memory.wrote(shard.name, s.clock.Now())
	return secret.Data, nil
}

func (s shardStore) patch(ctx context.Context, shard *shard, data map[string][]byte) (stored map[string][]byte, err error) {
	written := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.set.Namespace, Name: shard.name}}
	known := &metav1.ObjectMeta{UID: shard.uid, ResourceVersion: shard.version}
	patch, err := tokensecret.ShardPatch(known, data)
	if shard.verdict == tokensecret.Ownerless {
		if err := stillExists(ctx, s.apiReader, s.set); err != nil {
			return nil, err
		}
		patch, err = tokensecret.AdoptShardPatch(s.set, agentset.OwnerReference(s.set), known, data)
	}
	if err != nil {
		return nil, err
	}
	if err := s.client.Patch(ctx, written, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return nil, err
	}
	shard.version, shard.at, shard.verdict = written.ResourceVersion, s.clock.Now(), tokensecret.Ours
	return written.Data, nil
}

// writable returns the writes to Secrets that did not fail, and one for each Secret without an owner, which the set makes its own.
func (s shardStore) writable(writes []agentset.Write) []agentset.Write {
	writes = slices.DeleteFunc(writes, func(write agentset.Write) bool { return s.memory.shards[write.Shard].failure() != nil })
	for i := range s.memory.shards {
		planned := slices.ContainsFunc(writes, func(write agentset.Write) bool { return write.Shard == i })
		if s.memory.shards[i].verdict == tokensecret.Ownerless && !planned {
			writes = append(writes, agentset.Write{Shard: i})
		}
	}
	return writes
}

// refused classifies an API server error about a Secret with sessions. Of what the Secret holds only digests are known, so it is
// read again.
func (s shardStore) refused(ctx context.Context, name string, err error, data map[string][]byte) error {
	if _, classed := fault.As(err); classed {
		return err
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return fault.Waitingf(v1alpha1.ReasonProgressing, "namespace %s is being deleted", s.set.Namespace)
	}
	var stored corev1.Secret
	unread := s.apiReader.Get(ctx, client.ObjectKey{Namespace: s.set.Namespace, Name: name}, &stored)
	if client.IgnoreNotFound(unread) != nil {
		return readFailure(name, unread)
	}
	return tokensecret.WriteFailure(err, name, func(words string) *fault.Error {
		return fault.Terminalf(v1alpha1.ReasonSecretWriteRefused,
			"the API server rejected Secret %q: %s: change the policy that rejects it, or set another spec.sessions.secretName", name, words)
	}, data, stored.Data)
}

// removeExcess deletes the Secrets that had sessions before the number or the name of the Secrets changed. Whoever may write Secrets may
// write the label and the owner on thousands: after as many as a set can have, the pass ends, and the deletions start another one. A Secret
// with a session that is still needed stays.
func (s shardStore) removeExcess(ctx context.Context, needed func(slot string) bool) error {
	var kept []string
	for _, shard := range s.memory.shards {
		kept = append(kept, shard.name)
	}
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := s.client.List(ctx, secrets, client.InNamespace(s.set.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingLabels{v1alpha1.LabelAgentSetUID: string(s.set.UID)})
	if err != nil {
		return err
	}
	removed, former := 0, s.memory.former
	s.memory.former = map[string]shard{}
	for i := range secrets.Items {
		name := secrets.Items[i].Name
		cached := corev1.Secret{ObjectMeta: secrets.Items[i].ObjectMeta}
		if slices.Contains(kept, name) || tokensecret.JudgeShard(s.set, &cached) != tokensecret.Ours {
			continue
		}
		if removed++; removed > agentset.MaxShards {
			return nil
		}
		found := former[name]
		if found.version != cached.ResourceVersion {
			if found, err = s.one(ctx, name); err != nil {
				return err
			}
		}
		s.memory.former[name] = found
		if found.verdict != tokensecret.Ours || slices.ContainsFunc(slices.Collect(maps.Keys(found.stored)), needed) {
			continue
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.set.Namespace, Name: name}}
		err = s.client.Delete(ctx, secret, client.Preconditions{UID: &found.uid, ResourceVersion: &found.version})
		if apiserver.IgnoreGone(err) != nil {
			return s.refused(ctx, name, err, nil)
		}
	}
	return nil
}
