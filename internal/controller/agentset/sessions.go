/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// sessionKeeper stores the session of every registered Agent.
type sessionKeeper struct {
	tokens tokenReader
	shards shardStore
	memory *memory
	clock  clock.PassiveClock
	watch  *stopwatch
}

func (r *Reconciler) sessionKeeper(set *v1alpha1.AgentSet, known *memory, watch *stopwatch) sessionKeeper {
	return sessionKeeper{
		tokens: tokenReader{r.Client, r.APIReader, set.Namespace, known.sources},
		shards: shardStore{r.Client, r.APIReader, r.Clock, set, known},
		memory: known, clock: r.Clock, watch: watch,
	}
}

// sessions are what is stored, and when the next pass has to start at the latest.
type sessions struct {
	plan    agentset.Plan
	stored  int      // desired sessions that are in their Secrets
	renewed []string // slots whose stored session changed
	next    time.Duration
}

// keep stores the sessions of Agents, which are given by slot. desired are the nodes or replicas that need one.
func (k sessionKeeper) keep(
	ctx context.Context, agents map[string]*v1alpha1.Agent, facts agentset.Facts, desired []string,
) (done sessions, err error) {
	stored, failed := requesting(k.watch, func() ([]map[string]agentset.Stored, error) { return k.shards.read(ctx) })
	if stored == nil {
		return done, failed
	}
	wanted, stale := k.tokens.wanted(ctx, agents)
	await(wanted, facts, desired)
	if facts.KeysUnknown {
		keepStored(wanted, stored)
	}
	fresh := map[string]session{}
	wait := k.memory.free.Sub(k.clock.Now())
	if wait <= 0 {
		fresh, err = requesting(k.watch, func() (map[string]session, error) { return k.tokens.read(ctx, agents, stale) })
		failed = firstRetried(failed, err)
		for slot := range fresh {
			wanted[slot] = k.memory.sources[slot].Wanted
		}
	}
	done.plan = agentset.PlanSessions(wanted, stored)
	done.plan.Writes = k.shards.writable(done.plan.Writes)
	done.stored = countStored(desired, wanted, stored)
	switch {
	case wait > 0:
		done.next = wait // Also for steps after the writes.
		return done, failed
	case len(done.plan.Writes) == 0 && failed == nil && len(done.plan.Excess) == 0: // Else a former Secret may hold the only copy.
		return done, k.shards.removeExcess(ctx, func(slot string) bool {
			_, wants := wanted[slot]
			_, has := stored[agentset.Shard(slot, len(stored))][slot]
			return wants && !has
		})
	}
	written, err := requesting(k.watch, func() ([]string, error) { return k.write(ctx, agents, done.plan, fresh) })
	done.next = max(k.memory.free.Sub(k.clock.Now()), 0)
	done.stored = countStored(desired, wanted, stored)
	done.renewed = slices.DeleteFunc(slices.Clone(done.plan.Renewed), func(slot string) bool { return !slices.Contains(written, slot) })
	return done, firstRetried(failed, err)
}

// requesting returns the result of a function that mostly waits for the API server.
func requesting[T any](watch *stopwatch, do func() (T, error)) (result T, err error) {
	err = watch.requesting(func() (err error) {
		result, err = do()
		return err
	})
	return result, err
}

// write executes the plan: one write for each Secret, also after one that is rejected, of the sessions whose tokens can be read. It returns
// the slots whose sessions it wrote.
func (k sessionKeeper) write(
	ctx context.Context, agents map[string]*v1alpha1.Agent, plan agentset.Plan, fresh map[string]session,
) (written []string, failed error) {
	var missing []string
	for _, write := range plan.Writes {
		for _, slot := range write.Set {
			if fresh[slot] == nil {
				missing = append(missing, slot)
			}
		}
	}
	more, failed := k.tokens.read(ctx, agents, missing)
	maps.Copy(fresh, more)
	writes := 0
	for _, write := range plan.Writes {
		planned := len(write.Set)
		write.Set = slices.DeleteFunc(write.Set, func(slot string) bool { return fresh[slot] == nil })
		if len(write.Set) < planned && len(write.Set)+len(write.Remove) == 0 {
			continue
		}
		if err := k.shards.write(ctx, write, fresh); err != nil {
			failed = firstRetried(failed, err)
			if failure := classify(err); failure.Class != fault.Terminal && !failure.Quiet {
				break // The others would fail, too.
			} else if failure.Reason == v1alpha1.ReasonAPIServer {
				writes++ // It was written, and a part is not stored: the event of the write wakes the set.
			}
			continue
		}
		written = append(written, write.Set...)
		writes++
	}
	k.memory.free = k.clock.Now().Add(agentset.Pause(writes))
	return written, failed
}

