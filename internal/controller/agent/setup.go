/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fairness"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// usesIndex finds the Agents of a namespace that name a Secret or ConfigMap; its values are "Kind/name". Secrets
// with the usual names are not in it: each entry takes memory, and those names tell the Agent.
const usesIndex = "uses"

// ownerIndex finds the Secrets that are owned by an Agent of a name, whether it lives or not, and those without an owner
// by the UID in their label; its values are buckets.
const ownerIndex = "owner"

// bucket is where an index has values that are nearly unique. An entry for each value would take some hundred bytes for
// each; whoever looks into a bucket passes over what else is there.
func bucket(value string) string {
	const buckets = 1 << 12
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(value))
	return strconv.FormatUint(uint64(hash.Sum32()%buckets), 36)
}

// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agents,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agents/status,verbs=patch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=cloudprojects,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller, its indexes and its watches. The index projectref.AgentIndex has
// to be there already.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	r.Settings = r.Settings.withDefaults()
	r.secrets = tokensecret.Keeper{Reader: r.APIReader, Agents: r.Client, Writer: r.Client}
	r.started = r.Clock.Now()
	for name, values := range indexes {
		if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Agent{}, name, func(o client.Object) []string {
			return values(o.(*v1alpha1.Agent))
		}); err != nil {
			return err
		}
	}
	secrets := &metav1.PartialObjectMetadata{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := mgr.GetFieldIndexer().IndexField(ctx, secrets, ownerIndex, func(o client.Object) (values []string) {
		for _, name := range owners(o) {
			values = append(values, bucket(name))
		}
		if uid, kept := tokensecret.Owner(o); kept && len(o.GetOwnerReferences()) == 0 {
			values = append(values, bucket(string(uid)))
		}
		return values
	})
	if err != nil {
		return err
	}
	// Filled before the operator is ready, and in a replica that does not lead yet, as the others are by their indexes.
	configMaps := &metav1.PartialObjectMetadata{}
	configMaps.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	if _, err := mgr.GetCache().GetInformer(ctx, configMaps, cache.BlockUntilSynced(false)); err != nil {
		return err
	}
	wake := &waker{agents: r.ofProject}
	r.Projects.OnWake(func(key client.ObjectKey) { wake.enqueue(key, r.waking) })
	news := builder.WithPredicates(kubecache.News(v1alpha1.LabelAgentUID))
	return ctrl.NewControllerManagedBy(mgr).
		Named("agent").
		For(&v1alpha1.Agent{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: concerns})).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.users("Secret")), news).
		WatchesMetadata(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(r.users("ConfigMap")), news).
		Watches(&v1alpha1.CloudProject{}, wake.handler(),
			builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))).
		WatchesRawSource(wake).
		WithOptions(fairness.WithFairness(options)).
		Complete(r)
}

// bucketed are the values of the indexes whose entries are buckets.
var bucketed = map[string]func(*v1alpha1.Agent) string{
	remoteIndex:  func(a *v1alpha1.Agent) string { return a.Status.ID },
	machineIndex: func(a *v1alpha1.Agent) string { return a.Status.MachineID },
}

// indexes of the cached Agents.
var indexes = map[string]func(*v1alpha1.Agent) []string{
	remoteIndex:  func(a *v1alpha1.Agent) []string { return bucketUnlessEmpty(bucketed[remoteIndex](a)) },
	machineIndex: func(a *v1alpha1.Agent) []string { return bucketUnlessEmpty(bucketed[machineIndex](a)) },
	usesIndex:    uses,
}

