/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	ctrlevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/testenv/standstill"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

func TestOnlyWhatPeopleChangeConcernsTheController(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		want   bool
	}{
		{"nothing, as at a resync", func(*v1alpha1.Agent) {}, false},
		{"the spec", func(a *v1alpha1.Agent) { a.Generation++ }, true},
		{"a deletion", func(a *v1alpha1.Agent) { a.DeletionTimestamp = &metav1.Time{Time: noon} }, true},
		{"a request to reconcile", annotated(v1alpha1.AnnotationReconcileAt, "now"), true},
		{"leave to orphan", annotated(v1alpha1.AnnotationOrphan, "true"), true},
		{"an annotation of somebody else", annotated("note", "changed"), true},
		{"an annotation that is removed", func(a *v1alpha1.Agent) { delete(a.Annotations, "note") }, true},
		{"the operator's own registration intent", annotated(v1alpha1.AnnotationRegistrationIntent, "t/2"), false},
		{"the operator's own registration intent is removed", func(a *v1alpha1.Agent) { delete(a.Annotations, v1alpha1.AnnotationRegistrationIntent) }, false},
		{"another finalizer", func(a *v1alpha1.Agent) { a.Finalizers = append(a.Finalizers, "z") }, false},
		{"the operator's finalizer is removed", func(a *v1alpha1.Agent) { a.Finalizers = nil }, true},
		{"the operator's finalizer is removed by a deletion", func(a *v1alpha1.Agent) {
			a.Finalizers, a.DeletionTimestamp = nil, &metav1.Time{Time: noon}
		}, true},
		{"somebody else's finalizer is removed", func(a *v1alpha1.Agent) { a.Finalizers = []string{v1alpha1.AgentFinalizer} }, false},
		{"the operator's own status", func(a *v1alpha1.Agent) { a.Status.ID, a.ResourceVersion = "id", "2" }, false},
		{"a label", func(a *v1alpha1.Agent) { a.Labels = map[string]string{"a": "b"} }, false},
		{"another Agent of the name, made while the watch was broken", func(a *v1alpha1.Agent) { a.UID = "web-2" }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := taskFor(annotated("note", "n"), annotated(v1alpha1.AnnotationRegistrationIntent, "t/1"), func(a *v1alpha1.Agent) {
				a.Finalizers = []string{v1alpha1.AgentFinalizer, "foregroundDeletion"}
			}).Agent
			after := before.DeepCopy()
			row.change(after)
			keep := maps.Clone(after.Annotations)
			if got := concerns(ctrlevent.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
			if !maps.Equal(keep, after.Annotations) {
				t.Error("the cached object was changed")
			}
		})
	}
}

func TestTheOperatorsOwnFinalizerDoesNotConcernIt(t *testing.T) {
	before := taskFor().Agent
	after := before.DeepCopy()
	after.Finalizers = []string{v1alpha1.AgentFinalizer}
	if concerns(ctrlevent.UpdateEvent{ObjectOld: before, ObjectNew: after}) {
		t.Error("it wakes the Agent that wrote it")
	}
}

func TestAgentsAreFoundByWhatTheyName(t *testing.T) {
	ref := func(name string) *v1alpha1.LocalSecretReference { return &v1alpha1.LocalSecretReference{Name: name} }
	for _, row := range []struct {
		name string
		spec v1alpha1.AgentSpec
		want []string
	}{
		{"Secrets with the usual names need no entry", v1alpha1.AgentSpec{SessionSecretRef: ref("")}, nil},
		{"its token Secret by name", v1alpha1.AgentSpec{TokenSecretRef: ref("mine")}, []string{"Secret/mine"}},
		{"its session Secret by name", v1alpha1.AgentSpec{SessionSecretRef: ref("mine")}, []string{"Secret/mine"}},
		{"the usual name of another Secret", v1alpha1.AgentSpec{TokenSecretRef: ref("other-token")}, []string{"Secret/other-token"}},
		{"a Secret with its configuration", v1alpha1.AgentSpec{
			RawConfigFrom: &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "pipeline", Key: "k"}},
		}, []string{"Secret/pipeline"}},
		{"a ConfigMap with its configuration, which is no Secret", v1alpha1.AgentSpec{
			RawConfigFrom: &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "web-token", Key: "k"}},
		}, []string{"ConfigMap/web-token"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := uses(&v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: row.spec})
			slices.Sort(got)
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A Secret wakes the Agent that uses it by the usual name, and the one that owns it, alive or not.
func TestASecretWakesItsAgents(t *testing.T) {
	owned := []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Agent", Name: "former"}}
	for _, row := range []struct {
		kind, name string
		spec       v1alpha1.AgentSpec
		labels     map[string]string
		owners     []metav1.OwnerReference
		want       []string
	}{
		{kind: "Secret", name: "web-token", want: []string{"web"}},
		{kind: "Secret", name: "web-session"},
		{kind: "Secret", name: "web-session", spec: v1alpha1.AgentSpec{SessionSecretRef: &v1alpha1.LocalSecretReference{}}, want: []string{"web"}},
		{kind: "Secret", name: "web-token", spec: v1alpha1.AgentSpec{TokenSecretRef: &v1alpha1.LocalSecretReference{Name: "mine"}}},
		{kind: "Secret", name: "web"},
		{kind: "Secret", name: "other-token"},
		{kind: "ConfigMap", name: "web-token"},
		{kind: "Secret", name: "x", owners: owned},
		{kind: "Secret", name: "x", owners: owned, labels: map[string]string{v1alpha1.LabelAgentUID: "1"}, want: []string{"former"}},
		{
			kind: "Secret", name: "x", owners: slices.Repeat(owned, 1000), labels: map[string]string{v1alpha1.LabelAgentUID: "1"},
			want: slices.Repeat([]string{"former"}, tokensecret.MostOwners),
		},
	} {
		t.Run(row.kind+" "+row.name, func(t *testing.T) {
			p := taskFor(func(a *v1alpha1.Agent) { a.Spec = row.spec })
			r := &Reconciler{Operator: remoteagent.Operator{Client: &unnamed{standstill.View{Agent: p.Agent}}}}
			object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Namespace: p.Agent.Namespace, Name: row.name, Labels: row.labels, OwnerReferences: row.owners,
			}}
			var got []string
			for _, request := range (watches{r}).users(row.kind)(t.Context(), object) {
				got = append(got, request.Name)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// unnamed is a view in which no Agent names a Secret.
type unnamed struct{ standstill.View }

func (unnamed) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func (v *unnamed) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if key.Name != v.Agent.Name {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "agents"}, key.Name)
	}
	return v.View.Get(ctx, key, object, options...)
}

