/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package eventlimit

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	eventsclient "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Recorders returns the recorders of an operator's controllers, by name. Their Events are written at a bounded rate until ctx ends. (The
// recorders of the manager have no limit, and offer no place for one.)
func Recorders(ctx context.Context, mgr manager.Manager) (func(controller string) events.EventRecorder, error) {
	client, err := eventsclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	sink := NewSink(&events.EventSinkImpl{Interface: client})
	broadcaster := events.NewBroadcaster(sink)
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, broadcaster.Shutdown)
	return func(controller string) events.EventRecorder {
		return gate{broadcaster.NewRecorder(mgr.GetScheme(), controller), sink}
	}, nil
}

// gate leaves out an Event for which the sink has no place before client-go takes it, which keeps copies of each for some minutes.
type gate struct {
	inner events.EventRecorder
	sink  *Sink
}

// Eventf implements events.EventRecorder.
func (g gate) Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any) {
	if g.sink.full(line{namespaceOf(regarding), eventType}) {
		leftOut.WithLabelValues(eventType).Inc()
		return
	}
	g.inner.Eventf(regarding, related, eventType, reason, action, note, args...)
}

// namespaceOf is the namespace of an object's Events.
func namespaceOf(regarding runtime.Object) string {
	if ref, ok := regarding.(*corev1.ObjectReference); ok {
		return ref.Namespace
	}
	object, err := meta.Accessor(regarding)
	if err != nil {
		return ""
	}
	return object.GetNamespace()
}