// await keeps the restored session of each desired node or replica until its Agent is there, too.
func await(wanted map[string]agentset.Wanted, facts agentset.Facts, desired []string) {
	for _, key := range desired {
		slot := agentset.Slot(key)
		_, known := wanted[slot]
		agent, exists := facts.Agents[agentset.AgentName(facts.Set, key)]
		if !known && (!exists || agent.Ownership != agentset.Foreign) {
			wanted[slot] = agentset.Wanted{Unknown: true}
		}
	}
}

// keepStored keeps the stored session of each node or replica that has no Agent: whether it is desired is unknown.
func keepStored(wanted map[string]agentset.Wanted, stored []map[string]agentset.Stored) {
	for _, shard := range stored {
		for slot := range shard {
			if _, known := wanted[slot]; !known {
				wanted[slot] = agentset.Wanted{Unknown: true}
			}
		}
	}
}

// countStored counts the desired sessions that are in their Secrets.
func countStored(desired []string, wanted map[string]agentset.Wanted, stored []map[string]agentset.Stored) (count int) {
	for _, key := range desired {
		slot := agentset.Slot(key)
		want, known := wanted[slot]
		have, found := stored[agentset.Shard(slot, len(stored))][slot]
		if known && !want.Unknown && found && have.Digest == want.Digest {
			count++
		}
	}
	return count
}

const (
	// listFrom is the number of token Secrets from which they are listed instead of read one by one.
	listFrom = 50
	// pageSize bounds the memory of a page: whoever may write Secrets writes the label, and up to 1 MiB.
	pageSize = 20
)

// session is the content of one session, under the keys of its Secret.
type session = map[string][]byte

// origin is the input of the session of a slot, and the session.
type origin struct {
	input string
	agentset.Wanted
}

// tokenReader builds sessions from the token Secrets of Agents.
type tokenReader struct {
	client    client.Reader // cached metadata of Secrets
	apiReader client.Reader
	namespace string
	sources   map[string]origin // by slot, the input of each session
}

// wanted returns the known sessions, and the slots whose session has to be read.
func (t tokenReader) wanted(ctx context.Context, agents map[string]*v1alpha1.Agent) (wanted map[string]agentset.Wanted, stale []string) {
	wanted = map[string]agentset.Wanted{}
	for slot, agent := range agents {
		input := t.input(ctx, agent)
		known, found := t.sources[slot]
		switch {
		case input == "":
			wanted[slot] = agentset.Wanted{Unknown: true}
		case found && known.input == input:
			wanted[slot] = known.Wanted
		default:
			wanted[slot] = agentset.Wanted{Unknown: true}
			stale = append(stale, slot)
		}
	}
	maps.DeleteFunc(t.sources, func(slot string, _ origin) bool { return agents[slot] == nil })
	slices.Sort(stale)
	return wanted, stale
}

// input identifies the input of an Agent's session; empty while it has none.
func (t tokenReader) input(ctx context.Context, agent *v1alpha1.Agent) string {
	status := &agent.Status
	if status.ID == "" || status.MachineID == "" || status.URL == "" || status.TokenSecretRef == nil || !agent.DeletionTimestamp.IsZero() {
		return ""
	}
	version := secretVersion(ctx, t.client, t.namespace, status.TokenSecretRef.Name)
	if version == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(agent.UID), status.ID, status.MachineID, status.URL, status.TokenSecretRef.Name, version,
	}, "\x00")))
	return string(sum[:16])
}