// crowd lists by the indexes, as a cache does.
type crowd struct {
	client.Client
	agents []v1alpha1.Agent
}

func (c crowd) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var asked client.ListOptions
	asked.ApplyOptions(options)
	for _, wanted := range asked.FieldSelector.Requirements() {
		for _, a := range c.agents {
			if wanted.Field != usesIndex || slices.Contains(uses(&a), wanted.Value) {
				list.(*v1alpha1.AgentList).Items = append(list.(*v1alpha1.AgentList).Items, a)
			}
		}
	}
	return nil
}

func TestWakingEnqueuesTheAgentsOfTheProject(t *testing.T) {
	main := client.ObjectKey{Namespace: "shop", Name: "main"}
	web := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "shop", Name: "web"}}
	agent := v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Status: v1alpha1.AgentStatus{ID: "id"}}
	w := &waker{agents: func(_ context.Context, key client.ObjectKey) []v1alpha1.Agent {
		if key != main {
			return nil
		}
		return []v1alpha1.Agent{agent}
	}}
	w.enqueue(main, w.agents) // The queue does not exist yet.

	plain := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer plain.ShutDown()
	if err := w.Start(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	w.enqueue(client.ObjectKey{Namespace: "shop", Name: "other"}, w.agents)
	w.enqueue(main, w.agents)
	if got, _ := plain.Get(); got != web || plain.Len() != 0 {
		t.Errorf("woken: %v, and %d more", got, plain.Len())
	}

	ordered := priorityqueue.New[reconcile.Request]("test")
	defer ordered.ShutDown()
	if err := w.Start(t.Context(), ordered); err != nil {
		t.Fatal(err)
	}
	w.enqueue(main, w.agents)
	if got, priority, _ := ordered.GetWithPriority(); got != web || priority >= 0 {
		t.Errorf("woken: %v with priority %d, want it to stand behind what people change", got, priority)
	}
	ordered.Done(web)
	agent.Status.ID = ""
	appeared := ctrlevent.CreateEvent{Object: &v1alpha1.CloudProject{
		ObjectMeta: metav1.ObjectMeta{Namespace: main.Namespace, Name: main.Name},
	}}
	appeared.IsInInitialList = true
	w.handler().Create(t.Context(), appeared, nil)
	if n := ordered.Len(); n != 0 {
		t.Errorf("a start woke %d, whom it begins with anyway", n)
	}
	appeared.IsInInitialList = false
	w.handler().Create(t.Context(), appeared, nil)
	if got, priority, _ := ordered.GetWithPriority(); got != web || priority <= lowPriority || priority >= 0 {
		t.Errorf("woken: %v with priority %d, want one that waits to be registered to stand before the others", got, priority)
	}
}

// Registered ones that were not looked at stand in line still.
func TestARegistryWakesWhoMayWaitForIt(t *testing.T) {
	main := client.ObjectKey{Namespace: "shop", Name: "main"}
	agents := &crowd{}
	for _, name := range []string{"rests", "waits", "failed"} {
		a := v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
		if name != "waits" {
			a.Status.ID = name
		}
		agents.agents = append(agents.agents, a)
	}
	r := &Reconciler{Operator: remoteagent.Operator{Client: agents}}
	r.caches.of(client.ObjectKey{Namespace: "shop", Name: "failed"}, "failed")
	names := func(found []v1alpha1.Agent) (names []string) {
		for i := range found {
			names = append(names, found[i].Name)
		}
		return names
	}
	if got := names((watches{r}).ofProject(t.Context(), main)); !slices.Equal(got, []string{"rests", "waits", "failed"}) {
		t.Errorf("of the project are %v", got)
	}
	if got := names((watches{r}).waking(t.Context(), main)); !slices.Equal(got, []string{"waits", "failed"}) {
		t.Errorf("woken are %v", got)
	}
}
