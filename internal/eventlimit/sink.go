/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package eventlimit

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// The limit of the operator for each type of Event, Normal and Warning: perSecond, after the first of a crowd. client-go keeps a
// goroutine and two copies of each Event that waits, some 10 KB, so that there is room for mostWaiting.
const (
	perSecond   = 10
	firstOnes   = 128
	mostWaiting = 2000
)

var leftOut = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "calyptia_agent_operator_events_left_out_total",
	Help: "Events that were not written because too many of their namespace waited, by type. The log has them.",
}, []string{"type"})

var kinds = []string{corev1.EventTypeNormal, corev1.EventTypeWarning}

// RegisterMetrics registers the metric of all sinks.
func RegisterMetrics(registerer prometheus.Registerer) error {
	for _, kind := range kinds {
		leftOut.WithLabelValues(kind) // Zero until one is left out.
	}
	return registerer.Register(leftOut)
}

// Sink writes Events at a bounded rate: a crowd of Agents, or a team whose Agents change all the time, would otherwise fill etcd with them.
// Namespaces take turns, and a Warning does not wait for Normal Events. An Event has the time when it was recorded, however late it is
// written.
type Sink struct {
	events.EventSink
	lines  map[string]*ratelimit.Limiter
	series *rate.Limiter

	mu      sync.Mutex
	waiting map[line]int
	total   int
}

// line is the Events of a namespace and type that wait.
type line struct{ namespace, kind string }

// NewSink returns a Sink in front of another one.
func NewSink(inner events.EventSink) *Sink {
	s := &Sink{
		EventSink: inner, lines: map[string]*ratelimit.Limiter{}, series: rate.NewLimiter(perSecond, firstOnes), waiting: map[line]int{},
	}
	for _, kind := range kinds {
		s.lines[kind] = ratelimit.New(func(time.Duration) {})
		s.lines[kind].Set(&v1alpha1.RateLimit{RequestsPerSecond: new(int32(perSecond)), Burst: new(int32(firstOnes))})
	}
	return s
}

// Create writes an Event when it is its turn. Of too many it is left out, as if it were written: Events are best effort.
func (s *Sink) Create(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	if event.Series != nil { // Patch did not find it.
		return s.EventSink.Create(ctx, event)
	}
	of := line{event.Namespace, event.Type}
	if !s.enter(of) {
		leftOut.WithLabelValues(event.Type).Inc()
		return event, nil
	}
	err := s.lines[of.kind].Wait(ctx, ratelimit.Caller{UID: types.UID(event.Namespace + "/" + event.Name), Namespace: event.Namespace})
	s.leave(of)
	if err != nil {
		return nil, err
	}
	return s.EventSink.Create(ctx, event)
}

// Patch writes the count of a series, when it begins and some minutes after it ends. client-go may hold a lock then, so this must not wait:
// of too many it is left out, and the Event shows a smaller count.
func (s *Sink) Patch(ctx context.Context, event *eventsv1.Event, data []byte) (*eventsv1.Event, error) {
	if !s.series.Allow() {
		return event, nil
	}
	return s.EventSink.Patch(ctx, event, data)
}

// full reports whether no Event more of a line may wait: as many of it do as there are places left.
func (s *Sink) full(of line) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting[of] >= mostWaiting-s.total
}

// enter reports whether an Event may wait.
func (s *Sink) enter(of line) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[of] >= mostWaiting-s.total {
		return false
	}
	s.waiting[of]++
	s.total++
	return true
}

func (s *Sink) leave(of line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.waiting[of]--; s.waiting[of] == 0 {
		delete(s.waiting, of)
	}
}
