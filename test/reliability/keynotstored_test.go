/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// An Agent whose Secret lacks what the operator wrote is not Ready, before and after a restart, and has one remote agent.
func TestSecret_KeyIsNotStored_StallsTheAgent(t *testing.T) {
	for name, key := range map[string]string{"web-token": v1alpha1.TokenKey, "web-session": "session.CALYPTIA"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			w.API.StoreWithout(name, key)
			w.Start()
			w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} })
			stalled := func() {
				w.Stalled("web", v1alpha1.ReasonAPIServer, "did not store", `"`+key+`"`, name, "policy or webhook")
			}
			stalled()
			w.Restart()
			w.Check("web")
			stalled()
			w.API.Around(nil)
			w.Poke("web")
			w.Ready("web")
			w.One("web")
			if len(w.Secret(name).Data[key]) == 0 {
				t.Errorf("Secret %s lacks %s", name, key)
			}
		})
	}
}

// A webhook that stores another value each time, as one that encrypts, makes no loop of writes and of requests.
func TestSecret_ValueIsStoredOtherwiseEachTime_MakesNoLoop(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	var writes atomic.Int32
	w.API.StoreOtherwise("web-token", func(data map[string][]byte) {
		writes.Add(1)
		data[v1alpha1.TokenKey] = fmt.Append(nil, "vault:v1:", writes.Load())
	})
	w.Start()
	w.Apply("web")
	w.Stalled("web", v1alpha1.ReasonAPIServer, "did not store", v1alpha1.TokenKey, "web-token")
	w.Apply("other")
	w.Ready("other")
	first := writes.Load()
	for range 20 { // Meanwhile only events of its Secret wake the Agent.
		w.Check("other")
	}
	if n := writes.Load() - first; n > 5 {
		t.Errorf("the Secret was written %d times more", n)
	}
}

// An API shows a token only in the response to the registration: it is held until the Secret has it, whatever a webhook made of it.
func TestSecret_TokenIsNotStored_MaskedAPI_IsHeld(t *testing.T) {
	for name, change := range map[string]func(map[string][]byte){
		"removed":  func(data map[string][]byte) { delete(data, v1alpha1.TokenKey) },
		"replaced": func(data map[string][]byte) { data[v1alpha1.TokenKey] = []byte("vault:v1:4f1c0a9b2d7e") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{MaskTokens: true, MaskAs: "********"}, harness.Idle)
			w.API.StoreOtherwise("web-token", change)
			w.Start()
			w.Apply("web")
			stalled := func() {
				w.Stalled("web", v1alpha1.ReasonAPIServer, "did not store", v1alpha1.TokenKey, "web-token")
			}
			stalled()
			w.Clock.Step(15 * time.Minute)
			w.Check("web")
			stalled()
			remote := w.Remote()[0]
			w.API.Around(nil)
			w.Clock.Step(time.Minute)
			w.Poke("web")
			w.Ready("web")
			w.HoldsToken("web", remote)
		})
	}
}

// The same for a CloudProject's copy of the credentials: each write of it wakes the CloudProject.
func TestCopy_ValueIsStoredOtherwiseEachTime_MakesNoLoop(t *testing.T) {
	t.Parallel()
	const name = "calyptia-credentials"
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	var writes atomic.Int32
	w.API.StoreOtherwise(name, func(data map[string][]byte) {
		writes.Add(1)
		data[v1alpha1.TokenKey] = fmt.Append(nil, "vault:v1:", writes.Load())
	})
	w.Start()
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonAPIServer, "did not store", v1alpha1.TokenKey, name)
	first := writes.Load()
	for i := range 20 { // Meanwhile only events of its copy and of Agents wake the CloudProject.
		w.NotReady(w.Apply(fmt.Sprint("web-", i)), v1alpha1.ReasonProjectNotReady, "registration is paused")
	}
	if n := writes.Load() - first; n > 12 {
		t.Errorf("the copy was written %d times more", n)
	}
	w.API.Around(nil)
	w.PokeProject()
	w.Ready("web-0")
}

// A copy of the credentials without its token could not delete the Agents, so none is registered.
func TestCopy_TokenIsNotStored_PausesRegistration(t *testing.T) {
	const name = "calyptia-credentials"
	for variant, restarts := range map[string]bool{"same process": false, "restart": true} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			w.API.StoreWithout(name, v1alpha1.TokenKey)
			w.Start()
			w.Apply("web")
			paused := func() {
				w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonAPIServer, "did not store", v1alpha1.TokenKey, name, "policy or webhook")
				w.NotReady("web", v1alpha1.ReasonProjectNotReady, "registration is paused")
			}
			paused()
			if restarts {
				w.Restart()
				w.PokeProject()
				paused()
			}
			source := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "calyptia-token"}}
			if err := w.Client.Delete(context.Background(), source); err != nil {
				t.Fatal(err)
			}
			w.Delete("web")
			w.Gone("web")
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
				t.Errorf("%d registrations were sent", n)
			}
		})
	}
}

// The same where the check of the credentials is inconclusive: there nothing replaces a copy, but one without a token is none.
func TestCopy_TokenIsNotStored_ThenIs_Registers(t *testing.T) {
	t.Parallel()
	const name = "calyptia-credentials"
	w := harness.New(t, cloudtest.Settings{NoList: true}, harness.Idle)
	w.API.StoreWithout(name, v1alpha1.TokenKey)
	w.Start()
	w.Apply("web")
	w.ProjectBecomes(metav1.ConditionFalse, "")
	w.Restart()
	w.PokeProject()
	w.NotReady("web", v1alpha1.ReasonProjectNotReady, "registration is paused")
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
		t.Errorf("%d registrations were sent", n)
	}
	w.API.Around(nil)
	w.PokeProject()
	w.Ready("web")
	if len(w.Secret(name).Data[v1alpha1.TokenKey]) == 0 {
		t.Error("the copy has no token")
	}
}

// The same where a webhook replaces the token in the copy, always by the same.
func TestCopy_TokenIsStoredOtherwise_InconclusiveCheck_StaysPaused(t *testing.T) {
	t.Parallel()
	const name = "calyptia-credentials"
	w := harness.New(t, cloudtest.Settings{NoList: true}, harness.Idle)
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: http.StatusBadRequest, Body: `{"error":"invalid ID"}`,
		Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, uuid.Nil.String()) },
	})
	w.API.StoreOtherwise(name, func(data map[string][]byte) { data[v1alpha1.TokenKey] = []byte("vault:v1:4f1c0a9b2d7e") })
	w.Start()
	w.Apply("web")
	paused := func() {
		w.NotReady("web", v1alpha1.ReasonProjectNotReady, "registration is paused")
	}
	paused()
	for range 3 {
		w.PokeProject()
		w.ProjectHandled()
		paused()
	}
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) { // A write that fails shows nothing of the copy.
		if r.Method == http.MethodGet || !strings.HasSuffix(r.URL.Path, "/"+name) {
			return send(r)
		}
		return harness.Refusal(r, http.StatusInternalServerError, metav1.StatusReasonInternalError, "failed calling webhook")
	})
	w.PokeProject()
	w.ProjectBecomes(metav1.ConditionUnknown, "", "cannot be written")
	w.Poke("web")
	paused()
	w.PokeProject()
	w.ProjectBecomes(metav1.ConditionUnknown, "", "cannot be written")
	w.Apply("later")
	w.NotReady("later", v1alpha1.ReasonProjectNotReady, "registration is paused")
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
		t.Errorf("%d registrations were sent", n)
	}
}
