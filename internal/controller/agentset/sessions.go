/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"crypto/sha256"
	"maps"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

const (
	// listFrom is the number of token Secrets from which they are listed instead of read one by one.
	listFrom = 50
	pageSize = 200
)

// session is the content of one session, under the keys of its Secret.
type session = map[string][]byte

// keepSessions writes the session of every registered Agent to the Secrets.
func (p *pass) keepSessions(ctx context.Context) error {
	var shards []shard
	err := p.requesting(func() (err error) {
		shards, err = p.readShards(ctx)
		return err
	})
	if err != nil {
		return err
	}
	agents := p.slots()
	wanted, stale := p.wanted(ctx, agents)
	fresh := map[string]session{}
	wait := p.memory.free.Sub(p.Clock.Now())
	if wait <= 0 {
		err = p.requesting(func() (err error) {
			fresh, err = p.readSessions(ctx, agents, stale)
			return err
		})
		if err != nil {
			return err
		}
		for slot := range fresh {
			wanted[slot] = p.memory.sources[slot].Wanted
		}
	}
	stored := make([]map[string]agentset.Stored, len(shards))
	for i := range shards {
		stored[i] = shards[i].stored
	}
	p.plan = agentset.PlanSessions(wanted, stored)
	p.adopt(shards)
	p.countStored(wanted, stored)
	switch {
	case wait > 0:
		p.sooner(wait) // Also for steps after the writes.
		return nil
	case len(p.plan.Writes) == 0:
		return p.removeExcess(ctx)
	}
	return p.requesting(func() error { return p.writeShards(ctx, agents, fresh, wanted, stored) })
}

// slots are the set's own Agents by slot.
func (p *pass) slots() map[string]*v1alpha1.Agent {
	agents := map[string]*v1alpha1.Agent{}
	for name, known := range p.facts.Agents {
		if slot, ok := agentset.SlotOf(p.set.Name, name); ok && known.Ownership == agentset.Own && p.agents[name] != nil {
			agents[slot] = p.agents[name]
		}
	}
	return agents
}

// wanted returns the known sessions, and the slots whose session has to be read.
func (p *pass) wanted(ctx context.Context, agents map[string]*v1alpha1.Agent) (wanted map[string]agentset.Wanted, stale []string) {
	wanted = map[string]agentset.Wanted{}
	for slot, agent := range agents {
		input := p.input(ctx, agent)
		known, found := p.memory.sources[slot]
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
	for _, key := range p.decision.Desired { // A restored session stays until the Agent is there, too.
		slot := agentset.Slot(key)
		_, known := wanted[slot]
		agent, exists := p.facts.Agents[agentset.AgentName(p.set.Name, key)]
		if !known && (!exists || agent.Ownership != agentset.Foreign) {
			wanted[slot] = agentset.Wanted{Unknown: true}
		}
	}
	maps.DeleteFunc(p.memory.sources, func(slot string, _ origin) bool { return agents[slot] == nil })
	slices.Sort(stale)
	return wanted, stale
}

// input identifies the input of an Agent's session; empty while it has none.
func (p *pass) input(ctx context.Context, agent *v1alpha1.Agent) string {
	status := &agent.Status
	if status.ID == "" || status.MachineID == "" || status.URL == "" || status.TokenSecretRef == nil || !agent.DeletionTimestamp.IsZero() {
		return ""
	}
	version := p.version(ctx, status.TokenSecretRef.Name)
	if version == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(agent.UID), status.ID, status.MachineID, status.URL, status.TokenSecretRef.Name, version,
	}, "\x00")))
	return string(sum[:16])
}

// version is the resource version of a Secret in the cache; empty if there is none.
func (p *pass) version(ctx context.Context, name string) string {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	key := client.ObjectKey{Namespace: p.set.Namespace, Name: name}
	if err := p.Client.Get(ctx, key, secret, client.UnsafeDisableDeepCopy); err != nil {
		return ""
	}
	return secret.ResourceVersion
}

// readSessions reads the token Secrets of slots, and builds the sessions.
func (p *pass) readSessions(ctx context.Context, agents map[string]*v1alpha1.Agent, slots []string) (map[string]session, error) {
	fresh := map[string]session{}
	take := func(slot string, secret *corev1.Secret) error {
		made, err := p.session(agents[slot], secret)
		if err != nil || made == nil {
			return err
		}
		fresh[slot] = tokensecret.Entry(slot, made)
		p.memory.sources[slot] = origin{input: p.input(ctx, agents[slot]), Wanted: agentset.Wanted{
			Digest: tokensecret.EntryDigest(fresh[slot]), Size: agentset.Size(fresh[slot]),
		}}
		return nil
	}
	if len(slots) >= listFrom {
		return fresh, p.listTokens(ctx, agents, slots, take)
	}
	for _, slot := range slots {
		var secret corev1.Secret
		key := client.ObjectKey{Namespace: p.set.Namespace, Name: agents[slot].Status.TokenSecretRef.Name}
		if err := p.APIReader.Get(ctx, key, &secret); client.IgnoreNotFound(err) != nil {
			return nil, readFailure(key.Name, err)
		} else if err != nil {
			continue
		}
		if err := take(slot, &secret); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// listTokens reads many token Secrets: in pages, because one request each would take longer than all pages together.
func (p *pass) listTokens(
	ctx context.Context, agents map[string]*v1alpha1.Agent, slots []string, take func(string, *corev1.Secret) error,
) error {
	names := map[string]string{}
	for _, slot := range slots {
		names[agents[slot].Status.TokenSecretRef.Name] = slot
	}
	var page corev1.SecretList
	for {
		err := p.APIReader.List(ctx, &page, client.InNamespace(p.set.Namespace), client.HasLabels{v1alpha1.LabelAgentUID},
			client.Limit(pageSize), client.Continue(page.Continue))
		if err != nil {
			return readFailure("with the tokens", err)
		}
		for i := range page.Items {
			slot, asked := names[page.Items[i].Name]
			if !asked {
				continue
			}
			if err := take(slot, &page.Items[i]); err != nil {
				return err
			}
		}
		if page.Continue == "" {
			return nil
		}
	}
}

// session returns the session of an Agent; nil if its Secret has the token of another agent, or none.
func (p *pass) session(agent *v1alpha1.Agent, secret *corev1.Secret) (session, error) {
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

// countStored counts the desired sessions that are in their Secrets.
func (p *pass) countStored(wanted map[string]agentset.Wanted, stored []map[string]agentset.Stored) {
	p.stored = 0
	for _, key := range p.decision.Desired {
		slot := agentset.Slot(key)
		want, known := wanted[slot]
		have, found := stored[agentset.Shard(slot, len(stored))][slot]
		if known && !want.Unknown && found && have.Digest == want.Digest {
			p.stored++
		}
	}
}

func readFailure(name string, err error) error {
	return fault.Retryablef(v1alpha1.ReasonAPIServer, "Secret %q cannot be read", name).Because(err)
}
