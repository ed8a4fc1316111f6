/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// account compares the declarations, the cluster and the clouds.
type account struct {
	*world
	place   *place
	agents  map[types.NamespacedName]*v1alpha1.Agent
	secrets map[types.NamespacedName]*corev1.Secret
	remote  map[string]cloud.Agent // by ID
	owed    sets.Set[types.NamespacedName]
	diffs   []string
}

// agree waits until cluster and clouds match the declarations and stay so, and fails with every remaining difference. It
// returns how long that took.
func (w *world) agree(patience time.Duration, meanwhile ...func() error) time.Duration {
	w.t.Helper()
	began, since := time.Now(), time.Time{}
	var last []string
	err := wait.PollUntilContextTimeout(context.Background(), 250*time.Millisecond, patience, true,
		func(ctx context.Context) (bool, error) {
			for _, check := range meanwhile {
				if err := check(); err != nil {
					return false, err
				}
			}
			if now := w.differences(context.WithoutCancel(ctx)); len(now) > 0 {
				last = now
				since = time.Time{}
				return false, nil
			}
			if since.IsZero() {
				since = time.Now()
			}
			return time.Since(since) > 2*time.Second, nil
		})
	if err != nil {
		const most = 40
		text := strings.Join(last[:min(len(last), most)], "\n  ")
		w.t.Fatalf("cluster and cloud do not agree after %s (%v): %d differences:\n  %s",
			time.Since(began).Round(time.Second), err, len(last), text)
	}
	return since.Sub(began)
}

// differences lists everything that does not match its declaration.
func (w *world) differences(ctx context.Context) []string {
	var all []string
	for _, p := range w.places {
		a := &account{world: w, place: p}
		if err := a.load(ctx); err != nil {
			all = append(all, "cannot be compared: "+err.Error())
			continue
		}
		w.mu.Lock()
		a.compare()
		w.mu.Unlock()
		all = append(all, a.diffs...)
	}
	return all
}

func (a *account) load(ctx context.Context) error {
	a.agents, a.secrets = map[types.NamespacedName]*v1alpha1.Agent{}, map[types.NamespacedName]*corev1.Secret{}
	a.remote, a.owed = map[string]cloud.Agent{}, sets.New[types.NamespacedName]()
	for _, namespace := range a.place.namespaces() {
		var agents v1alpha1.AgentList
		var secrets corev1.SecretList
		if err := a.kube.List(ctx, &agents, client.InNamespace(namespace)); err != nil {
			return err
		}
		if err := a.kube.List(ctx, &secrets, client.InNamespace(namespace)); err != nil {
			return err
		}
		for i := range agents.Items {
			a.agents[client.ObjectKeyFromObject(&agents.Items[i])] = &agents.Items[i]
		}
		for i := range secrets.Items {
			a.secrets[client.ObjectKeyFromObject(&secrets.Items[i])] = &secrets.Items[i]
		}
	}
	for _, remote := range a.place.cloud.Agents(a.place.projectID) {
		a.remote[remote.ID] = remote
	}
	var cp v1alpha1.CloudProject
	if err := a.kube.Get(ctx, client.ObjectKey{Namespace: a.place.namespace, Name: projectName}, &cp); err != nil {
		return err
	}
	if !meta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionReady) {
		a.differ("CloudProject %s/%s is not Ready: %v", cp.Namespace, cp.Name, cp.Status.Conditions)
	}
	return nil
}

func (a *account) differ(format string, args ...any) {
	a.diffs = append(a.diffs, fmt.Sprintf(format, args...))
}

// compare notes all differences; world.mu is held.
func (a *account) compare() {
	for _, key := range sorted(a.agents) {
		agent := a.agents[key]
		if _, declared := a.world.agents[key]; !declared {
			a.differ("Agent %s was deleted and is still there: %s", key, state(agent))
			continue
		}
		a.compareAgent(key, agent)
	}
	for key, spec := range a.world.agents {
		if a.mine(key) && a.agents[key] == nil {
			a.differ("Agent %s (version %s) was created and is not there", key, spec.Version)
		}
	}
	a.compareRemote()
	for _, own := range []string{projectToken, projectName + "-credentials"} {
		a.owed.Insert(types.NamespacedName{Namespace: a.place.namespace, Name: own})
	}
	for _, key := range sorted(a.secrets) {
		if !a.owed.Has(key) {
			a.leftOver(key, a.secrets[key])
		}
	}
}

