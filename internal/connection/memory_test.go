/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// However many CloudProjects a namespace has, their large responses take half of the places at most. Others get theirs.
func TestLargeResponses_OfManyCloudProjects_LeavePlacesToOthers(t *testing.T) {
	body := `{"id":"` + otherID + `","machineID":"m","type":"t","rawConfig":"` + strings.Repeat("x", 1<<20) + `"}`
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Get("last") == "1": // The credential check.
			_, _ = fmt.Fprintf(w, `[{"id":%q,"machineID":"m","type":"fluentbit"}]`, otherID)
			return
		case strings.HasPrefix(r.URL.Path, "/slow"):
			_, _ = w.Write([]byte(body[:len(body)-1]))
			_ = http.NewResponseController(w).Flush()
			<-release
			_, _ = w.Write([]byte(body[len(body)-1:]))
		default:
			_, _ = w.Write([]byte(body))
		}
	}))
	t.Cleanup(server.Close)
	end := sync.OnceFunc(func() { close(release) })
	t.Cleanup(end)
	w := newWorld(t, cloudtest.Settings{})
	w.options.Timeout = time.Minute
	w.renew()
	of := func(namespace, name, path string) *connection.Connection {
		cp := w.cp.DeepCopy()
		cp.UID, cp.Namespace, cp.Name, cp.Spec.URL = types.UID(namespace+name), namespace, name, server.URL+path
		c, err := w.registry.Configure(cp, connection.Credentials{Token: w.token})
		noError(t, err)
		noError(t, c.Verify(t.Context()))
		return c
	}
	by := func(namespace string) ratelimit.Caller {
		return ratelimit.Caller{UID: "somebody", Namespace: namespace}
	}
	slow := make(chan error, 4)
	for i := range cap(slow) {
		c := of("hostile", fmt.Sprint("slow-", i), "/slow")
		go func() {
			_, err := c.Get(t.Context(), by("hostile"), otherID)
			slow <- err
		}()
	}
	further, bystander := of("hostile", "further", ""), of("bystander", "main", "")
	for deadline := time.Now().Add(10 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := further.Get(ctx, by("hostile"), otherID)
		cancel()
		if errors.Is(err, cloud.ErrNoRoom) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a fifth large response of the namespace gets a place: %v", err)
		}
	}
	if _, err := bystander.Get(t.Context(), by("bystander"), otherID); err != nil {
		t.Errorf("another namespace: %v", err)
	}
	if _, err := further.Get(t.Context(), by("guest"), otherID); err != nil {
		t.Errorf("a guest of the namespace: %v", err)
	}
	end()
	for range cap(slow) {
		noError(t, <-slow)
	}
	_, err := further.Get(t.Context(), by("hostile"), otherID)
	noError(t, err)
}
