/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// promptly is how long the victim's requests may take during an attack. Other tests run at the same time.
const promptly = 15 * time.Second

// victimsConfig is in a ConfigMap of the victim that no tenant may read.
const victimsConfig = "[OUTPUT]\n    name null # of the victim alone\n"

// scene is a victim and two tenants: the CloudProject of the victim allows the guest, and does not allow the stranger.
type scene struct {
	*harness.World
	guest, stranger *harness.World
	// victims are the remote agents of the victim's Agents "derived" and "chosen", and one of another cluster.
	victims []cloud.Agent
	uids    map[string]string
	// requests with the project token when the attack ended, and refusals of the API server for the tenant.
	calls, refusals int
	number          int
	// named are the prefixes of Agents whose tenant names IDs of the victim, and so may see them.
	named []string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "guest"}}}
	})
	s := &scene{World: w, uids: map[string]string{}}
	s.guest, s.stranger = w.In(w.AddNamespace("guest")), w.In(w.AddNamespace("stranger"))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.guest.Namespace}}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"team":"guest"}}}`))
	if err := w.Client.Patch(context.Background(), namespace, patch); err != nil {
		t.Fatal(err)
	}
	w.ConfigMap("private", "fluent-bit.conf", victimsConfig)
	w.Start(s.guest.Namespace, s.stranger.Namespace)
	w.Apply("derived", func(a *v1alpha1.Agent) {
		a.Spec.RawConfig, a.Spec.RawConfigFrom = "", &v1alpha1.KeySource{
			ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "private", Key: "fluent-bit.conf"}}
	})
	w.Ready("derived") // The first remote agent belongs to it.
	w.Apply("chosen", machine("machine-of-the-victim"))
	for _, name := range []string{"derived", "chosen"} {
		s.uids[name] = string(w.Ready(name).UID)
	}
	w.Register("elsewhere", "machine-elsewhere")
	s.victims = w.Remote()
	return s
}

// play runs an attack and checks its outcome, with the checks that every cell has.
func (s *scene) play(t *testing.T, c cell) {
	was := []testing.TB{s.TB, s.guest.TB, s.stranger.TB}
	s.TB, s.guest.TB, s.stranger.TB = t, t, t
	defer func() { s.TB, s.guest.TB, s.stranger.TB = was[0], was[1], was[2] }()
	s.Cloud.ResetRequests()
	s.refusals = 0
	s.number++
	c.attack(s)
	s.calls = s.callsOfTheProject()
	s.Unharmed(s.victims)
	s.noLoot()
	c.outcome(s)
}

// name is an unused name for an Agent of this cell.
func (s *scene) name(format string, args ...any) string {
	return fmt.Sprintf("c%d-", s.number) + fmt.Sprintf(format, args...)
}

// callsOfTheProject counts the requests with the victim's project token.
func (s *scene) callsOfTheProject() (calls int) {
	for _, r := range s.Cloud.Requests() {
		if header := fmt.Sprint(r.Header); strings.Contains(header, s.Token.Reveal()) {
			calls++
		}
	}
	return calls
}

// tenants are the namespaces of the attackers.
func (s *scene) tenants() []*harness.World { return []*harness.World{s.guest, s.stranger} }

// noLoot searches all that a tenant can read, and all that was sent for it, for data of the victim.
func (s *scene) noLoot() {
	s.Helper()
	tokens, ids := map[string]string{"the project token": s.Token.Reveal()}, map[string]string{}
	tokens["the victim's configuration"] = "# of the victim alone" // One line, because some texts are JSON.
	for _, victim := range s.victims {
		tokens["the token of "+victim.Name] = victim.Token.Reveal()
		ids["the ID of "+victim.Name] = victim.ID
	}
	for _, tenant := range s.tenants() {
		written, reported := s.texts(tenant)
		report(s, tenant, written, tokens)
		report(s, tenant, reported, tokens)
		for where := range reported {
			if slices.ContainsFunc(s.named, func(prefix string) bool { return strings.Contains(where, " "+prefix) }) {
				delete(reported, where)
			}
		}
		report(s, tenant, reported, ids)
	}
	for _, remote := range s.Remote()[len(s.victims):] {
		report(s, s.guest, map[string]string{"remote agent " + remote.Name: text(s, remote.RawConfig, remote.Metadata, remote.Flags)}, tokens)
	}
}

func report(s *scene, tenant *harness.World, texts, secrets map[string]string) {
	s.Helper()
	for where, text := range texts {
		for what, value := range secrets {
			if strings.Contains(text, value) {
				s.Errorf("%s of namespace %s holds %s", where, tenant.Namespace, what)
			}
		}
	}
}

// texts are what a tenant can read: what the tenant may have written itself, and what only the operator writes.
func (s *scene) texts(tenant *harness.World) (written, reported map[string]string) {
	s.Helper()
	var secrets corev1.SecretList
	var maps corev1.ConfigMapList
	var agents v1alpha1.AgentList
	var projects v1alpha1.CloudProjectList
	var events eventsv1.EventList
	for _, list := range []client.ObjectList{&secrets, &maps, &agents, &projects, &events} {
		if err := s.Client.List(context.Background(), list, client.InNamespace(tenant.Namespace)); err != nil {
			s.Fatal(err)
		}
	}
	written, reported = map[string]string{}, map[string]string{}
	for i := range secrets.Items {
		written["Secret "+secrets.Items[i].Name] = string(bytes.Join(values(secrets.Items[i].Data), []byte("\n")))
	}
	for i := range maps.Items {
		written["ConfigMap "+maps.Items[i].Name] = fmt.Sprint(maps.Items[i].Data)
	}
	for i := range agents.Items {
		a := &agents.Items[i]
		written["Agent "+a.Name], reported["status of Agent "+a.Name] = text(s, a.Annotations, a.Spec), text(s, a.Status)
	}
	for i := range projects.Items {
		reported["status of CloudProject "+projects.Items[i].Name] = text(s, projects.Items[i].Status)
	}
	for i := range events.Items {
		reported["event "+events.Items[i].Name] = events.Items[i].Note
	}
	return written, reported
}

func values(data map[string][]byte) (all [][]byte) {
	for _, value := range data {
		all = append(all, value)
	}
	return all
}

func text(t testing.TB, objects ...any) string {
	t.Helper()
	var all bytes.Buffer
	for _, object := range objects {
		encoder := json.NewEncoder(&all)
		if err := encoder.Encode(object); err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// learnsNothing: the tenant can read no token and no ID of the victim. Checked in every cell.
func learnsNothing(*scene) {}

// reconciled waits until the operator has judged an Agent as it is now, or deleted it.
func reconciled(w *harness.World, name string) {
	w.Helper()
	w.Eventually("Agent "+name+" is reconciled", func() error {
		var a v1alpha1.Agent
		if err := w.Client.Get(context.Background(), w.Key(name), &a); err != nil {
			return client.IgnoreNotFound(err)
		}
		if ready := harness.Condition(&a, v1alpha1.ConditionReady); ready.ObservedGeneration != a.Generation {
			return fmt.Errorf("its conditions are %s", harness.Describe(&a))
		}
		return nil
	})
}

// harmsNothing: the victim's Agents have their agents and tokens.
func harmsNothing(s *scene) {
	s.Helper()
	for i, name := range []string{"derived", "chosen"} {
		if a := s.Ready(name); a.Status.ID != s.victims[i].ID {
			s.Errorf("Agent %s has the agent %s, want %s", name, a.Status.ID, s.victims[i].ID)
		}
		s.HoldsToken(name, s.victims[i])
	}
}

// costs: the attack caused no further requests with the victim's project token.
func costs(most int) outcome {
	return func(s *scene) {
		s.Helper()
		s.Logf("%d calls with the project token", s.calls)
		if s.calls > most {
			s.Errorf("%d calls with the project token, want at most %d", s.calls, most)
		}
		harmsNothing(s)
	}
}

// staysPrompt: the victim's Agent is registered, read and deleted, and its CloudProject checked, without delay.
func staysPrompt(s *scene) {
	s.Helper()
	began := time.Now()
	name := s.Apply(s.name("new"))
	s.Ready(name)
	request := uuid.NewString()
	s.World.ChangeProject(func(cp *v1alpha1.CloudProject) {
		metav1.SetMetaDataAnnotation(&cp.ObjectMeta, v1alpha1.AnnotationReconcileAt, request)
	})
	s.Eventually("the CloudProject is checked", func() error {
		if got := s.Project().Status.LastHandledReconcileAt; got != request {
			return fmt.Errorf("the last request handled is %q", got)
		}
		return nil
	})
	s.Delete(name)
	s.Gone(name)
	took := time.Since(began)
	s.Logf("the victim waited %s", took.Round(time.Millisecond))
	if took > promptly {
		s.Errorf("the victim waited %s, want at most %s", took, promptly)
	}
}

// refused: the API server refuses the request of the tenant.
func refused(s *scene) {
	s.Helper()
	if s.refusals == 0 {
		s.Error("the API server refused nothing")
	}
	harmsNothing(s)
}

// completes: the victim deletes its namespace with everything in it, and the deletion completes with its remote agents.
func completes(s *scene) {
	s.Helper()
	s.deleteNamespace()
	s.allDeleted()
}

// completesOnceOrphaned: Agents of an allowed namespace need the CloudProject for their remote agents. Its owner sees
// which they are, and can give them up.
func completesOnceOrphaned(s *scene) {
	s.Helper()
	s.deleteNamespace()
	s.Eventually("the CloudProject names who needs it", func() error {
		ready := meta.FindStatusCondition(s.Project().Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.ReasonInUse || !strings.Contains(ready.Message, s.guest.Namespace+"/") ||
			strings.Contains(ready.Message, s.stranger.Namespace+"/") || strings.Contains(ready.Message, s.Namespace+"/derived") {
			return fmt.Errorf("Ready is %+v", ready)
		}
		// The message names some of them. The owner keeps its own Agents.
		var own v1alpha1.AgentList
		if err := s.Client.List(context.Background(), &own, client.InNamespace(s.Namespace)); err != nil || len(own.Items) > 0 {
			return errors.Join(err, fmt.Errorf("%d of its Agents are left", len(own.Items)))
		}
		return nil
	})
	s.World.ChangeProject(func(cp *v1alpha1.CloudProject) {
		metav1.SetMetaDataAnnotation(&cp.ObjectMeta, v1alpha1.AnnotationOrphanAgents, "true")
	})
	s.allDeleted()
}

func (s *scene) deleteNamespace() {
	s.Helper()
	if err := s.Client.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace}}); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) allDeleted() {
	s.Helper()
	s.Eventually("the victim's namespace is deleted", func() error {
		var namespace corev1.Namespace
		err := s.Client.Get(context.Background(), client.ObjectKey{Name: s.Namespace}, &namespace)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("it is there: %s", text(s, namespace.Status.Conditions)))
	})
	for _, victim := range s.victims[:2] {
		if _, there := s.Cloud.Agent(victim.ID); there {
			s.Errorf("the remote agent %s was left behind", victim.Name)
		}
	}
}
