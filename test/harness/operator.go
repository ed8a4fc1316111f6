/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package harness

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/controller/agent"
	"github.com/calyptia-agent-operator/operator/internal/controller/agentset"
	"github.com/calyptia-agent-operator/operator/internal/controller/cloudproject"
	"github.com/calyptia-agent-operator/operator/internal/eventlimit"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
)

// Workers is the number of concurrent reconciles for the Agents of one namespace, and so of concurrent requests.
const Workers = 4

// BetweenLists is the default of a World.
const BetweenLists = 50 * time.Millisecond

// Operator is one running operator.
type Operator struct {
	cancel context.CancelFunc
	done   chan error
}

// Start starts an operator over the World's namespace.
func (w *World) Start(more ...string) {
	w.Helper()
	skip := true
	apiConfig := apiserver.Configure(plane.Config)
	apiConfig.Wrap(w.API.wrap)
	namespaces := map[string]cache.Config{w.Namespace: {}}
	for _, namespace := range more {
		namespaces[namespace] = cache.Config{}
	}
	mgr, err := ctrl.NewManager(apiConfig, ctrl.Options{
		Scheme: scheme,
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
			return mapper, nil
		},
		Cache:      cache.Options{DefaultNamespaces: namespaces, DefaultTransform: agentset.TrimWorkload},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &skip},
		Logger:     agentstatus.BoundedLog(w.Logger),
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	recording, end := context.WithCancel(context.Background())
	recorder, err := eventlimit.Recorders(recording, mgr)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.assemble(ctx, mgr, recorder, slices.Collect(maps.Keys(namespaces))); err != nil {
		cancel()
		w.Fatal(err)
	}
	o := &Operator{cancel: cancel, done: make(chan error, 1)}
	go func() {
		defer end()
		o.done <- mgr.Start(ctx)
	}()
	w.operator = o
}

func (w *World) assemble(
	ctx context.Context, mgr ctrl.Manager, recorder func(string) events.EventRecorder, namespaces []string,
) error {
	projects := connection.NewRegistry(connection.Options{
		Policy:         cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true},
		UserAgent:      "calyptia-agent-operator/test",
		Clock:          w.Clock,
		Timeout:        w.CloudTimeout,
		BreakerTimeout: 500 * time.Millisecond,
		// Empty is a time between two checks, as GoneDelay is.
		ListDelays: inventory.Delays{Empty: w.Settings.GoneDelay, Between: w.BetweenLists},
	})
	indexer := projectref.AgentIndexer(w.Settings.DefaultProject)
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Agent{}, projectref.AgentIndex, indexer); err != nil {
		return err
	}
	err := (&cloudproject.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Projects: projects,
		Recorder: recorder("cloudproject"), Clock: w.Clock,
		DefaultProject: w.Settings.DefaultProject, Shard: w.Settings.Shard, Namespaces: namespaces,
		ClusterID: w.Settings.ClusterID,
		Delays:    cloudproject.Delays{BackoffMin: 50 * time.Millisecond, BackoffMax: time.Second, InUseDelay: 50 * time.Millisecond},
	}).SetupWithManager(mgr, controller.Options{})
	if err != nil {
		return err
	}
	nodes, err := w.nodes(mgr)
	if err != nil {
		return err
	}
	err = (&agentset.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Nodes: nodes, Recorder: recorder("agentset"),
		Clock: w.Clock, DefaultProject: w.Settings.DefaultProject, Shard: w.Settings.Shard,
	}).SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: 2})
	if err != nil {
		return err
	}
	return (&agent.Reconciler{
		Operator: remoteagent.Operator{
			Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Projects: projects, Clock: w.Clock, Settings: w.Settings,
		},
		Recorder: recorder("agent"),
	}).SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: Workers})
}

// nodes is the cache of nodes, which are not namespaced.
func (w *World) nodes(mgr ctrl.Manager) (cache.Cache, error) {
	if w.WithoutNodes {
		return nil, nil
	}
	all, err := agentset.NewNodes(mgr.GetConfig(), scheme)
	if err != nil {
		return nil, err
	}
	return all.GetCache(), mgr.Add(all)
}

// Halt asks the operator to exit and does not wait for it. Stop does.
func (w *World) Halt() { w.operator.cancel() }

// Stop ends the operator cleanly, if one runs.
func (w *World) Stop() {
	if w.operator == nil || w.operator.cancel == nil {
		return
	}
	w.operator.cancel()
	if err := <-w.operator.done; err != nil {
		w.Errorf("the operator ended with: %v", err)
	}
	w.operator = nil
}

// Restart stops the operator and starts a new one with empty caches.
func (w *World) Restart() {
	w.Helper()
	w.Stop()
	w.Start()
}

// Write is one write request of an operator.
type Write struct {
	Method, Path string
	Status       int
}

