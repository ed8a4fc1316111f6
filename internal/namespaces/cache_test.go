/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package namespaces

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

var (
	plane *testenv.ControlPlane
	count atomic.Int64
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	var err error
	if plane, err = testenv.Start(context.Background(), testenv.Options{CRDDirs: []string{}, Controllers: []string{}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := plane.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// bench is a cache of two namespaces, as a user with the rights that the test grants.
type bench struct {
	*testing.T
	c    client.Client
	user string
	a, b string
	*Cache
	done chan error
	// unrefused is how long a lost namespace must not be forbidden before it is watched again.
	unrefused time.Duration

	mu    sync.Mutex
	seen  []string // objects that a handler received
	lines []string // of the log
}

// byTeam is a field index.
const byTeam = "team"

func newBench(t *testing.T, name string) *bench {
	t.Helper()
	c, err := client.New(plane.Config, client.Options{Scheme: scheme.Scheme})
	name += "-" + strconv.FormatInt(count.Add(1), 10)
	b := &bench{T: t, c: c, user: name, a: name + "-a", b: name + "-b", done: make(chan error, 1), unrefused: 10 * time.Second}
	b.check(err)
	for _, namespace := range []string{b.a, b.b} {
		b.check(c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	}
	return b
}

func (b *bench) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// grant gives the user rights on these resources of a namespace, in place of those that were there.
func (b *bench) grant(namespace string, resources ...string) {
	b.Helper()
	b.grantVerbs(namespace, []string{"get", "list", "watch"}, resources...)
}

func (b *bench) grantVerbs(namespace string, verbs []string, resources ...string) {
	b.Helper()
	b.revoke(namespace)
	at := metav1.ObjectMeta{Namespace: namespace, Name: b.user}
	b.check(b.c.Create(b.Context(), &rbacv1.Role{ObjectMeta: at, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: resources, Verbs: verbs}}}))
	b.check(b.c.Create(b.Context(), &rbacv1.RoleBinding{ObjectMeta: at,
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: b.user},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: b.user}}}))
}

func (b *bench) revoke(namespace string) {
	b.Helper()
	at := metav1.ObjectMeta{Namespace: namespace, Name: b.user}
	b.check(client.IgnoreNotFound(b.c.Delete(b.Context(), &rbacv1.RoleBinding{ObjectMeta: at})))
	b.check(client.IgnoreNotFound(b.c.Delete(b.Context(), &rbacv1.Role{ObjectMeta: at})))
}

// run starts the cache and waits until it is synced.
func (b *bench) run() {
	b.Helper()
	config, err := plane.AddUser(b.user)
	b.check(err)
	httpClient, err := rest.HTTPClientFor(config)
	b.check(err)
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	b.check(err)
	made, err := New(config, cache.Options{HTTPClient: httpClient, Scheme: scheme.Scheme, Mapper: mapper,
		DefaultNamespaces: map[string]cache.Config{b.a: {}, b.b: {}}})
	b.check(err)
	b.Cache = made.(*Cache)
	b.times = times{interval: 100 * time.Millisecond, patience: 2 * time.Second, quiet: b.unrefused}
	b.log = funcr.New(func(_, args string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines = append(b.lines, args)
	}, funcr.Options{})
	b.check(b.IndexField(b.Context(), &corev1.ConfigMap{}, byTeam, func(o client.Object) []string { return []string{o.GetLabels()[byTeam]} }))
	_, err = b.GetInformer(b.Context(), &corev1.Secret{})
	b.check(err)
	informer, err := b.GetInformer(b.Context(), &corev1.ConfigMap{})
	b.check(err)
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.seen = append(b.seen, client.ObjectKeyFromObject(o.(client.Object)).String())
	}})
	b.check(err)
	ctx, cancel := context.WithCancel(context.Background())
	synced := make(chan bool, 1)
	go func() { synced <- b.WaitForCacheSync(b.Context()) }() // The manager waits like that, and ends if it gets false.
	go func() { b.done <- b.Start(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-b.done; err != nil {
			b.Errorf("the cache ended: %v", err)
		}
	})
	b.eventually("the cache is synced", func() error {
		if !registration.HasSynced() || !informer.HasSynced() || !b.WaitForCacheSync(b.Context()) {
			return errors.New("not yet")
		}
		return nil
	})
	if !<-synced {
		b.Error("the cache says that it did not sync")
	}
	<-registration.HasSyncedChecker().Done()
	<-informer.HasSyncedChecker().Done()
}

func (b *bench) eventually(what string, check func() error) {
	b.Helper()
	await.Eventually(b, what, func() error {
		if err := check(); err != nil {
			return fmt.Errorf("%w; the log: %q", err, b.lines)
		}
		return nil
	})
}

// watches waits until these namespaces are watched, and no others.
func (b *bench) watches(want ...string) {
	b.Helper()
	b.eventually("what is watched", func() error {
		var got []string
		for name, watched := range b.Watched() {
			if watched {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("watched are %v, want %v", got, want)
		}
		return nil
	})
}

// notifies creates a ConfigMap and waits until the handler receives it, and reads find it.
func (b *bench) notifies(namespace, name string) {
	b.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{byTeam: "t"}}}
	b.check(b.c.Create(b.Context(), object))
	b.eventually("an event for "+name, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !slices.Contains(b.seen, namespace+"/"+name) {
			return fmt.Errorf("received are %v", b.seen)
		}
		return nil
	})
	b.check(b.Get(b.Context(), client.ObjectKeyFromObject(object), object))
}

