/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package harness runs the operator's controllers in the test process, against
// a real control plane and a fake cloud over HTTP. Each World has a namespace,
// a cloud and its own operator.
package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
	"github.com/calyptia-agent-operator/operator/test/harness/objects"
)

// Patience is how long a test waits for an expected state.
const Patience = await.Patience

var (
	plane  *testenv.ControlPlane
	scheme = runtime.NewScheme()
	// admin and mapper serve all Worlds: a connection and a discovery for each would take longer than many tests.
	admin     client.WithWatch
	mapper    meta.RESTMapper
	namespace atomic.Int64
	// prefix of the namespaces of this process: other packages and other runs may use the same control plane.
	prefix = fmt.Sprintf("%s-%s", packageName(), uuid.NewString()[:4])
)

// packageName is the name of the tested package, as a part of the names of namespaces.
func packageName() string {
	program := strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
	if len(validation.IsDNS1123Label(program)) > 0 { // A debugger uses another name.
		return "test"
	}
	return program
}

// Main runs all tests of a package, and ends. The control plane may be shared with other packages.
func Main(m *testing.M) { os.Exit(Run(m, testenv.Options{})) }

// Run starts one control plane, runs all tests of a package and returns the exit code.
func Run(m *testing.M, options testenv.Options) int {
	// These tests wait more than they work; flags of the command line take precedence.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	log := logr.Discard()
	if os.Getenv("OPERATOR_LOG") != "" {
		log = zap.New(zap.UseDevMode(true))
	}
	ctrllog.SetLogger(log)
	err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
	if err == nil {
		plane, err = testenv.Start(context.Background(), options)
	}
	if err == nil {
		err = connect()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := plane.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

func connect() error {
	connection, err := rest.HTTPClientFor(plane.Config)
	if err != nil {
		return err
	}
	if mapper, err = apiutil.NewDynamicRESTMapper(plane.Config, connection); err != nil {
		return err
	}
	admin, err = client.NewWithWatch(plane.Config, client.Options{Scheme: scheme, HTTPClient: connection, Mapper: mapper})
	return err
}

// Plane is the control plane of the package.
func Plane() *testenv.ControlPlane { return plane }

// CloudTimes of operators that are started later.
type CloudTimes struct {
	// CloudTimeout of one request to Calyptia Cloud.
	CloudTimeout time.Duration
	// BetweenLists is the time between two lists that only Agents of other namespaces than the CloudProject's need.
	BetweenLists time.Duration
}

// World is a namespace with a CloudProject "calyptia", its fake cloud, and an operator.
type World struct {
	objects.Objects
	Cloud     *cloudtest.Server
	HTTP      *httptest.Server
	ProjectID string
	Token     cloud.Token
	// Settings of operators that are started later.
	Settings remoteagent.Settings
	CloudTimes
	// Clock of the operators.
	Clock *Clock
	// Logger of operators that are started later; without one, logs are discarded.
	Logger logr.Logger
	// WithoutNodes starts operators that have no access to nodes and workloads.
	WithoutNodes bool
	// API counts, and may fail, the requests of the operators to the API server.
	API *Proxy

	operator *Operator
}

// Clock is the real clock plus an offset.
type Clock struct{ ahead atomic.Int64 }

// Step advances the clock.
func (c *Clock) Step(d time.Duration) { c.ahead.Add(int64(d)) }

// Now is the current time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Since is the time since t.
func (c *Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Option changes a World before its CloudProject is created and its operator starts.
type Option func(*World, *v1alpha1.CloudProject)

// Idle does not start the operator.
func Idle(w *World, _ *v1alpha1.CloudProject) { w.operator = &Operator{} }

// New makes a World with a running operator.
func New(t testing.TB, settings cloudtest.Settings, options ...Option) *World {
	t.Helper()
	w := &World{
		Objects: objects.Objects{TB: t, Client: admin, Namespace: fmt.Sprintf("%s-%d", prefix, namespace.Add(1))},
		Cloud:   cloudtest.New(settings), ProjectID: uuid.NewString(), API: NewProxy(), Clock: &Clock{},
		CloudTimes: CloudTimes{CloudTimeout: 2 * time.Second, BetweenLists: BetweenLists},
		Settings: remoteagent.Settings{
			ClusterID: "test-cluster",
			Times: remoteagent.Times{
				PostWindow: 3 * time.Second, Slack: 4 * time.Second,
				ErrorSlack: 300 * time.Millisecond, GoneDelay: 200 * time.Millisecond,
				BackoffMin: 50 * time.Millisecond, BackoffMax: time.Second,
			},
		},
	}
	w.HTTP = w.Cloud.Start()
	t.Cleanup(w.HTTP.Close)
	w.Token = w.Cloud.AddProject(w.ProjectID)
	w.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}})
	cp := w.NewCloudProject("calyptia")
	for _, option := range options {
		option(w, cp)
	}
	w.Create(w.TokenSecret("calyptia-token", w.Token.Reveal()))
	w.Create(cp)
	if w.operator == nil {
		w.Start()
	}
	t.Cleanup(func() { w.Stop() })
	return w
}