// leftOver notes a Secret that no Agent needs.
func (a *account) leftOver(key types.NamespacedName, secret *corev1.Secret) {
	of := "nobody's"
	for _, owner := range secret.OwnerReferences {
		of = fmt.Sprintf("of %s %s, which is gone", owner.Name, owner.UID)
		agent := a.agents[types.NamespacedName{Namespace: key.Namespace, Name: owner.Name}]
		if agent != nil && agent.UID == owner.UID {
			of = fmt.Sprintf("of %s %s, which is there: %s", owner.Name, owner.UID, state(agent))
		}
	}
	a.differ("Secret %s (created %s, deleted %s, finalizers %s) is left over: it is %s",
		key, secret.CreationTimestamp.Format(time.RFC3339), secret.DeletionTimestamp, secret.Finalizers, of)
}

func (a *account) mine(key types.NamespacedName) bool {
	return slices.Contains(a.place.namespaces(), key.Namespace)
}

// compareAgent notes how an Agent differs from its declaration, its remote agent and its Secrets.
func (a *account) compareAgent(key types.NamespacedName, agent *v1alpha1.Agent) {
	who := "Agent " + key.String()
	if !agent.DeletionTimestamp.IsZero() {
		a.differ("%s is stuck deleting since %s: %s", who, agent.DeletionTimestamp.Format(time.RFC3339), state(agent))
	}
	status := &agent.Status
	intent := agent.Annotations[v1alpha1.AnnotationRegistrationIntent]
	switch {
	case !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady), status.ObservedGeneration != agent.Generation,
		status.Applied.Generation != agent.Generation:
		a.differ("%s is not Ready in its generation %d: %s", who, agent.Generation, state(agent))
	case intent != status.RegistrationIntent:
		a.differ("%s has the open registration %s and the recorded one %s", who, intent, status.RegistrationIntent)
	case len(status.DuplicatesToDelete) > 0:
		a.differ("%s still has to delete the duplicates %v", who, status.DuplicatesToDelete)
	case len(status.IgnoredFields)+len(status.DriftedFields) > 0:
		a.differ("%s has ignored fields %v and drifted fields %v", who, status.IgnoredFields, status.DriftedFields)
	}
	if !controllerutil.ContainsFinalizer(agent, v1alpha1.AgentFinalizer) {
		a.differ("%s has no finalizer", who)
	}
	remote, found := a.remote[status.ID]
	if !found {
		a.differ("%s has the remote agent %q, which the cloud does not have: %s", who, status.ID, state(agent))
		return
	}
	a.compareFields(who, key, agent, remote)
	a.compareSecrets(who, agent, remote)
}

// compareFields compares the declaration, not the object in the cluster, with the remote agent.
func (a *account) compareFields(who string, key types.NamespacedName, agent *v1alpha1.Agent, remote cloud.Agent) {
	spec := a.world.agents[key]
	config := spec.RawConfig
	if from := spec.RawConfigFrom; from != nil {
		config = a.configs[types.NamespacedName{Namespace: key.Namespace, Name: from.ConfigMapKeyRef.Name}]
	}
	machineID := a.machineID(key, spec.MachineID)
	if agent.Status.MachineID != machineID {
		a.differ("%s records machine ID %s, want %s", who, agent.Status.MachineID, machineID)
	}
	for _, field := range []struct{ name, want, got string }{
		{"machine ID", machineID, remote.MachineID},
		{"type", string(spec.Type), remote.Type},
		{"version", spec.Version, remote.Version},
		{"edition", spec.Edition, remote.Edition},
		{"configuration", config, remote.RawConfig},
		{"name", spec.Name, remote.Name},
	} {
		if field.want != "" && field.want != field.got {
			a.differ("%s declares %s %q, its remote agent %s has %q", who, field.name, field.want, remote.ID, field.got)
		}
	}
	if spec.Flags != nil && !slices.Equal(spec.Flags, remote.Flags) {
		a.differ("%s declares flags %q, its remote agent %s has %q", who, spec.Flags, remote.ID, remote.Flags)
	}
	if spec.Metadata != nil {
		var want, got any
		if err := json.Unmarshal(spec.Metadata.Raw, &want); err != nil {
			a.differ("%s: %v", who, err)
		}
		if json.Unmarshal(remote.Metadata, &got) != nil || !reflect.DeepEqual(want, got) {
			a.differ("%s declares metadata %s, its remote agent %s has %s", who, spec.Metadata.Raw, remote.ID, remote.Metadata)
		}
	}
}

