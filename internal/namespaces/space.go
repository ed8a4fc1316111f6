/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package namespaces

import (
	"context"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// remedy is what to do about a namespace without rights.
const remedy = "it does not exist, or the operator has no rights in it: create the namespace, its Role and its RoleBinding, " +
	"or remove it from --watch-namespaces; Agents in it are neither registered nor deleted until then"

// space is one namespace. The Cache's mu guards its fields.
type space struct {
	owner *Cache
	name  string
	// refusedOnce is closed when the operator first had no rights: from then on nothing waits for the namespace.
	refusedOnce chan struct{}

	cache  cache.Cache // nil while there are no rights to fill it with
	cancel context.CancelFunc
	parts  map[*informer]cache.Informer
	synced bool
	// lost says that the rights of a filled namespace were lost; its cache stays, and is updated when they are restored.
	lost bool
	// refused is the time of the last rejection, and since that of the first consecutive one.
	refused, since time.Time
	reported       bool // that it is not watched
}

// open makes the cache, with all indexes and handlers.
func (s *space) open() error {
	opts := s.owner.opts
	opts.DefaultNamespaces = map[string]cache.Config{s.name: opts.DefaultNamespaces[s.name]}
	var made cache.Cache
	opts.DefaultWatchErrorHandler = func(ctx context.Context, r *toolscache.Reflector, err error) {
		if !apierrors.IsForbidden(err) {
			toolscache.DefaultWatchErrorHandler(ctx, r, err)
			return
		}
		s.refuse(made, r.LastSyncResourceVersion() != "", err)
	}
	made, err := cache.New(s.owner.config, opts)
	if err != nil {
		return err
	}
	for _, i := range s.owner.indexes {
		if err := made.IndexField(context.Background(), i.object, i.field, i.extract); err != nil {
			return err
		}
	}
	s.cache, s.parts, s.synced, s.lost = made, map[*informer]cache.Informer{}, false, false
	for _, i := range s.owner.informers {
		if err := i.attach(context.Background(), s); err != nil {
			s.cache = nil
			return err
		}
	}
	return nil
}

// start fills the cache.
func (s *space) start() {
	ctx, cancel := context.WithCancel(s.owner.runner.ctx)
	made := s.cache
	s.cancel = cancel
	s.owner.runner.group.Go(func() {
		if err := made.Start(ctx); err != nil && ctx.Err() == nil {
			select {
			case s.owner.runner.failed <- err:
			default:
			}
		}
	})
	s.owner.runner.group.Go(func() {
		if made.WaitForCacheSync(ctx) {
			s.fill(made)
		}
	})
}

// fill records that the cache is filled.
func (s *space) fill(made cache.Cache) {
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if s.cache == made {
		s.synced = true
		s.report(nil)
	}
}

// refuse records that a watch was forbidden. A cache that cannot be filled is dropped; a filled one stays.
func (s *space) refuse(made cache.Cache, filled bool, err error) {
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if s.cache != made {
		return
	}
	if filled && s.synced {
		s.lose(err)
		return
	}
	s.report(err)
	s.cancel()
	s.cache, s.parts, s.synced = nil, nil, false
	select {
	case <-s.refusedOnce:
	default:
		close(s.refusedOnce)
	}
}

// lose records a rejection in a filled namespace.
func (s *space) lose(err error) {
	now := time.Now()
	if now.Sub(s.refused) > s.owner.times.quiet {
		s.since = now
	}
	s.refused = now
	if now.Sub(s.since) >= s.owner.times.patience {
		s.lost = true
		s.report(err)
	}
}

// report logs a change once. err is why the namespace is not watched.
func (s *space) report(err error) {
	switch {
	case err != nil && !s.reported:
		s.reported = true
		reason, _, _ := strings.Cut(err.Error(), "\n")
		s.owner.log.Info("Namespace is not watched: "+remedy, "namespace", s.name, "refused", reason)
	case err == nil && s.reported:
		s.reported = false
		s.owner.log.Info("Namespace is watched again", "namespace", s.name)
	}
}

// wait waits until the cache is filled for the first time. It does not wait without rights.
func (s *space) wait(ctx context.Context) bool {
	s.owner.mu.Lock()
	made := s.cache
	s.owner.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.refusedOnce:
			cancel()
		case <-ctx.Done():
		}
	}()
	return made == nil || made.WaitForCacheSync(ctx) || s.wasRefused()
}

func (s *space) wasRefused() bool {
	select {
	case <-s.refusedOnce:
		return true
	default:
		return false
	}
}

// check asks the API server about the rights in each namespace.
func (c *Cache) check(ctx context.Context) {
	for _, s := range c.spaces {
		if err := s.readable(ctx); err == nil || apierrors.IsForbidden(err) {
			s.checked(err)
		}
	}
}

// readable reads one object of each kind; of one kind only while nothing is wrong.
func (s *space) readable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s.owner.mu.Lock()
	informers := s.owner.informers
	if s.synced && !s.lost {
		informers = informers[:min(1, len(informers))]
	}
	s.owner.mu.Unlock()
	for _, i := range informers {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(i.kind)
		if err := s.owner.reader.List(ctx, list, client.InNamespace(s.name), client.Limit(1)); err != nil {
			return err
		}
	}
	return nil
}

// checked applies the result of a check.
func (s *space) checked(err error) {
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	switch {
	case err != nil && s.synced:
		s.lose(err)
	case err != nil:
	case s.cache == nil:
		if err := s.open(); err != nil {
			s.owner.log.Error(err, "Namespace cannot be watched: retrying automatically", "namespace", s.name)
			return
		}
		s.start()
	case s.lost && time.Since(s.refused) > s.owner.times.quiet:
		s.lost = false
		s.report(nil)
	}
}
