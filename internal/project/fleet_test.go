/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

func uid(prefix string, i int) types.UID { return types.UID(fmt.Sprint(prefix, "-", i)) }

// What the rate limit lets come for longer than the window is forgiven to the last.
func TestForgivenessLastsAsLongAsTheyCome(t *testing.T) {
	w := proved(t, cloudtest.Settings{})
	for i := range 10 {
		_ = w.Gone(uid("gone", i), w.clock.Now())
	}
	if w.ServerLost() == nil {
		t.Fatal("nothing is lost")
	}
	w.Forgive()
	for i := range 1000 {
		noError(t, w.Gone(uid("gone", i), w.clock.Now()))
		w.clock.Step(40 * time.Minute / 1000)
	}
	w.clock.Step(15 * time.Minute)
	for i := range 9 {
		noError(t, w.Gone(uid("later", i), w.clock.Now()))
	}
	w.refused(w.Gone("last", w.clock.Now()), v1alpha1.ReasonServerLost) // That is another loss.
}
