/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestTheOperatorIsReadyWithTheCloudDown(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	w.HTTP.Close()
	name := w.Apply("web")
	c := launch(w, harness.Plane().Kubeconfig)
	c.becomes("/readyz", http.StatusOK)
	w.NotReady(name, v1alpha1.ReasonProjectNotReady) // It reconciles, but cannot reach the cloud.
	for _, path := range []string{"/readyz", "/healthz"} {
		if got := c.probe(path); got != http.StatusOK {
			t.Errorf("%s is %d while the cloud is down", path, got)
		}
	}
}

// gate is a kubeconfig of a proxy that blocks lists of a resource until the gate is opened.
func gate(w *harness.World, resource string) (kubeconfigPath string, open func()) {
	w.Helper()
	target, err := url.Parse(harness.Plane().Config.Host)
	if err != nil {
		w.Fatal(err)
	}
	transport, err := rest.TransportFor(harness.Plane().Config)
	if err != nil {
		w.Fatal(err)
	}
	opened := make(chan struct{})
	open = sync.OnceFunc(func() { close(opened) })
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport, FlushInterval: -1, // watches
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/"+resource) {
			select {
			case <-opened:
			case <-r.Context().Done():
				return
			}
		}
		forward.ServeHTTP(w, r)
	}))
	w.Cleanup(server.Close)
	w.Cleanup(server.CloseClientConnections)
	w.Cleanup(open)
	return kubeconfig(w, &rest.Config{Host: server.URL}), open
}

func TestTheOperatorIsNotReadyBeforeItsCachesAreFilled(t *testing.T) {
	for _, resource := range []string{"agents", "cloudprojects", "secrets", "configmaps"} {
		t.Run(resource, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			path, open := gate(w, resource)
			c := launch(w, path)
			c.becomes("/healthz", http.StatusOK)
			for range 3 {
				if got := c.probe("/readyz"); got != http.StatusInternalServerError {
					t.Errorf("/readyz is %d before the caches are filled", got)
				}
			}
			if got := c.probe("/healthz"); got != http.StatusOK {
				t.Errorf("/healthz is %d before the caches are filled: the pod would be killed", got)
			}
			open()
			c.becomes("/readyz", http.StatusOK)
		})
	}
}

func TestWithoutTheCRDsTheOperatorExitsWithARemedy(t *testing.T) {
	t.Parallel()
	plane, err := testenv.Start(context.Background(), testenv.Options{CRDDirs: []string{t.TempDir()}, Controllers: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	c := launch(w, plane.Kubeconfig)
	w.Eventually("the operator ends", func() error {
		if c.probe("/readyz") == http.StatusOK {
			t.Fatal("the operator is ready")
		}
		select {
		case <-c.Done():
			return nil
		default:
			return errors.New("it runs")
		}
	})
	if code := c.Command.ProcessState.ExitCode(); code != 1 || !strings.Contains(c.output(), "CRDs of cloud.calyptia.com/v1alpha1 are not installed") {
		t.Errorf("it ended with %d and these words:\n%s", code, c.output())
	}
}

// A rollout waits for all replicas to be ready, and only one of them leads.
func TestAStandbyIsReadyAndExportsNoAgents(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	token := reader(w, "prometheus", true)
	args := []string{"--leader-elect", "--leader-election-namespace=" + w.Namespace}
	exports := func(c *child) (agents, leads bool) {
		status, body, err := c.scrape(token, nil)
		if err != nil || status != http.StatusOK {
			return false, false
		}
		return strings.Contains(body, "\ncalyptia_agents{"), strings.Contains(body, leaderMetric+" 1\n")
	}
	isLeader := func(c *child) {
		t.Helper()
		w.Eventually("the leader exports Agents", func() error {
			if agents, leads := exports(c); !agents || !leads {
				return errors.New("it does not")
			}
			return nil
		})
	}
	leader := launch(w, harness.Plane().Kubeconfig, args...)
	w.Ready(w.Apply("web"))
	leader.becomes("/readyz", http.StatusOK)
	isLeader(leader)
	standby := launch(w, harness.Plane().Kubeconfig, args...)
	standby.becomes("/readyz", http.StatusOK)
	standby.serves()
	if agents, leads := exports(standby); agents || leads {
		t.Errorf("the standby exports Agents: %v, and that it leads: %v", agents, leads)
	}
	began := time.Now()
	leader.end()
	isLeader(standby)
	if got := standby.probe("/readyz"); got != http.StatusOK {
		t.Errorf("/readyz of the new leader is %d", got)
	}
	t.Logf("the standby exports Agents %s after the leader was stopped", time.Since(began))
}

// leaderMetric is the series that reports whether a replica is the leader.
const leaderMetric = `leader_election_master_status{name="calyptia-agent-operator.cloud.calyptia.com"}`
