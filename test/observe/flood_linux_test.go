/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// memoryLimit is resources.limits.memory of the chart; GOMEMLIMIT is 90% of it.
const memoryLimit = 512 << 20

// flood is many connections to a port of the operator, each opened again when the operator closes it.
type flood struct {
	metrics bool   // the port of the metrics, over TLS, instead of the probes
	line    string // begins a request; %d is another number in each
	rest    []byte // follows it
}

// flooders is the number of connections of a flood: more than the operator serves at once.
const flooders = 200

// strangers is where a flood comes from: another pod has another address than the kubelet and the readers of the metrics.
var strangers = net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}

// begin returns once each connection of the flood has sent its request, or was closed.
func (f flood) begin(c *child) (stop func()) {
	var group sync.WaitGroup
	var requests atomic.Int64
	ended := make(chan struct{})
	address := c.probes
	if f.metrics {
		address = c.metrics
	}
	once := func(first func()) {
		defer first()
		conn, err := strangers.Dial("tcp", address)
		if err != nil {
			return
		}
		defer conn.Close()
		gone := make(chan struct{})
		defer close(gone)
		go func() {
			select {
			case <-ended:
				_ = conn.Close()
			case <-gone:
			}
		}()
		if f.metrics {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		if f.line != "" {
			if _, err = fmt.Fprintf(conn, f.line, requests.Add(1)); err == nil {
				_, err = conn.Write(f.rest)
			}
		}
		first()
		if err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	var all sync.WaitGroup
	all.Add(flooders)
	for range flooders {
		group.Go(func() {
			first := sync.OnceFunc(all.Done)
			for {
				select {
				case <-ended:
					return
				default:
					once(first)
				}
			}
		})
	}
	all.Wait()
	return func() {
		close(ended)
		group.Wait()
	}
}

// Anybody reaches these ports, unless a NetworkPolicy prevents it. The file is for Linux, where loopback addresses need no configuration.
func TestStrangersFillNoMemoryAndKeepNobodyOut(t *testing.T) {
	t.Setenv("GOMEMLIMIT", strconv.Itoa(memoryLimit*9/10))
	const (
		withToken = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %d."
		endless   = "GET /%d HTTP/1.1\r\nHost: x\r\nX: "
	)
	long, end := bytes.Repeat([]byte("a"), 1_000_000), []byte("\r\n\r\n")
	for _, row := range []struct {
		name string
		flood
	}{
		{"made-up tokens of a megabyte", flood{true, withToken, append(bytes.Clone(long), end...)}},
		{"made-up tokens", flood{true, withToken, append(bytes.Clone(long[:2000]), end...)}},
		{"headers that do not end, to the metrics", flood{true, endless, long}},
		{"headers that do not end, to the probes", flood{false, endless, long}},
		{"connections without a request to the metrics", flood{metrics: true}},
		{"connections without a request to the probes", flood{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			c := launch(w, asOperator(w))
			c.becomes("/readyz", http.StatusOK)
			c.serves()
			before := c.memory("VmHWM")
			token := reader(w, "prometheus", true)
			stop := row.begin(c)
			defer stop()
			for range 3 {
				began := time.Now()
				c.becomes("/healthz", http.StatusOK)
				c.becomes("/readyz", http.StatusOK)
				w.Eventually("a reader gets the metrics", func() error {
					if status, _, err := c.scrape(token, nil); err != nil || status != http.StatusOK {
						return fmt.Errorf("%d, error %w", status, err)
					}
					return nil
				})
				t.Logf("probes and a reader were served within %s", time.Since(began))
			}
			if after := c.memory("VmHWM"); after > memoryLimit/2 {
				t.Errorf("%d MiB, and %d before; the chart allows %d", after>>20, before>>20, memoryLimit>>20)
			} else {
				t.Logf("%d MiB, and %d before", after>>20, before>>20)
			}
		})
	}
}
