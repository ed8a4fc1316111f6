/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness/objects"
)

// persistence is how long a write to the API server is retried over its restarts.
const persistence = 2 * time.Minute

// place is a CloudProject with its fake cloud.
type place struct {
	namespace string   // of the CloudProject
	others    []string // more namespaces with its Agents
	projectID string
	token     cloud.Token
	cloud     *cloudtest.Server
	faults    *faults
}

// namespaces are all namespaces with Agents of the place.
func (p *place) namespaces() []string { return append([]string{p.namespace}, p.others...) }

// world is a cluster, the clouds, and the declarations.
type world struct {
	t         testing.TB
	plane     *testenv.ControlPlane
	kube      client.Client
	clusterID string
	logs      string // directory for the logs of the operators
	places    []*place
	// among: the control plane is shared, so the operators watch only the namespaces of the places.
	among bool

	mu      sync.Mutex
	agents  map[types.NamespacedName]v1alpha1.AgentSpec // the declarations
	configs map[types.NamespacedName]string             // data of the ConfigMaps that Agents refer to
}

// keptIfFailed makes a directory for logs, which is kept if the test fails.
func keptIfFailed(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "torture-logs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the operators said is kept in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newWorld makes a world without places.
func newWorld(t testing.TB, plane *testenv.ControlPlane, clusterID, logs string) *world {
	t.Helper()
	kube, err := client.New(plane.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, plane: plane, kube: kube, clusterID: clusterID, logs: logs,
		agents: map[types.NamespacedName]v1alpha1.AgentSpec{}, configs: map[types.NamespacedName]string{},
	}
}

// alone makes a world with one place, in separate namespaces of the shared control plane.
func alone(t *testing.T, name string, settings cloudtest.Settings) (*world, *place) {
	t.Helper()
	plane, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, plane, name, keptIfFailed(t))
	w.among = true
	return w, w.addPlace(name, settings, &faults{})
}

// addPlace makes a cloud and its CloudProject, which the namespaces <name> and <name>-b may use.
func (w *world) addPlace(name string, settings cloudtest.Settings, f *faults) *place {
	w.t.Helper()
	p := &place{
		namespace: name, others: []string{name + "-b"}, projectID: uuid.NewString(),
		cloud: cloudtest.New(settings), faults: f,
	}
	f.server = p.cloud
	server := httptest.NewServer(http.Handler(f))
	w.t.Cleanup(server.Close)
	w.t.Cleanup(server.CloseClientConnections)
	p.token = p.cloud.AddProject(p.projectID)
	for _, namespace := range p.namespaces() {
		w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	at := objects.Objects{TB: w.t, Client: w.kube, Namespace: name}
	at.Create(at.TokenSecret(projectToken, p.token.Reveal()))
	cp := at.CloudProject(projectName, server.URL)
	cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	cp.Spec.ResyncInterval = &metav1.Duration{Duration: time.Minute}
	at.Create(cp)
	w.places = append(w.places, p)
	return p
}

// Names that every place has.
const (
	projectName  = "calyptia"
	projectToken = "calyptia-token"
)

func (w *world) create(object client.Object) {
	w.t.Helper()
	if err := w.kube.Create(context.Background(), object); err != nil {
		w.t.Fatalf("create %T %s: %v", object, object.GetName(), err)
	}
}

// persist retries a write until the API server accepts it. It ends with the test.
func persist(ctx context.Context, what string, write func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, persistence, true, func(ctx context.Context) (bool, error) {
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if last = write(call); apierrors.IsInvalid(last) {
			return false, last
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w (%w)", what, err, last)
	}
	return nil
}

// declare creates an Agent. It reports false if an Agent of that name is still being deleted.
func (w *world) declare(ctx context.Context, key types.NamespacedName, spec v1alpha1.AgentSpec) (bool, error) {
	leaving := false
	err := persist(ctx, "create Agent "+key.String(), func(ctx context.Context) error {
		agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: spec}
		err := w.kube.Create(ctx, agent)
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		// Either an earlier attempt succeeded, or the previous Agent still exists.
		if err := w.kube.Get(ctx, key, agent); err != nil {
			return err
		}
		leaving = !agent.DeletionTimestamp.IsZero()
		return nil
	})
	if err != nil || leaving {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agents[key] = spec
	return true, nil
}

// redeclare changes the spec of an Agent.
func (w *world) redeclare(ctx context.Context, key types.NamespacedName, spec v1alpha1.AgentSpec) error {
	err := w.patch(ctx, key, func(a *v1alpha1.Agent) { a.Spec = spec })
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agents[key] = spec
	return nil
}

// poke requests a sync now.
func (w *world) poke(ctx context.Context, key types.NamespacedName, value string) error {
	return w.patch(ctx, key, func(a *v1alpha1.Agent) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationReconcileAt, value)
	})
}

func (w *world) patch(ctx context.Context, key types.NamespacedName, change func(*v1alpha1.Agent)) error {
	return persist(ctx, "change Agent "+key.String(), func(ctx context.Context) error {
		var agent v1alpha1.Agent
		if err := w.kube.Get(ctx, key, &agent); err != nil {
			return err
		}
		base := agent.DeepCopy()
		change(&agent)
		return w.kube.Patch(ctx, &agent, client.MergeFrom(base))
	})
}

// retract deletes an Agent and does not wait.
func (w *world) retract(ctx context.Context, key types.NamespacedName) error {
	// From here on it may be deleted at any time.
	w.mu.Lock()
	delete(w.agents, key)
	w.mu.Unlock()
	return persist(ctx, "delete Agent "+key.String(), func(ctx context.Context) error {
		agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		return client.IgnoreNotFound(w.kube.Delete(ctx, agent))
	})
}

// configure creates or changes a ConfigMap with the configuration of Agents.
func (w *world) configure(ctx context.Context, key types.NamespacedName, data string) error {
	err := persist(ctx, "write ConfigMap "+key.String(), func(ctx context.Context) error {
		config := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: map[string]string{configKey: data},
		}
		err := w.kube.Update(ctx, config)
		if apierrors.IsNotFound(err) {
			return w.kube.Create(ctx, config)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.configs[key] = data
	return nil
}

// configKey is the key of every ConfigMap with a configuration.
const configKey = "fluent-bit.conf"

// declared reports whether the Agent is declared.
func (w *world) declared(key types.NamespacedName) (v1alpha1.AgentSpec, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	spec, ok := w.agents[key]
	return spec, ok
}

// all are the declared Agents.
func (w *world) all() map[types.NamespacedName]v1alpha1.AgentSpec {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.agents)
}

// machineID is the machine ID of an Agent: the chosen one, or the one derived from its name. The derivation is repeated
// here, so that the operator's is checked.
func (w *world) machineID(key types.NamespacedName, chosen string) string {
	if chosen != "" {
		return chosen
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("cloud.calyptia.com/"+w.clusterID+"/"+key.String())).String()
}