// having are the Agents with this remote agent or machine ID, by the index, as the cache has them, not to be changed.
func (r *Reconciler) having(ctx context.Context, index, value string) ([]v1alpha1.Agent, error) {
	var agents v1alpha1.AgentList
	err := r.Client.List(ctx, &agents, client.MatchingFields{index: bucket(value)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(agents.Items, func(a v1alpha1.Agent) bool {
		return bucketed[index](&a) != value
	}), nil
}

// owners are the names of the Agents that a Secret is kept for and owned by.
func owners(secret client.Object) (names []string) {
	if _, kept := tokensecret.Owner(secret); !kept {
		return nil
	}
	for _, owner := range secret.GetOwnerReferences() {
		if owner.Kind == "Agent" && owner.APIVersion == v1alpha1.GroupVersion.String() {
			names = append(names, owner.Name)
		}
	}
	return names
}

func bucketUnlessEmpty(value string) []string {
	if value == "" {
		return nil
	}
	return []string{bucket(value)}
}

func uses(a *v1alpha1.Agent) []string {
	var used []string
	for _, name := range tokensecret.Names(a) {
		if !slices.Contains(usualUsers(name), a.Name) {
			used = append(used, "Secret/"+name)
		}
	}
	if from := a.Spec.RawConfigFrom; from != nil {
		if from.SecretKeyRef != nil {
			used = append(used, "Secret/"+from.SecretKeyRef.Name)
		}
		if from.ConfigMapKeyRef != nil {
			used = append(used, "ConfigMap/"+from.ConfigMapKeyRef.Name)
		}
	}
	return used
}

// usualUsers are the names of the Agents that use a Secret of this name without naming it.
func usualUsers(secret string) (names []string) {
	for _, suffix := range []string{tokensecret.TokenSuffix, tokensecret.SessionSuffix} {
		if name, usual := strings.CutSuffix(secret, suffix); usual {
			names = append(names, name)
		}
	}
	return names
}

// concerns leaves out what the operator itself writes: the status, the finalizer and the nonce. A finalizer that goes
// is somebody else's doing while the Agent lives: without it a deletion would leak the remote agent.
func concerns(e event.UpdateEvent) bool {
	before, after := maps.Clone(e.ObjectOld.GetAnnotations()), maps.Clone(e.ObjectNew.GetAnnotations())
	delete(before, v1alpha1.AnnotationRegistrationIntent)
	delete(after, v1alpha1.AnnotationRegistrationIntent)
	return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
		e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		fenced(e.ObjectOld) && !fenced(e.ObjectNew) && e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		!maps.Equal(before, after)
}

// users finds the Agents that use an object of the kind.
func (r *Reconciler) users(kind string) handler.MapFunc {
	return func(ctx context.Context, object client.Object) (requests []reconcile.Request) {
		namespace := object.GetNamespace()
		names := owners(object) // Also one that is gone, for its Secrets to be swept.
		for _, agent := range r.cached(ctx, client.InNamespace(namespace), client.MatchingFields{usesIndex: kind + "/" + object.GetName()}) {
			names = append(names, agent.Name)
		}
		for _, name := range usualUsers(object.GetName()) {
			if kind != "Secret" || slices.Contains(names, name) {
				continue
			}
			var agent v1alpha1.Agent
			err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &agent, client.UnsafeDisableDeepCopy)
			if err == nil && slices.Contains(tokensecret.Names(&agent), object.GetName()) {
				names = append(names, name)
			}
		}
		for _, name := range names {
			requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
		}
		return requests
	}
}

// ofProject are the Agents of a CloudProject.
func (r *Reconciler) ofProject(ctx context.Context, key client.ObjectKey) []v1alpha1.Agent {
	return r.cached(ctx, client.MatchingFields{projectref.AgentIndex: key.String()})
}

// waking are the Agents of a CloudProject that may wait for it. Left out are registered ones that this process has not
// looked at: they stand in line still. On a start that is nearly all of them.
func (r *Reconciler) waking(ctx context.Context, key client.ObjectKey) []v1alpha1.Agent {
	return slices.DeleteFunc(r.ofProject(ctx, key), func(a v1alpha1.Agent) bool {
		return a.Status.ID != "" && r.memories.before(types.NamespacedName{Namespace: a.Namespace, Name: a.Name}) == nil
	})
}

// cached are Agents as the cache has them, not to be changed.
func (r *Reconciler) cached(ctx context.Context, options ...client.ListOption) []v1alpha1.Agent {
	var agents v1alpha1.AgentList
	if err := r.Client.List(ctx, &agents, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		logger(ctx).Error(err, "Agents cannot be listed from the cache")
		return nil
	}
	return agents.Items
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// waker enqueues the Agents of a CloudProject when they may go on.
type waker struct {
	agents func(context.Context, client.ObjectKey) []v1alpha1.Agent

	mu    sync.Mutex
	ctx   context.Context // of the running controller
	queue queue
}

// Start takes the queue of the controller.
func (w *waker) Start(ctx context.Context, queue queue) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx, w.queue = ctx, queue
	return nil
}

// handler wakes the Agents of a CloudProject that changed.
func (w *waker) handler() handler.EventHandler {
	wake := func(object client.Object) { w.enqueue(client.ObjectKeyFromObject(object), w.agents) }
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, _ queue) {
			if !e.IsInInitialList { // Its Agents are, too.
				wake(e.Object)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, _ queue) { wake(e.ObjectNew) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ queue) { wake(e.Object) },
	}
}

// enqueue is called by the registry, too. Before the controller runs there is nobody to be woken: it begins with
// all Agents anyway. Somebody waits for those that are not registered yet: they go before the others, and after
// what people change now.
func (w *waker) enqueue(key client.ObjectKey, agents func(context.Context, client.ObjectKey) []v1alpha1.Agent) {
	w.mu.Lock()
	ctx, queue := w.ctx, w.queue
	w.mu.Unlock()
	if queue == nil {
		return
	}
	var waiting, registered []reconcile.Request
	all := agents(ctx, key)
	for i := range all {
		request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all[i])}
		if all[i].Status.ID == "" {
			waiting = append(waiting, request)
		} else {
			registered = append(registered, request)
		}
	}
	if prioritized, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		prioritized.AddWithOpts(priorityqueue.AddOpts{Priority: new(lowPriority / 2)}, waiting...)
		prioritized.AddWithOpts(priorityqueue.AddOpts{Priority: &lowPriority}, registered...)
		return
	}
	for _, request := range append(waiting, registered...) {
		queue.Add(request)
	}
}

var _ source.Source = &waker{}
