/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness/objects"
)

const (
	projectID = "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11"
	otherID   = "1d3c5b7a-0f2e-4d6c-8b9a-7e5f3d1c0b2a"
	tokenName = "token-source"
	ready     = v1alpha1.ConditionReady
)

var (
	plane  *testenv.ControlPlane
	scheme = runtime.NewScheme()
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrl.SetLogger(logr.Discard()) // The test captures the logs of its manager.
	var err error
	if plane, err = testenv.Start(context.Background(), testenv.Options{Own: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = plane.Stop() }()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// world is an operator in its own namespace, with its own fake API.
type world struct {
	objects.Objects
	cloud    *cloudtest.Server
	url      string
	token    cloud.Token
	projects *connection.Registry
	events   *recorder
	reader   *countingReader
	restart  func(meanwhile ...func())
	repair   func() // what a test broke; may be nil

	mu     sync.Mutex
	log    strings.Builder
	woken  int
	tokens []string // that must be found nowhere
}

type options struct {
	settings   cloudtest.Settings
	delays     Delays
	namespaces []string
	policy     cloud.URLPolicy
	beside     string // a further namespace to watch; other tests run in all the rest
}

func newWorld(t *testing.T, change ...func(*options)) *world {
	t.Helper()
	o := options{
		policy: cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1", "unused.invalid"}, AllowInsecureHTTP: true},
		delays: Delays{AgentCountInterval: 200 * time.Millisecond, BackoffMin: 50 * time.Millisecond, InUseDelay: 20 * time.Millisecond},
	}
	for _, f := range change {
		f(&o)
	}
	direct, err := client.New(plane.Config, client.Options{Scheme: scheme})
	noError(t, err)
	w := &world{Objects: objects.Objects{TB: t, Client: direct, Namespace: newNamespace(t)}, cloud: cloudtest.New(o.settings), events: &recorder{}}
	server := w.cloud.Start()
	t.Cleanup(server.Close)
	w.url = server.URL
	w.token = w.cloud.AddProject(projectID)
	w.hide(w.token.Reveal())
	registerAside(t, w.cloud, w.url, w.token)

	stop := w.start(&o)
	w.restart = func(meanwhile ...func()) {
		stop()
		for _, f := range meanwhile {
			f()
		}
		stop = w.start(&o)
	}
	t.Cleanup(func() { stop(); w.checkHidden() })
	return w
}

func newNamespace(t *testing.T) string {
	t.Helper()
	direct, err := client.New(plane.Config, client.Options{Scheme: scheme})
	noError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "cproj-"}}
	noError(t, direct.Create(t.Context(), namespace))
	return namespace.Name
}

// registerAside registers an agent without the operator: with it in the list, one request verifies the credentials.
func registerAside(t *testing.T, server *cloudtest.Server, url string, token cloud.Token) {
	t.Helper()
	for _, scheme := range []cloud.Scheme{cloud.SchemeBearer, cloud.SchemeProjectToken} {
		if _, err := objects.Register(t, url, cloud.Credential{Scheme: scheme, Token: token}, bodyOf("aside")); err == nil {
			break
		}
	}
	server.ResetRequests()
}

// start runs the operator until the function that it returns is called.
func (w *world) start(o *options) (stop func()) {
	logger := funcr.New(func(prefix, args string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		fmt.Fprintln(&w.log, prefix, args)
	}, funcr.Options{})
	managerOptions := ctrl.Options{
		Scheme: scheme, Logger: logger, Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{w.Namespace: {}}},
	}
	if o.beside != "" {
		managerOptions.Cache.DefaultNamespaces[o.beside] = cache.Config{}
	}
	mgr, err := ctrl.NewManager(plane.Config, managerOptions)
	noError(w, err)
	noError(w, mgr.GetFieldIndexer().IndexField(w.Context(), &v1alpha1.Agent{}, projectref.AgentIndex,
		projectref.AgentIndexer(types.NamespacedName{})))

	w.projects = connection.NewRegistry(connection.Options{Policy: o.policy, UserAgent: "test", Timeout: 2 * time.Second})
	w.projects.OnWake(func(client.ObjectKey) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.woken++
	})
	w.reader = &countingReader{Reader: mgr.GetAPIReader()}
	r := &Reconciler{
		Client: mgr.GetClient(), APIReader: w.reader, Projects: w.projects, Recorder: w.events,
		Delays: o.delays, Namespaces: o.namespaces,
	}
	noError(w, r.SetupWithManager(mgr, controller.Options{SkipNameValidation: ptr.To(true), MaxConcurrentReconciles: 4}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("the manager ended with %v", err)
		}
	}
}