func (a *account) compareSecrets(who string, agent *v1alpha1.Agent, remote cloud.Agent) {
	name := agent.Name + "-token"
	if ref := agent.Spec.TokenSecretRef; ref != nil && ref.Name != "" {
		name = ref.Name
	}
	if secret := a.owned(who, agent, name); secret != nil {
		if id := string(secret.Data[v1alpha1.IDKey]); id != remote.ID {
			a.differ("%s: Secret %s has id %q, its remote agent is %s", who, name, id, remote.ID)
		}
		if !cloud.NewToken(string(secret.Data[v1alpha1.TokenKey])).Equal(remote.Token) {
			a.differ("%s: Secret %s has another token than the remote agent %s", who, name, remote.ID)
		}
	}
	if agent.Spec.SessionSecretRef != nil {
		a.owned(who, agent, agent.Name+"-session")
	}
}

// owned finds a Secret that the Agent has to own.
func (a *account) owned(who string, agent *v1alpha1.Agent, name string) *corev1.Secret {
	key := types.NamespacedName{Namespace: agent.Namespace, Name: name}
	secret := a.secrets[key]
	a.owed.Insert(key)
	switch {
	case secret == nil:
		a.differ("%s has no Secret %s", who, name)
	case len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != agent.UID || !secret.DeletionTimestamp.IsZero():
		a.differ("%s (%s): Secret %s is owned by %v, or leaving", who, agent.UID, name, secret.OwnerReferences)
		return nil
	}
	return secret
}

// compareRemote notes remote agents without an Agent, and duplicate machine IDs.
func (a *account) compareRemote() {
	owners, machines := map[string]string{}, map[string][]string{}
	for key, agent := range a.agents {
		if other := owners[agent.Status.ID]; other != "" && agent.Status.ID != "" {
			a.differ("Agents %s and %s both have the remote agent %s", key, other, agent.Status.ID)
		}
		owners[agent.Status.ID] = key.String()
	}
	for _, id := range sorted(a.remote) {
		remote := a.remote[id]
		if owners[id] == "" {
			a.differ("remote agent %s (name %q, machine ID %s, created %s) has no Agent",
				id, remote.Name, remote.MachineID, remote.CreatedAt.Format(time.RFC3339Nano))
		}
		machines[remote.MachineID] = append(machines[remote.MachineID], id)
	}
	for machine, ids := range machines {
		if len(ids) > 1 {
			a.differ("machine ID %s is there %d times: %v", machine, len(ids), ids)
		}
	}
}

// state is the status of an Agent in one line.
func state(a *v1alpha1.Agent) string {
	parts := []string{fmt.Sprintf("generation %d, observed %d, applied %d, id %q, intent %q, recorded %q, finalizers %v",
		a.Generation, a.Status.ObservedGeneration, a.Status.Applied.Generation, a.Status.ID,
		a.Annotations[v1alpha1.AnnotationRegistrationIntent], a.Status.RegistrationIntent, a.Finalizers)}
	for _, c := range a.Status.Conditions {
		parts = append(parts, fmt.Sprintf("%s=%s (%s: %s)", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(parts, "; ")
}

// sorted are the sorted keys of a map.
func sorted[K comparable, V any](m map[K]V) []K {
	return slices.SortedFunc(maps.Keys(m), func(a, b K) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}
