/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package namespaces is the cache of an operator that watches some namespaces only. A namespace that the operator has no
// rights in, because its Role is missing or because it does not exist, blocks no other namespace, and is watched as soon
// as the operator has the rights. The caches of controller-runtime would wait for it, and stop the operator.
package namespaces

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// checkTimeout bounds the check of one namespace.
const checkTimeout = 10 * time.Second

// times are those of the checks of the rights.
type times struct {
	// interval is the pause between two checks.
	interval time.Duration
	// patience is how long a filled namespace has to be forbidden before it counts as lost: an API server that just started
	// forbids everything for a moment.
	patience time.Duration
	// quiet is how long a lost namespace must not be forbidden before it is watched again. It is longer than the longest pause
	// between two tries of a watch.
	quiet time.Duration
}

var defaultTimes = times{interval: 20 * time.Second, patience: 15 * time.Second, quiet: 90 * time.Second}

// Cache has a cache for each namespace. It implements cache.Cache for namespaced kinds.
type Cache struct {
	config *rest.Config
	opts   cache.Options
	log    logr.Logger
	// reader reads from the API server.
	reader client.Reader
	times  times
	spaces []*space // sorted by name
	runner runner

	mu        sync.Mutex
	indexes   []index
	informers []*informer
}

// runner runs the caches of the namespaces until the Cache stops.
type runner struct {
	ctx    context.Context // nil before the start
	group  sync.WaitGroup
	failed chan error
}

var _ cache.Cache = (*Cache)(nil)

// index is a field index that the cache of each namespace gets.
type index struct {
	object  client.Object
	field   string
	extract client.IndexerFunc
}

// New is a cache.NewCacheFunc. The namespaces are those of opts.DefaultNamespaces.
func New(config *rest.Config, opts cache.Options) (cache.Cache, error) {
	reader, err := client.New(config, client.Options{HTTPClient: opts.HTTPClient, Scheme: opts.Scheme, Mapper: opts.Mapper})
	if err != nil {
		return nil, err
	}
	c := &Cache{
		config: config, opts: opts, log: logf.Log.WithName("namespaces"), reader: reader, times: defaultTimes,
		runner: runner{failed: make(chan error, 1)},
	}
	for name := range opts.DefaultNamespaces {
		s := &space{owner: c, name: name, refusedOnce: make(chan struct{})}
		if err := s.open(); err != nil {
			return nil, err
		}
		c.spaces = append(c.spaces, s)
	}
	slices.SortFunc(c.spaces, func(a, b *space) int { return strings.Compare(a.name, b.name) })
	return c, nil
}

// Watched returns for each namespace whether it is watched.
func (c *Cache) Watched() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	watched := map[string]bool{}
	for _, s := range c.spaces {
		watched[s.name] = s.synced && !s.lost
	}
	return watched
}

// Start runs the caches of all namespaces and checks the rights repeatedly, until ctx ends.
func (c *Cache) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer c.runner.group.Wait()
	defer cancel()
	c.mu.Lock()
	c.runner.ctx = ctx
	for _, s := range c.spaces {
		s.start()
	}
	c.mu.Unlock()
	ticker := time.NewTicker(c.times.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-c.runner.failed:
			return err
		case <-ticker.C:
			c.check(ctx)
		}
	}
}

// WaitForCacheSync waits for all namespaces except those that the operator has no rights in.
func (c *Cache) WaitForCacheSync(ctx context.Context) bool {
	synced := true
	for _, s := range c.spaces {
		synced = s.wait(ctx) && synced
	}
	return synced
}

// IndexField implements client.FieldIndexer.
func (c *Cache) IndexField(ctx context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spaces {
		if s.cache == nil {
			continue
		}
		if err := s.cache.IndexField(ctx, object, field, extract); err != nil {
			return err
		}
	}
	c.indexes = append(c.indexes, index{object, field, extract})
	return nil
}

// Get implements client.Reader.
func (c *Cache) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	from, err := c.of(key.Namespace)
	if err != nil {
		return err
	}
	return from.Get(ctx, key, object, opts...)
}

// of returns the cache of a namespace. The error for an unwatched namespace is Forbidden, not NotFound: an object in it may
// exist.
func (c *Cache) of(namespace string) (cache.Cache, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, found := slices.BinarySearchFunc(c.spaces, namespace, func(s *space, name string) int { return strings.Compare(s.name, name) })
	switch {
	case !found:
		return nil, fmt.Errorf("namespace %q is not watched: add it to --watch-namespaces", namespace)
	case c.spaces[i].cache == nil:
		return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, namespace, errors.New(remedy))
	}
	return c.spaces[i].cache, nil
}

// open returns the caches of the readable namespaces.
func (c *Cache) open() (caches []cache.Cache) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spaces {
		if s.cache != nil {
			caches = append(caches, s.cache)
		}
	}
	return caches
}

// List implements client.Reader. A list of all namespaces leaves out those that are not watched.
func (c *Cache) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var asked client.ListOptions
	asked.ApplyOptions(opts)
	if asked.Namespace != "" {
		from, err := c.of(asked.Namespace)
		if err != nil {
			return err
		}
		return from.List(ctx, list, opts...)
	}
	all := []runtime.Object{}
	for _, from := range c.open() {
		part := list.DeepCopyObject().(client.ObjectList)
		if err := from.List(ctx, part, &asked); err != nil {
			return err
		}
		items, err := meta.ExtractList(part)
		if err != nil {
			return err
		}
		all = append(all, items...)
		if asked.Limit > 0 {
			if asked.Limit -= int64(len(items)); asked.Limit <= 0 {
				break
			}
		}
	}
	return meta.SetList(list, all)
}

func (c *Cache) kindOf(object runtime.Object) (schema.GroupVersionKind, error) {
	return apiutil.GVKForObject(object, c.opts.Scheme)
}