// lists lists by the index.
func (b *bench) lists(want []string, opts ...client.ListOption) {
	b.Helper()
	var list corev1.ConfigMapList
	b.check(b.List(b.Context(), &list, append(opts, client.MatchingFields{byTeam: "t"})...))
	var got []string
	for i := range list.Items {
		got = append(got, list.Items[i].Namespace+"/"+list.Items[i].Name)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("listed -want +got:\n%s", diff)
	}
}

// says wants the log to have exactly so many lines.
func (b *bench) says(want int) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) != want {
		b.Errorf("%d lines of the log, want %d: %q", len(b.lines), want, b.lines)
	}
}

func TestANamespaceWithoutAllRightsBlocksNothing(t *testing.T) {
	for name, resources := range map[string][]string{
		"none": {"pods"}, "the-first-alone": {"configmaps"}, "the-last-alone": {"secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, name)
			b.grant(b.a, "configmaps", "secrets")
			b.grant(b.b, resources...)
			b.run()
			b.watches(b.a)
			b.notifies(b.a, "one")
			b.eventually("the namespace is given up", func() error {
				if err := b.Get(t.Context(), client.ObjectKey{Namespace: b.b, Name: "x"}, &corev1.ConfigMap{}); !apierrors.IsForbidden(err) {
					return fmt.Errorf("a read gives %w, want Forbidden, which says nothing of the object", err)
				}
				return nil
			})
			if err := b.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace(b.b)); !apierrors.IsForbidden(err) {
				t.Errorf("a list gives %v, want Forbidden", err)
			}
			b.lists([]string{b.a + "/one"})
			b.says(1)

			b.grant(b.b, "configmaps", "secrets")
			b.watches(b.a, b.b)
			b.notifies(b.b, "two")
			b.lists([]string{b.a + "/one", b.b + "/two"})
			b.lists([]string{b.b + "/two"}, client.InNamespace(b.b))
			b.says(2)
		})
	}
}

func TestRightsThatAreLostLater(t *testing.T) {
	b := newBench(t, "lost")
	b.grant(b.a, "configmaps", "secrets")
	b.grant(b.b, "configmaps", "secrets")
	b.run()
	b.watches(b.a, b.b)
	b.notifies(b.b, "before")
	b.revoke(b.b)
	b.watches(b.a)
	b.check(plane.RestartAPIServer()) // This ends the watches, which would continue otherwise.
	b.notifies(b.a, "meanwhile")
	b.lists([]string{b.a + "/meanwhile", b.b + "/before"})
	b.says(1)
	b.grant(b.b, "configmaps", "secrets")
	b.notifies(b.b, "after")
	b.watches(b.a, b.b)
	b.says(2)
}

// TestTheRightToWatchIsLost while that to list stays, so that a check finds nothing wrong.
func TestTheRightToWatchIsLost(t *testing.T) {
	b := newBench(t, "unwatched")
	b.grant(b.a, "configmaps", "secrets")
	b.grant(b.b, "configmaps", "secrets")
	b.unrefused = defaultTimes.quiet // The pauses between two watches grow to more than those of the other tests.
	b.run()
	b.watches(b.a, b.b)
	b.grantVerbs(b.b, []string{"get", "list"}, "configmaps", "secrets")
	b.check(plane.RestartAPIServer())
	b.watches(b.a)
	first := b.refusedAt(b.b)
	b.eventually("another watch is refused", func() error {
		if b.refusedAt(b.b).Equal(first) {
			return errors.New("not yet")
		}
		return nil
	})
	b.says(1)
}

func (b *bench) refusedAt(namespace string) time.Time {
	b.Cache.mu.Lock()
	defer b.Cache.mu.Unlock()
	for _, s := range b.spaces {
		if s.name == namespace {
			return s.refused
		}
	}
	return time.Time{}
}

func TestTheFirstNamespaceIsRefused(t *testing.T) {
	b := newBench(t, "first")
	b.grant(b.b, "configmaps", "secrets")
	b.run()
	b.watches(b.b)
	b.notifies(b.b, "one")
}

func TestUnsupportedUsesOfTheCache(t *testing.T) {
	b := newBench(t, "others")
	b.grant(b.a, "configmaps", "secrets")
	b.grant(b.b, "configmaps", "secrets")
	b.run()
	b.watches(b.a, b.b)
	b.notifies(b.a, "one")
	b.notifies(b.b, "two")
	b.lists([]string{b.a + "/one"}, client.Limit(1))
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "x"}, &corev1.ConfigMap{}); err == nil || apierrors.IsNotFound(err) {
		t.Errorf("a namespace that is not watched gives %v", err)
	}
	informer, err := b.GetInformer(t.Context(), &corev1.ConfigMap{})
	b.check(err)
	received := make(chan string, 10)
	handle, err := informer.AddEventHandlerWithResyncPeriod(toolscache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		received <- o.(client.Object).GetName()
	}}, time.Hour)
	b.check(err)
	<-received
	b.check(informer.RemoveEventHandler(handle))
	if informer.IsStopped() {
		t.Error("the informer is stopped")
	}
	b.check(b.RemoveInformer(t.Context(), &corev1.Secret{}))
	b.watches(b.a, b.b)
}
