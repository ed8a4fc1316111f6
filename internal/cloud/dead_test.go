/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// relayed is a fake over TLS behind a relay, and a client of it.
type relayed struct {
	*cloudtest.Server
	*cloudtest.Relay
	client *cloud.Client
}

func newRelayed(t *testing.T, http2 bool, config cloud.Config) *relayed {
	t.Helper()
	server := cloudtest.New(cloudtest.Settings{})
	config.Credential = cloud.Credential{Scheme: cloud.SchemeBearer, Token: server.AddProject(projectID)}
	web := httptest.NewUnstartedServer(server)
	web.EnableHTTP2 = http2
	web.StartTLS()
	t.Cleanup(web.Close)
	relay, err := cloudtest.NewRelay(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.Close)
	config.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	return &relayed{Server: server, Relay: relay, client: newClient(t, "https://"+relay.Addr(), config)}
}

// works makes a request that gets a response.
func (r *relayed) works(t *testing.T) {
	t.Helper()
	if _, err := r.client.Get(t.Context(), nilID); !cloud.IsGone(err) {
		t.Errorf("got %v, want the API's word", err)
	}
}

func TestADeadHTTP2ConnectionIsFoundByItsPings(t *testing.T) {
	t.Parallel()
	const timeout = 4 * time.Second // Never reached, or the pings are not sent.
	r := newRelayed(t, true, cloud.Config{Timeout: timeout, PingAfter: 50 * time.Millisecond, PingTimeout: 50 * time.Millisecond})
	r.works(t)
	r.Kill()
	began := time.Now()
	// A registration: the transport must not send it again.
	_, err := r.client.Register(t.Context(), registration("machine-1"))
	if e := failure(t, err); e.Reason != cloud.ReasonNetwork || e.NotSent || e.NothingMade() || time.Since(began) >= timeout {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	r.works(t)
	if r.Connections() != 2 {
		t.Errorf("%d connections", r.Connections())
	}
	if made := r.Count(http.MethodPost, ""); made != 0 {
		t.Errorf("%d registrations arrived", made)
	}
}

// Over HTTP/1.1 there are no pings, and each call that runs at once has its own connection.
func TestACallThatTimesOutLeavesNoDeadConnectionBehind(t *testing.T) {
	t.Parallel()
	r := newRelayed(t, false, cloud.Config{Timeout: short})
	const calls = 5
	entered, block := make(chan struct{}, calls), make(chan struct{})
	remove := r.Inject(cloudtest.Fault{Entered: entered, Block: block})
	var under sync.WaitGroup
	for range calls {
		under.Go(func() { r.works(t) })
	}
	for range calls {
		<-entered
	}
	remove()
	close(block)
	under.Wait()
	r.Kill()
	_, err := r.client.Get(t.Context(), nilID)
	if e := failure(t, err); e.Reason != cloud.ReasonTimeout {
		t.Errorf("over a dead connection: %v", err)
	}
	for range calls {
		r.works(t)
	}
	if r.Connections() != calls+1 {
		t.Errorf("%d connections", r.Connections())
	}
}
