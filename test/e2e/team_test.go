/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// team is a namespace with a CloudProject "calyptia".
type team struct {
	testing.TB
	namespace, projectID string
	token                cloud.Token
}

var teams atomic.Int64

// byAddress has the CloudProject use the address of this machine: the name of the Service only resolves in the cluster.
func byAddress(c *v1alpha1.CloudProject) {
	c.Spec.URL = "https://" + here.cloud.listener.Addr().String()
}

// newTeam creates a namespace and its CloudProject, which is Ready once an operator runs.
func newTeam(t testing.TB, changes ...func(*v1alpha1.CloudProject)) *team {
	t.Helper()
	w := &team{TB: t, namespace: fmt.Sprintf("team-%d-%s", teams.Add(1), metav1.Now().Format("150405"))}
	w.projectID, w.token = here.cloud.newProject()
	namespace(t, w.namespace, restricted)
	object := metav1.ObjectMeta{Namespace: w.namespace, Name: "calyptia"}
	project := &v1alpha1.CloudProject{ObjectMeta: object, Spec: v1alpha1.CloudProjectSpec{
		URL: "https://" + cloudName, TokenSecretRef: v1alpha1.TokenSecretReference{Name: "calyptia"},
		CABundle:  &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "calyptia", Key: "ca.crt"}},
		RateLimit: &v1alpha1.RateLimit{RequestsPerSecond: new(int32(0))},
	}}
	for _, change := range changes {
		change(project)
	}
	for _, o := range []client.Object{
		&corev1.Secret{ObjectMeta: object, StringData: map[string]string{v1alpha1.TokenKey: w.token.Reveal()}},
		&corev1.ConfigMap{ObjectMeta: object, Data: map[string]string{"ca.crt": string(here.cloud.ca)}},
		project,
	} {
		if err := here.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// declare creates Agents.
func (w *team) declare(names ...string) {
	w.Helper()
	for _, name := range names {
		err := here.client.Create(w.Context(), &v1alpha1.Agent{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
			Spec: v1alpha1.AgentSpec{
				ProjectRef: &v1alpha1.CloudProjectReference{Name: "calyptia"}, Type: v1alpha1.AgentTypeFluentBit, Version: "v4.0.0",
				RawConfig: "[INPUT]\n    name dummy\n",
			},
		})
		if err != nil {
			w.Fatal(err)
		}
	}
}

// names are the names of n Agents.
func names(prefix string, count int) []string {
	all := make([]string, count)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return all
}

// agents are the Agents of the team.
func (w *team) agents(ctx context.Context) ([]v1alpha1.Agent, error) {
	var list v1alpha1.AgentList
	err := here.client.List(ctx, &list, client.InNamespace(w.namespace))
	return list.Items, err
}

// isReady is an error until an Agent is Ready.
func (w *team) isReady(ctx context.Context, name string) error {
	var a v1alpha1.Agent
	if err := here.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, &a); err != nil {
		return err
	}
	if !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
		return fmt.Errorf("%s has the conditions %v", name, a.Status.Conditions)
	}
	return nil
}

// exact waits until n Agents are Ready, and then expects exactly one remote agent for each.
func (w *team) exact(count int) {
	w.Helper()
	// The cheap check first: listing thousands of Agents repeatedly would slow the operator.
	eventually(w, fmt.Sprintf("%d Agents are not registered", count), func(context.Context) error {
		if remote := here.cloud.Count(http.MethodPost, cloudtest.RouteAgents); remote < count {
			return fmt.Errorf("%d registrations were sent", remote)
		}
		if remote := len(here.cloud.Agents(w.projectID)); remote < count {
			return fmt.Errorf("there are %d remote agents", remote)
		}
		return nil
	})
	interval := quick * time.Duration(1+count/100)
	eventuallyEvery(w, interval, fmt.Sprintf("%d Agents are not Ready", count), func(ctx context.Context) error {
		agents, err := w.agents(ctx)
		if err != nil {
			return err
		}
		ready, last := 0, ""
		for i := range agents {
			if a := &agents[i]; meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			} else if c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); c != nil {
				last = a.Name + ": " + c.Message
			}
		}
		if ready != count {
			return fmt.Errorf("%d of %d are Ready; %s", ready, len(agents), last)
		}
		return nil
	})
	w.same()
}

// same checks that the Agents and the remote agents belong to each other.
func (w *team) same() {
	w.Helper()
	agents := must(w.agents(w.Context()))(w)
	remote := here.cloud.Agents(w.projectID)
	known := map[string]string{}
	for i := range remote {
		known[remote[i].ID] = remote[i].Name
	}
	for i := range agents {
		if id := agents[i].Status.ID; known[id] == "" {
			w.Errorf("Agent %s has the ID %q, which no remote agent has", agents[i].Name, id)
		}
	}
	if len(remote) != len(agents) {
		w.Errorf("%d Agents have %d remote agents", len(agents), len(remote))
	}
}

// registrations is the number of registrations of the team.
func (w *team) registrations() (count int) {
	for _, r := range here.cloud.Requests() {
		sent := r.Header.Get("Authorization") + r.Header.Get("X-Project-Token")
		if r.Method == "POST" && r.Route == cloudtest.RouteAgents && strings.HasSuffix(sent, w.token.Reveal()) {
			count++
		}
	}
	return count
}

// leave deletes the team's Agents, waits until the operator has deleted the remote ones, and deletes the namespace.
func (w *team) leave() {
	w.Helper()
	eventually(w, "Agents cannot be deleted", func(ctx context.Context) error { // thousands take longer than one request may
		return here.client.DeleteAllOf(ctx, &v1alpha1.Agent{}, client.InNamespace(w.namespace))
	})
	eventually(w, "remote agents are left", func(context.Context) error {
		if left := len(here.cloud.Agents(w.projectID)); left > 0 {
			return fmt.Errorf("%d", left)
		}
		return nil
	})
	eventuallyEvery(w, 10*quick, "Agents are left", func(ctx context.Context) error {
		agents, err := w.agents(ctx)
		if err != nil || len(agents) > 0 {
			return fmt.Errorf("%d: %w", len(agents), err)
		}
		return nil
	})
	kubectl(w, "delete", "cloudprojects.cloud.calyptia.com", "--all", "--namespace", w.namespace, "--timeout=1m")
	kubectl(w, "delete", "namespace", w.namespace, "--wait=false")
}
