/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"encoding/pem"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// relayed is a fake over TLS behind a relay, and a client of it.
type relayed struct {
	*cloudtest.Server
	*cloudtest.Relay
	client *cloud.Client
}

func newRelayed(t *testing.T, config cloud.Config) *relayed {
	t.Helper()
	server := cloudtest.New(cloudtest.Settings{})
	config.Credential = cloud.Credential{Scheme: cloud.SchemeBearer, Token: server.AddProject(projectID)}
	web := httptest.NewUnstartedServer(server)
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

// Each call that runs at once has its own connection.
func TestACallThatTimesOutLeavesNoDeadConnectionBehind(t *testing.T) {
	t.Parallel()
	r := newRelayed(t, cloud.Config{Timeout: short})
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
