/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package eventlimit

import (
	"context"

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
	broadcaster := events.NewBroadcaster(NewSink(&events.EventSinkImpl{Interface: client}))
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, broadcaster.Shutdown)
	return func(controller string) events.EventRecorder {
		return broadcaster.NewRecorder(mgr.GetScheme(), controller)
	}, nil
}
