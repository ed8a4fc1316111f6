/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package eventlimit

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// written is when the Events of a namespace and type were written, from the start of the test.
type written struct {
	events.EventSink
	began time.Time

	mu      sync.Mutex
	at      map[line][]time.Duration
	patches int
}

func (w *written) Patch(_ context.Context, e *eventsv1.Event, _ []byte) (*eventsv1.Event, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patches++
	return e, nil
}

func (w *written) Create(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := line{e.Namespace, e.Type}
	w.at[of] = append(w.at[of], time.Since(w.began))
	return e, nil
}

// last is when the last of the Events was written, and how many were.
func (w *written) last(namespace, kind string) (last time.Duration, count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.at[line{namespace, kind}]
	if len(at) == 0 {
		return 0, 0
	}
	return at[len(at)-1], len(at)
}

// crowd records so many Events at once, each in a goroutine as client-go does.
func crowd(t *testing.T, s *Sink, namespace, kind string, count int, series *eventsv1.EventSeries) {
	t.Helper()
	for i := range count {
		event := &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint(kind, i)}, Type: kind, Series: series,
		}
		go func() {
			if _, err := s.Create(t.Context(), event); err != nil {
				t.Error(err)
			}
		}()
	}
	synctest.Wait()
}

func TestSink(t *testing.T) {
	const normal, warning = corev1.EventTypeNormal, corev1.EventTypeWarning
	for name, row := range map[string]struct {
		act     func(t *testing.T, s *Sink)
		kind    string // of what is looked at, in the namespace "ours"
		count   int
		notLess time.Duration // until the last of them is written
		most    time.Duration
	}{
		"the first of a crowd are written immediately": {
			act: func(t *testing.T, s *Sink) { crowd(t, s, "ours", normal, 90, nil) }, kind: normal, count: 90,
		},
		"the others at the rate": {
			act:  func(t *testing.T, s *Sink) { crowd(t, s, "ours", normal, 600, nil) },
			kind: normal, count: 600, notLess: 40 * time.Second, most: time.Minute,
		},
		"a Warning does not wait for Normal Events": {
			act: func(t *testing.T, s *Sink) {
				crowd(t, s, "ours", normal, 600, nil)
				crowd(t, s, "ours", warning, 1, nil)
			},
			kind: warning, count: 1,
		},
		"nor an Event for those of another namespace": {
			act: func(t *testing.T, s *Sink) {
				for i := range 4 {
					crowd(t, s, fmt.Sprint("theirs-", i), normal, 5000, nil)
				}
				crowd(t, s, "ours", normal, 3, nil)
			},
			kind: normal, count: 3, most: 5 * time.Second,
		},
		"too many are left out": {
			act:  func(t *testing.T, s *Sink) { crowd(t, s, "ours", normal, 5000, nil) },
			kind: normal, count: firstOnes*3/4 + mostWaiting/2, notLess: 90 * time.Second, most: 3 * time.Minute,
		},
		"one that continues a series does not wait": {
			act: func(t *testing.T, s *Sink) {
				crowd(t, s, "ours", normal, 5000, nil)
				crowd(t, s, "ours", warning, 600, nil)
				crowd(t, s, "ours", "", 1, &eventsv1.EventSeries{Count: 2})
			},
			kind: "", count: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &written{began: time.Now(), at: map[line][]time.Duration{}}
				s := NewSink(w)
				row.act(t, s)
				<-time.After(10 * time.Minute)
				last, count := w.last("ours", row.kind)
				if count != row.count || last < row.notLess || last > row.most {
					t.Errorf("%d were written, the last after %s; want %d, between %s and %s", count, last, row.count, row.notLess, row.most)
				}
				if s.total != 0 || len(s.waiting) != 0 {
					t.Errorf("at the end %d are counted as waiting: %v", s.total, s.waiting)
				}
			})
		})
	}
}

// What is left out is counted, and those that wait for a process that ends do not stay.
func TestSink_LeftOutAndCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := testutil.ToFloat64(leftOut.WithLabelValues(corev1.EventTypeWarning))
		ctx, cancel := context.WithCancel(t.Context())
		s := NewSink(&written{began: time.Now(), at: map[line][]time.Duration{}})
		for i := range 3000 {
			go s.Create(ctx, &eventsv1.Event{ //nolint:errcheck // Canceled.
				ObjectMeta: metav1.ObjectMeta{Namespace: "ours", Name: fmt.Sprint(i)}, Type: corev1.EventTypeWarning,
			})
		}
		synctest.Wait()
		want := float64(3000 - firstOnes*3/4 - mostWaiting/2)
		if got := testutil.ToFloat64(leftOut.WithLabelValues(corev1.EventTypeWarning)) - before; got != want {
			t.Errorf("%v are counted as left out, want %v", got, want)
		}
		cancel()
		synctest.Wait()
		if s.total != 0 {
			t.Errorf("%d still wait", s.total)
		}
	})
}

// client-go writes the second Event of a series, and then its count some minutes later: a team has as many series as objects.
func TestSink_Series(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const objects, most = 1000, firstOnes + 2*perSecond
		w := &written{began: time.Now(), at: map[line][]time.Duration{}}
		ctx, cancel := context.WithCancel(t.Context())
		broadcaster := events.NewBroadcaster(NewSink(w))
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			t.Fatal(err)
		}
		recorder := New(broadcaster.NewRecorder(clientgoscheme.Scheme, "agent"), clientgoscheme.Scheme, clock.RealClock{})
		for change := range burst + 3 { // The last three are a series.
			for i := range objects {
				object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
					Namespace: "ours", Name: fmt.Sprint(i), UID: types.UID(fmt.Sprint(i)), ResourceVersion: fmt.Sprint(change),
				}}
				recorder.Eventf(object, nil, corev1.EventTypeNormal, "Updated", "Update", "changed")
				if i%100 == 0 {
					synctest.Wait() // The broadcaster drops what it has no room for.
				}
			}
		}
		synctest.Wait()
		if w.patches == 0 || w.patches > most {
			t.Errorf("%d series of one team were written at once, want at most %d", w.patches, most)
		}
		<-time.After(10 * time.Minute) // Nothing waits any more.
		broadcaster.Shutdown()
		cancel()
	})
}

// client-go keeps copies of what it takes: it does not get an Event for which there is no place. One of another namespace, or of another
// type, has one.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSink(&written{began: time.Now(), at: map[line][]time.Duration{}})
		crowd(t, s, "ours", corev1.EventTypeNormal, 5000, nil)
		before := testutil.ToFloat64(leftOut.WithLabelValues(corev1.EventTypeNormal))
		for _, row := range []struct {
			namespace, kind string
			passes          bool
		}{{"ours", corev1.EventTypeNormal, false}, {"ours", corev1.EventTypeWarning, true}, {"theirs", corev1.EventTypeNormal, true}} {
			for _, regarding := range []runtime.Object{
				&v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: row.namespace}}, &corev1.ObjectReference{Namespace: row.namespace},
			} {
				var inner passed
				gate{&inner, s}.Eventf(regarding, nil, row.kind, "Registered", "Register", "agent %d", 1)
				if passed := inner == 1; passed != row.passes {
					t.Errorf("%s of %s, as %T: passes is %t", row.kind, row.namespace, regarding, passed)
				}
			}
		}
		if left := testutil.ToFloat64(leftOut.WithLabelValues(corev1.EventTypeNormal)) - before; left != 2 {
			t.Errorf("%v are counted as left out, want 2", left)
		}
		<-time.After(10 * time.Minute) // Nothing waits any more.
	})
}

// passed counts Events.
type passed int

func (p *passed) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) { *p++ }
