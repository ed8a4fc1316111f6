/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// corrected triggers a sync by touching the Secret until the drift is corrected. It repeats that, because a sync that
// was in progress may have read the remote agent before the drift.
func (l *life) corrected(ctx context.Context, id string) error {
	var touched time.Time
	return await.Until(ctx, "the drift is not corrected", func(ctx context.Context) error {
		if a, _ := l.cloud.Agent(id); a.Version == "v4.0.2" {
			return nil
		}
		if time.Since(touched) > time.Second {
			touched = time.Now()
			if err := change(ctx, l.c, &corev1.Secret{ObjectMeta: l.at("web-renamed")}, func(s *corev1.Secret) {
				metav1.SetMetaDataAnnotation(&s.ObjectMeta, "charts-test/look", touched.String())
			}); err != nil {
				return err
			}
		}
		return errors.New("it still has the other version")
	})
}

// drift changes the remote agent twice. The operator corrects it and writes nothing else in the cluster, so that the
// second event increments the count of the first.
func (l *life) drift(ctx context.Context) error {
	for _, matches := range []func(eventsv1.Event) bool{
		func(eventsv1.Event) bool { return true },
		func(e eventsv1.Event) bool { return e.Series != nil },
	} {
		var id string
		if err := l.remote(ctx, "web", func(a cloud.Agent) bool { id = a.ID; return true }); err != nil {
			return err
		}
		l.cloud.Mutate(id, func(a *cloud.Agent) { a.Version = "v9.9.9" })
		if err := l.corrected(ctx, id); err != nil {
			return err
		}
		// A change during the correction would be part of the same event.
		if err := l.driftEvent(ctx, matches); err != nil {
			return err
		}
	}
	return nil
}

// driftEvent waits for the expected event of a correction.
func (l *life) driftEvent(ctx context.Context, right func(eventsv1.Event) bool) error {
	return await.Until(ctx, "no such event of a correction", func(ctx context.Context) error {
		var list eventsv1.EventList
		if err := l.c.List(ctx, &list, client.InNamespace(l.home)); err != nil {
			return err
		}
		var reasons []string
		for i := range list.Items {
			if list.Items[i].Reason == "DriftCorrected" && right(list.Items[i]) {
				return nil
			}
			reasons = append(reasons, list.Items[i].Reason)
		}
		return fmt.Errorf("those are %s", reasons)
	})
}