// NewProxy passes everything on.
func NewProxy() *Proxy {
	p := &Proxy{}
	p.landed.L = &p.mu
	return p
}

// Proxy is between the operators of a World and the API server.
type Proxy struct {
	mu     sync.Mutex
	flying int // writes in progress
	landed sync.Cond
	writes []Write
	before func(*http.Request) error
	around func(*http.Request, Send) (*http.Response, error)
}

// Send sends a request to the API server.
type Send func(*http.Request) (*http.Response, error)

// Around sets a function around each request to the API server: it may withhold the request, or its response.
// nil passes everything on.
func (p *Proxy) Around(f func(r *http.Request, send Send) (*http.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.around = f
}

// Rewrite has the API server get other bodies of some requests, as with a policy or webhook that changes objects, until Around is set
// again.
func (p *Proxy) Rewrite(selected func(*http.Request) bool, change func(body []byte) ([]byte, error)) {
	p.Around(func(r *http.Request, send Send) (*http.Response, error) {
		if r.Body == nil || !selected(r) {
			return send(r)
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			body, err = change(body)
		}
		if err != nil {
			return nil, err
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return send(r)
	})
}

// Before sets a function that runs before each request; the operator gets its error. nil passes everything on.
func (p *Proxy) Before(f func(*http.Request) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// StopAt fails the next request with this method and path suffix, and every write after it, as if the operator had
// died there. The channel is closed when that happens.
func (p *Proxy) StopAt(method, suffix string) <-chan struct{} {
	return p.StopWhen(func(r *http.Request) bool { return r.Method == method && strings.HasSuffix(r.URL.Path, suffix) })
}

// StopWhen is StopAt for the next request that is selected.
func (p *Proxy) StopWhen(selected func(*http.Request) bool) <-chan struct{} {
	stopped := make(chan struct{})
	var once sync.Once
	var dead atomic.Bool
	p.Before(func(r *http.Request) error {
		if selected(r) {
			dead.Store(true)
			once.Do(func() { close(stopped) })
		}
		if dead.Load() && r.Method != http.MethodGet {
			return errors.New("the operator is dead")
		}
		return nil
	})
	return stopped
}

// StopAfter sends the next request with this method and path suffix, withholds its response, and fails every write
// after it, as if the operator had died there. The channel is closed when that happens.
func (p *Proxy) StopAfter(method, suffix string) <-chan struct{} {
	stopped := make(chan struct{})
	var dead atomic.Bool
	p.Around(func(r *http.Request, send Send) (*http.Response, error) {
		if r.Method == http.MethodGet {
			return send(r)
		}
		if r.Method != method || !strings.HasSuffix(r.URL.Path, suffix) {
			if dead.Load() {
				return nil, errors.New("the operator is dead")
			}
			return send(r)
		}
		if dead.Swap(true) {
			return nil, errors.New("the operator is dead")
		}
		response, err := send(r)
		if err == nil {
			err = response.Body.Close()
		}
		close(stopped)
		return nil, errors.Join(errors.New("the operator is dead"), err)
	})
	return stopped
}

// FailOnce fails the next request with this method and path suffix.
func (p *Proxy) FailOnce(method, suffix string) {
	var once sync.Once
	p.Before(func(r *http.Request) (err error) {
		if r.Method == method && strings.HasSuffix(r.URL.Path, suffix) {
			once.Do(func() { err = errors.New("the API server cannot be reached") })
		}
		return err
	})
}

// Reset forgets the writes seen so far.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.flying > 0 {
		p.landed.Wait()
	}
	p.writes = nil
}

// Writes are the writes seen so far that concern objects (events apart), and how many of them were conflicts.
func (p *Proxy) Writes() (writes []Write, conflicts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.flying > 0 { // The effect of a write may be visible before its response.
		p.landed.Wait()
	}
	for _, write := range p.writes {
		switch {
		case strings.Contains(write.Path, "/events"):
		case write.Status == http.StatusConflict:
			conflicts++
		default:
			writes = append(writes, write)
		}
	}
	return slices.Clone(writes), conflicts
}

func (p *Proxy) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		p.mu.Lock()
		before, around := p.before, p.around
		p.mu.Unlock()
		if before != nil {
			if err := before(r); err != nil {
				return nil, err
			}
		}
		send := next.RoundTrip
		if around != nil {
			send = func(r *http.Request) (*http.Response, error) { return around(r, next.RoundTrip) }
		}
		if r.Method == http.MethodGet {
			return send(r)
		}
		p.mu.Lock()
		p.flying++
		p.mu.Unlock()
		response, err := send(r)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.flying--
		p.landed.Broadcast()
		if err == nil {
			p.writes = append(p.writes, Write{Method: r.Method, Path: r.URL.Path, Status: response.StatusCode})
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