// NewCloudProject is a CloudProject of the World's cloud, without a rate limit.
func (w *World) NewCloudProject(name string) *v1alpha1.CloudProject {
	return w.CloudProject(name, w.HTTP.URL)
}

// NewAgent is a complete Agent for the CloudProject of the World.
func (w *World) NewAgent(name string, changes ...func(*v1alpha1.Agent)) *v1alpha1.Agent {
	a := &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: v1alpha1.AgentSpec{
			ProjectRef: &v1alpha1.CloudProjectReference{Name: "calyptia"},
			Type:       v1alpha1.AgentTypeFluentBit,
			Version:    "v4.0.0",
			RawConfig:  "[INPUT]\n    name dummy\n",
		},
	}
	for _, change := range changes {
		change(a)
	}
	return a
}

// Apply creates an Agent and returns its name.
func (w *World) Apply(name string, changes ...func(*v1alpha1.Agent)) string {
	w.Helper()
	w.Create(w.NewAgent(name, changes...))
	return name
}

// Get reads an Agent.
func (w *World) Get(name string) *v1alpha1.Agent {
	w.Helper()
	var a v1alpha1.Agent
	if err := w.Client.Get(context.Background(), client.ObjectKey{Namespace: w.Namespace, Name: name}, &a); err != nil {
		w.Fatalf("get Agent %s: %v", name, err)
	}
	return &a
}

// Change patches an Agent as a user would.
func (w *World) Change(name string, change func(*v1alpha1.Agent)) {
	w.Helper()
	a := v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name}}
	w.Edit(&a, func() { change(&a) })
}

// Poke requests a sync now.
func (w *World) Poke(name string) {
	w.Helper()
	w.Change(name, func(a *v1alpha1.Agent) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationReconcileAt, uuid.NewString())
	})
}

// Remote returns the agents in the cloud, oldest first.
func (w *World) Remote() []cloud.Agent { return w.Cloud.Agents(w.ProjectID) }

// Register registers a remote agent externally, with another configuration and version than NewAgent.
func (w *World) Register(name, machineID string) *cloud.Registered {
	w.Helper()
	made, err := objects.Register(w, w.HTTP.URL, cloud.Credential{Scheme: cloud.SchemeBearer, Token: w.Token}, cloud.Registration{
		Name: name, MachineID: machineID, Type: "fluentbit", Version: "v3.0.0", Edition: "community", RawConfig: "[INPUT]\n    name mem\n",
	})
	if err != nil {
		w.Fatal(err)
	}
	return made
}

// Eventually waits until check returns nil.
func (w *World) Eventually(what string, check func() error) {
	w.Helper()
	await.Eventually(w, what, check)
}

// AddNamespace creates another namespace for the World and returns its name.
func (w *World) AddNamespace(suffix string) string {
	w.Helper()
	name := w.Namespace + "-" + suffix
	w.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	return name
}

// In is the same World in another of its namespaces.
func (w *World) In(namespace string) *World {
	other := *w
	other.Namespace = namespace
	return &other
}

// Second is the same World with a second operator, which is not started yet.
func (w *World) Second() *World {
	other := *w
	other.operator, other.API = nil, NewProxy()
	w.Cleanup(func() { other.Stop() })
	return &other
}

// For is the same World for a subtest.
func (w *World) For(t testing.TB) *World {
	other := *w
	other.TB = t
	return &other
}
