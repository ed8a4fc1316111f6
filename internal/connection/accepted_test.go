/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// The token was replaced long ago, and the list was there since. Then the API forbids it for a minute.
func TestRotation_ListIsForbiddenLongAfterIt_IsMissedForAWhile(t *testing.T) {
	for _, rotated := range []bool{false, true} {
		t.Run(map[bool]string{false: "not rotated", true: "rotated"}[rotated], func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			w.register("m")
			if rotated {
				w.token = w.cloud.AddProject(projectID)
				w.configure()
			}
			for range 24 {
				noError(t, w.Verify(t.Context()))
				w.clock.Step(time.Hour)
			}
			if !w.Result().Lists() {
				t.Fatal("no list")
			}
			w.cloud.Inject(mayNotList)
			began := w.clock.Now()
			for w.clock.Now().Sub(began) < time.Minute {
				_ = w.Verify(t.Context())
				w.clock.Step(5 * time.Second)
			}
			if !w.Result().Lists() {
				t.Error("a day after the rotation, a list that is forbidden for a minute is taken for none: registrations are repeated blindly")
			}
		})
	}
}

// An API without a list that neither accepts nor rejects the check's read: the first request for an Agent verifies the credentials.
func TestVouched_CredentialsThatARequestVerified(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{NoList: true})
	w.cloud.Inject(neitherYesNorNo)
	noError(t, w.Verify(t.Context()))
	w.register("m")
	noError(t, w.Verify(t.Context()))
	if r := w.Result(); !r.Verified {
		t.Fatalf("%+v", r)
	}
	if !w.Vouched() {
		t.Error("the API accepted the token, which names the project, and the project is not vouched for")
	}
}