// read reads the token Secrets of slots, and builds the sessions. One that fails does not keep the others from being built.
func (t tokenReader) read(
	ctx context.Context, agents map[string]*v1alpha1.Agent, slots []string,
) (fresh map[string]session, failed error) {
	fresh = map[string]session{}
	take := func(slot string, secret *corev1.Secret) {
		made, err := sessionOf(agents[slot], secret)
		failed = firstRetried(failed, err)
		if err != nil || made == nil {
			return
		}
		fresh[slot] = tokensecret.Entry(slot, made)
		t.sources[slot] = origin{input: t.input(ctx, agents[slot]), Wanted: agentset.Wanted{
			Digest: tokensecret.EntryDigest(fresh[slot]), Size: agentset.Size(fresh[slot]),
		}}
	}
	if len(slots) >= listFrom && t.listable(ctx, len(slots)) {
		err := t.list(ctx, agents, slots, take)
		if !apierrors.IsInternalError(err) { // One of the Secrets may be damaged.
			return fresh, firstRetried(failed, err)
		}
	}
	for _, slot := range slots {
		var secret corev1.Secret
		key := client.ObjectKey{Namespace: t.namespace, Name: agents[slot].Status.TokenSecretRef.Name}
		err := t.apiReader.Get(ctx, key, &secret)
		if err == nil {
			take(slot, &secret)
		} else if client.IgnoreNotFound(err) != nil {
			err = readFailure(key.Name, err)
			failed = firstRetried(failed, err)
			if unreachable(err) {
				break
			}
		}
	}
	return fresh, failed
}

// listable reports whether to list the Secrets with the label takes no more requests than to read the n that are needed: whoever may write
// Secrets may write the label on thousands.
func (t tokenReader) listable(ctx context.Context, n int) bool {
	labeled := &metav1.PartialObjectMetadataList{}
	labeled.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := t.client.List(ctx, labeled, client.InNamespace(t.namespace), client.HasLabels{v1alpha1.LabelAgentUID}, client.UnsafeDisableDeepCopy)
	return err == nil && len(labeled.Items) <= n*pageSize
}

// list reads many token Secrets: in pages, because one request each would take longer than all pages together.
func (t tokenReader) list(
	ctx context.Context, agents map[string]*v1alpha1.Agent, slots []string, take func(string, *corev1.Secret),
) error {
	names := map[string]string{}
	for _, slot := range slots {
		names[agents[slot].Status.TokenSecretRef.Name] = slot
	}
	var page corev1.SecretList
	for {
		err := t.apiReader.List(ctx, &page, client.InNamespace(t.namespace), client.HasLabels{v1alpha1.LabelAgentUID},
			client.Limit(pageSize), client.Continue(page.Continue))
		if err != nil {
			return readFailure("with the tokens", err)
		}
		for i := range page.Items {
			if slot, asked := names[page.Items[i].Name]; asked {
				take(slot, &page.Items[i])
			}
		}
		if page.Continue == "" {
			return nil
		}
	}
}

// sessionOf returns the session of an Agent; nil if its Secret has the token of another agent, or none.
func sessionOf(agent *v1alpha1.Agent, secret *corev1.Secret) (session, error) {
	token := tokensecret.Token(secret)
	if !tokensecret.Labelled(secret, agent) || tokensecret.ID(secret) != agent.Status.ID || !token.Usable() {
		return nil, nil
	}
	base, err := url.Parse(agent.Status.URL)
	if err != nil {
		return nil, nil //nolint:nilerr // The operator wrote it; the Agent shows what is wrong.
	}
	made, err := tokensecret.Session{ID: agent.Status.ID, Token: token, MachineID: agent.Status.MachineID, URL: base}.Data()
	if failure, ok := fault.As(err); ok {
		failure.Message = "Agent " + agent.Name + ": " + failure.Message
		return nil, failure
	}
	return made, err
}

// secretVersion is the resource version of a Secret in the cache; empty if there is none.
func secretVersion(ctx context.Context, cached client.Reader, namespace, name string) string {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := cached.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret, client.UnsafeDisableDeepCopy); err != nil {
		return ""
	}
	return secret.ResourceVersion
}

func readFailure(name string, err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q cannot be read: %s: correct what keeps the operator from reading it",
			name, cloud.Words(err)).Because(err)
	}
	return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q cannot be read: the API server cannot be reached", name).Because(err)
}