// hide makes the test fail if the token appears anywhere but in a Secret.
func (w *world) hide(token string) { w.tokens = append(w.tokens, token) }

func (w *world) checkHidden() {
	var list v1alpha1.CloudProjectList
	noError(w, w.Client.List(context.Background(), &list, client.InNamespace(w.Namespace)))
	objects, err := json.Marshal(list)
	noError(w, err)
	for _, token := range w.tokens {
		for where, text := range map[string]string{
			"an object": string(objects), "the log": w.logged(), "an event": fmt.Sprint(w.events.all()),
		} {
			for part := range strings.SplitSeq(token, ".") {
				if len(part) >= 16 && strings.Contains(text, part) {
					w.Errorf("a token shows in %s: %s", where, text)
				}
			}
		}
	}
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *world) wakes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.woken
}

// countingReader counts what is read from the API server itself.
type countingReader struct {
	client.Reader
	mu    sync.Mutex
	gets  map[string]int // by name
	lists int
}

func (r *countingReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := r.Reader.Get(ctx, key, obj, opts...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gets == nil {
		r.gets = map[string]int{}
	}
	r.gets[key.Name]++
	return err
}

func (r *countingReader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	r.mu.Lock()
	r.lists++
	r.mu.Unlock()
	return r.Reader.List(ctx, list, opts...)
}

func (r *countingReader) count(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gets[name]
}

func (r *countingReader) listed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lists
}

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Eventf(regarding, _ runtime.Object, kind, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, kind+" "+reason+" "+regarding.(client.Object).GetName()+": "+fmt.Sprintf(note, args...))
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.events...)
}

// create creates the token's Secret and a CloudProject, which is valid unless change breaks it.
func (w *world) create(change ...func(*v1alpha1.CloudProject)) *v1alpha1.CloudProject {
	w.Helper()
	w.SetSecret(tokenName, map[string]string{"token": w.token.Reveal()})
	return w.createOnly(change...)
}

func (w *world) createOnly(change ...func(*v1alpha1.CloudProject)) *v1alpha1.CloudProject {
	w.Helper()
	cp := &v1alpha1.CloudProject{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "main"},
		Spec:       v1alpha1.CloudProjectSpec{URL: w.url, TokenSecretRef: v1alpha1.TokenSecretReference{Name: tokenName}},
	}
	for _, f := range change {
		f(cp)
	}
	w.Create(cp)
	return cp
}

func (w *world) putToken(token string) { w.SetSecret(tokenName, map[string]string{"token": token}) }

func (w *world) deleteSecret(name string) {
	w.Helper()
	noError(w, w.Client.Delete(w.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name}}))
}

func (w *world) poke(cp *v1alpha1.CloudProject) {
	w.Helper()
	w.Edit(cp, func() {
		metav1.SetMetaDataAnnotation(&cp.ObjectMeta, v1alpha1.AnnotationReconcileAt, time.Now().String())
	})
}

// createAgent creates an Agent with a finalizer and a recorded ID, as if it were registered.
func (w *world) createAgent(namespace, name string, cp *v1alpha1.CloudProject) *v1alpha1.Agent {
	w.Helper()
	agent := &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Finalizers: []string{v1alpha1.AgentFinalizer}},
		Spec: v1alpha1.AgentSpec{
			ProjectRef: &v1alpha1.CloudProjectReference{Name: cp.Name, Namespace: cp.Namespace},
			Type:       v1alpha1.AgentTypeFluentBit, Version: "v4.0.0", RawConfig: "[INPUT]",
		},
	}
	w.Create(agent)
	agent.Status.ID = otherID
	noError(w, w.Client.Status().Update(w.Context(), agent))
	return agent
}

// removeAgent ends an Agent as the agent controller does.
func (w *world) removeAgent(agent *v1alpha1.Agent) {
	w.Helper()
	noError(w, client.IgnoreNotFound(w.Client.Delete(w.Context(), agent)))
	w.Edit(agent, func() { agent.Finalizers = nil })
}

func (w *world) gone(obj client.Object) {
	w.Helper()
	w.eventually(fmt.Sprintf("%T %s to go", obj, obj.GetName()), func() bool {
		err := w.Client.Get(w.Context(), client.ObjectKeyFromObject(obj), obj)
		noError(w, client.IgnoreNotFound(err))
		return err != nil
	}, w.logged)
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
