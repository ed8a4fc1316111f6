/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package namespaces

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// informer is an informer for one kind in all namespaces. It keeps its handlers for namespaces that become readable later.
type informer struct {
	owner    *Cache
	object   client.Object
	kind     schema.GroupVersionKind
	handlers []*registration
	indexers []toolscache.Indexers
}

var _ cache.Informer = (*informer)(nil)

// GetInformer implements cache.Informers. It does not wait, whatever opts say.
func (c *Cache) GetInformer(ctx context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	kind, err := c.kindOf(object)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.informers {
		if i.same(object, kind) {
			return i, nil
		}
	}
	made := &informer{owner: c, object: object, kind: kind}
	for _, s := range c.spaces {
		if err := made.attach(ctx, s); err != nil {
			return nil, err
		}
	}
	c.informers = append(c.informers, made)
	return made, nil
}

// same compares the Go types, too, because objects and their metadata have separate caches.
func (i *informer) same(object client.Object, kind schema.GroupVersionKind) bool {
	return i.kind == kind && fmt.Sprintf("%T", i.object) == fmt.Sprintf("%T", object)
}

// GetInformerForKind implements cache.Informers.
func (c *Cache) GetInformerForKind(
	ctx context.Context, kind schema.GroupVersionKind, opts ...cache.InformerGetOption,
) (cache.Informer, error) {
	made, err := c.opts.Scheme.New(kind)
	if err != nil {
		return nil, err
	}
	object, ok := made.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%s is not an object kind", kind)
	}
	return c.GetInformer(ctx, object, opts...)
}

// RemoveInformer implements cache.Informers.
func (c *Cache) RemoveInformer(ctx context.Context, object client.Object) error {
	kind, err := c.kindOf(object)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	var left []*informer
	for _, i := range c.informers {
		if !i.same(object, kind) {
			left = append(left, i)
			continue
		}
		for _, s := range c.spaces {
			if s.cache != nil {
				delete(s.parts, i)
				errs = append(errs, s.cache.RemoveInformer(ctx, object))
			}
		}
	}
	c.informers = left
	return errors.Join(errs...)
}

// attach adds the informer of a readable namespace.
func (i *informer) attach(ctx context.Context, s *space) error {
	if s.cache == nil {
		return nil
	}
	part, err := s.cache.GetInformer(ctx, i.object, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	s.parts[i] = part
	for _, indexers := range i.indexers {
		if err := part.AddIndexers(indexers); err != nil {
			return err
		}
	}
	for _, r := range i.handlers {
		if err := r.attach(s); err != nil {
			return err
		}
	}
	return nil
}

// AddEventHandler implements cache.Informer.
func (i *informer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(h, toolscache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod implements cache.Informer.
func (i *informer) AddEventHandlerWithResyncPeriod(
	h toolscache.ResourceEventHandler, period time.Duration,
) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(h, toolscache.HandlerOptions{ResyncPeriod: ptr.To(period)})
}

// AddEventHandlerWithOptions implements cache.Informer.
func (i *informer) AddEventHandlerWithOptions(
	h toolscache.ResourceEventHandler, opts toolscache.HandlerOptions,
) (toolscache.ResourceEventHandlerRegistration, error) {
	i.owner.mu.Lock()
	defer i.owner.mu.Unlock()
	r := &registration{
		informer: i, handler: h, opts: opts, handles: map[*space]toolscache.ResourceEventHandlerRegistration{}, done: make(chan struct{}),
	}
	var checkers []settling
	for _, s := range i.owner.spaces {
		if err := r.attach(s); err != nil {
			return nil, err
		}
		if handle := r.handles[s]; handle != nil {
			checkers = append(checkers, settling{handle.HasSyncedChecker(), s})
		}
	}
	i.handlers = append(i.handlers, r)
	go waitFor(checkers, r.done)
	return r, nil
}

// RemoveEventHandler implements cache.Informer.
func (i *informer) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	r, ok := handle.(*registration)
	if !ok || r.informer != i {
		return errors.New("the handler is not one of this informer")
	}
	i.owner.mu.Lock()
	defer i.owner.mu.Unlock()
	var left []*registration
	for _, other := range i.handlers {
		if other != r {
			left = append(left, other)
		}
	}
	i.handlers = left
	var errs []error
	for s, handle := range r.handles {
		if part := s.parts[i]; part != nil {
			errs = append(errs, part.RemoveEventHandler(handle))
		}
	}
	r.handles = nil
	return errors.Join(errs...)
}

// AddIndexers implements cache.Informer.
func (i *informer) AddIndexers(indexers toolscache.Indexers) error {
	i.owner.mu.Lock()
	defer i.owner.mu.Unlock()
	for _, s := range i.owner.spaces {
		if part := s.parts[i]; part != nil {
			if err := part.AddIndexers(indexers); err != nil {
				return err
			}
		}
	}
	i.indexers = append(i.indexers, indexers)
	return nil
}

// HasSynced implements cache.Informer.
func (i *informer) HasSynced() bool {
	i.owner.mu.Lock()
	defer i.owner.mu.Unlock()
	for _, s := range i.owner.spaces {
		if part := s.parts[i]; part != nil && !part.HasSynced() && !s.wasRefused() {
			return false
		}
	}
	return true
}

// HasSyncedChecker implements cache.Informer.
func (i *informer) HasSyncedChecker() toolscache.DoneChecker {
	i.owner.mu.Lock()
	defer i.owner.mu.Unlock()
	checker := &checker{name: i.kind.String(), done: make(chan struct{})}
	var all []settling
	for _, s := range i.owner.spaces {
		if part := s.parts[i]; part != nil {
			all = append(all, settling{part.HasSyncedChecker(), s})
		}
	}
	go waitFor(all, checker.done)
	return checker
}

// IsStopped implements cache.Informer.
func (i *informer) IsStopped() bool {
	i.owner.mu.Lock()
	defer i.owner.mu.Unlock()
	return i.owner.runner.ctx != nil && i.owner.runner.ctx.Err() != nil
}

// registration is a handler in all namespaces.
type registration struct {
	informer *informer
	handler  toolscache.ResourceEventHandler
	opts     toolscache.HandlerOptions
	handles  map[*space]toolscache.ResourceEventHandlerRegistration
	done     chan struct{}
}

func (r *registration) attach(s *space) error {
	part := s.parts[r.informer]
	if part == nil {
		return nil
	}
	handle, err := part.AddEventHandlerWithOptions(r.handler, r.opts)
	if err == nil {
		r.handles[s] = handle
	}
	return err
}

// HasSynced implements toolscache.ResourceEventHandlerRegistration.
func (r *registration) HasSynced() bool {
	r.informer.owner.mu.Lock()
	defer r.informer.owner.mu.Unlock()
	for s, handle := range r.handles {
		if !handle.HasSynced() && !s.wasRefused() {
			return false
		}
	}
	return true
}

// HasSyncedChecker implements toolscache.ResourceEventHandlerRegistration.
func (r *registration) HasSyncedChecker() toolscache.DoneChecker {
	return &checker{name: r.informer.kind.String(), done: r.done}
}

// checker is done when its channel is closed.
type checker struct {
	name string
	done chan struct{}
}

// Name implements toolscache.DoneChecker.
func (c *checker) Name() string { return c.name }

// Done implements toolscache.DoneChecker.
func (c *checker) Done() <-chan struct{} { return c.done }

// settling is done when its namespace is filled, or forbidden.
type settling struct {
	toolscache.DoneChecker
	space *space
}

// waitFor closes done once all checkers are done.
func waitFor(all []settling, done chan struct{}) {
	for _, s := range all {
		select {
		case <-s.Done():
		case <-s.space.refusedOnce:
		}
	}
	close(done)
}
