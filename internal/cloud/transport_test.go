/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// short is a deadline that tests mean to pass, long enough for what must
// happen before it on a busy machine.
const short = time.Second

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	const missing, drip = `{"error":"agent not found"}`, 200 * time.Millisecond
	huge := strings.Repeat(" ", 5000)
	hugeHeader := http.Header{"X-Huge": {strings.Repeat("x", 80<<10)}}
	for name, row := range map[string]struct {
		fault  cloudtest.Fault
		reason cloud.Reason
		status int
	}{
		"a body that is too large":         {cloudtest.Fault{Status: 200, Body: huge}, cloud.ReasonTooLarge, 200},
		"an error body that is too large":  {cloudtest.Fault{Status: 404, Body: missing + huge}, cloud.ReasonInvalidResponse, 404},
		"a body that is cut short":         {cloudtest.Fault{Status: 200, Body: huge[:100], Truncate: 10}, cloud.ReasonInvalidResponse, 200},
		"an error body that is cut short":  {cloudtest.Fault{Status: 404, Body: missing, Truncate: 10}, cloud.ReasonInvalidResponse, 404},
		"a body that drips":                {cloudtest.Fault{Status: 200, Body: huge[:100], Drip: drip}, cloud.ReasonTimeout, 200},
		"a response that does not come":    {cloudtest.Fault{Block: make(chan struct{})}, cloud.ReasonTimeout, 0},
		"a connection that is dropped":     {cloudtest.Fault{Cut: cloudtest.CutBefore}, cloud.ReasonNetwork, 0},
		"headers that are too large":       {cloudtest.Fault{Status: 200, Body: "{}", Header: hugeHeader}, cloud.ReasonInvalidResponse, 0},
		"trouble whose body does not come": {cloudtest.Fault{Status: 500, Body: huge[:100], Drip: drip}, cloud.ReasonUnavailable, 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			server.Inject(row.fault)
			config := cloud.Config{MaxBody: 4096}
			if row.fault.Drip > 0 || row.fault.Block != nil {
				config.Timeout = short
			}
			_, err := newClient(t, web.URL, config).Get(t.Context(), nilID)
			failed := failure(t, err)
			if failed.Reason != row.reason || failed.Class != cloud.ClassRetryable || failed.Status != row.status {
				t.Errorf("%v: reason %s, class %s", err, failed.Reason, failed.Class)
			}
			if failed.NotSent {
				t.Errorf("%v claims that nothing was sent", err)
			}
			if timeout := row.fault.Drip > 0 || row.fault.Block != nil; timeout != errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v: errors.Is(DeadlineExceeded) should be the opposite", err)
			}
			if cloud.IsGone(err) {
				t.Errorf("%v is taken for gone", err)
			}
		})
	}
}

func TestCancelledCallsSayHowFarTheyCame(t *testing.T) {
	server := cloudtest.New(cloudtest.Settings{})
	web := server.Start()
	defer web.Close()
	client := newClient(t, web.URL, cloud.Config{})

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Register(ctx, registration("machine-1"))
	if failed := failure(t, err); !failed.NotSent || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	entered := make(chan struct{})
	server.Inject(cloudtest.Fault{Entered: entered, Block: make(chan struct{})})
	go func() {
		<-entered
		cancel()
	}()
	_, err = client.Register(ctx, registration("machine-1"))
	if failed := failure(t, err); failed.NotSent || failed.NothingMade() || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled meanwhile: %v", err)
	}
}

func TestNotSentIsCertain(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	_, err = newClient(t, "http://"+closed.Addr().String(), cloud.Config{}).Register(t.Context(), registration("machine-1"))
	refused := failure(t, err)
	if !refused.NotSent || !refused.NothingMade() || refused.Reason != cloud.ReasonNetwork || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused connection: %v", err)
	}

	web := httptest.NewUnstartedServer(cloudtest.New(cloudtest.Settings{}))
	web.Config.ErrorLog = nil
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	_, err = newClient(t, web.URL, cloud.Config{}).Register(t.Context(), registration("machine-1"))
	if failed := failure(t, err); !failed.NotSent || failed.Reason != cloud.ReasonNetwork || failed.Class != cloud.ClassRetryable {
		t.Errorf("untrusted certificate: %v", err)
	}

	// The listener's backlog takes the connection, and no handshake follows.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mute.Close() }()
	_, err = newClient(t, "https://"+mute.Addr().String(), cloud.Config{Timeout: short}).Register(t.Context(), registration("machine-1"))
	if failed := failure(t, err); !failed.NotSent || failed.Reason != cloud.ReasonTimeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no handshake: %v", err)
	}

	// A transport that reports nothing is no evidence.
	silent := newClient(t, web.URL, cloud.Config{Wrap: func(http.RoundTripper) http.RoundTripper { return broken{} }})
	_, err = silent.Register(t.Context(), registration("machine-1"))
	if failed := failure(t, err); failed.NotSent || failed.NothingMade() {
		t.Errorf("unknown transport: %v", err)
	}
}

func TestCausesShowNeitherURLNorToken(t *testing.T) {
	wrap := func(http.RoundTripper) http.RoundTripper {
		return tripper(func(r *http.Request) (*http.Response, error) {
			token := r.Header.Get("Authorization")
			return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: errors.New("line\nbreak with " + token)}
		})
	}
	client := newClient(t, "http://127.0.0.1:1", cloud.Config{Wrap: wrap})
	_, err := client.List(t.Context(), projectID, cloud.ListOptions{Before: "cursor"})
	if want := "list agents: network: line break with Bearer [redacted]"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("broken") }

// Over HTTP/2 a server can have one registration sent thousands of times: it refuses the stream, or goes away, each time.
func TestHTTP1OverTLSWithAPrivateCA(t *testing.T) {
	server := cloudtest.New(cloudtest.Settings{})
	token := server.AddProject(projectID)
	web := httptest.NewUnstartedServer(server)
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	protocol := ""
	client := newClient(t, web.URL, cloud.Config{
		CABundle: bundle, Credential: cloud.Credential{Scheme: cloud.SchemeProjectToken, Token: token},
		Wrap: func(next http.RoundTripper) http.RoundTripper {
			return tripper(func(r *http.Request) (*http.Response, error) {
				response, err := next.RoundTrip(r)
				if err == nil {
					protocol = response.Proto
				}
				return response, err
			})
		},
	})
	if _, err := client.Register(t.Context(), registration("machine-1")); err != nil {
		t.Fatal(err)
	}
	if protocol != "HTTP/1.1" {
		t.Errorf("spoke %s", protocol)
	}
	// Over the same connection, with nothing written.
	server.Inject(cloudtest.Fault{Cut: cloudtest.CutAfter})
	_, err := client.Register(t.Context(), registration("machine-2"))
	if failed := failure(t, err); failed.NotSent || failed.NothingMade() {
		t.Errorf("cut after its effect: %v", err)
	}
	if sent := server.Count(http.MethodPost, ""); sent != 2 {
		t.Errorf("two registrations were sent %d times", sent)
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestConnectionsAreReused(t *testing.T) {
	server := cloudtest.New(cloudtest.Settings{})
	web := httptest.NewUnstartedServer(server)
	opened := make(chan struct{}, 100)
	web.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened <- struct{}{}
		}
	}
	web.Start()
	defer web.Close()
	client := newClient(t, web.URL, cloud.Config{})
	for range 5 {
		if err := client.Delete(t.Context(), nilID); !cloud.IsGone(err) && failure(t, err).Status != 401 {
			t.Fatal(err)
		}
		other := client.WithCredential(cloud.Credential{Scheme: cloud.SchemeAgentToken, Token: cloud.NewToken("other-token")})
		if _, err := other.Get(t.Context(), nilID); failure(t, err).Status != 401 {
			t.Fatal(err)
		}
	}
	if len(opened) != 1 {
		t.Errorf("%d connections for 10 calls", len(opened))
	}
}

func TestNewRefusesBadConfigurations(t *testing.T) {
	if _, err := cloud.New(cloud.Config{}); err == nil {
		t.Error("no URL is accepted")
	}
	base, err := cloud.ParseURL("https://cloud.example.com/", cloud.URLPolicy{AllowedHosts: []string{".example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.New(cloud.Config{BaseURL: base, CABundle: []byte("no certificate")}); err == nil {
		t.Error("a bundle without certificates is accepted")
	}
	base.RawQuery = "a=b"
	if _, err := cloud.New(cloud.Config{BaseURL: base}); err == nil {
		t.Error("a URL with a query is accepted")
	}
}

func TestRequestsUnderAPathPrefix(t *testing.T) {
	server := cloudtest.New(cloudtest.Settings{})
	token := server.AddProject(projectID)
	web := httptest.NewServer(http.StripPrefix("/cloud", server))
	defer web.Close()
	client := newClient(t, web.URL+"/cloud/", cloud.Config{
		UserAgent: "operator/1.2.3", Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: token},
	})
	if _, err := client.Register(t.Context(), registration("machine-1")); err != nil {
		t.Fatal(err)
	}
	_, err := client.Get(t.Context(), "a/../b?c#d")
	if failure(t, err).Status != http.StatusNotFound {
		t.Errorf("an odd ID: %v", err)
	}
	requests := server.Requests()
	header := requests[0].Header
	for name, want := range map[string]string{
		"User-Agent": "operator/1.2.3", "Accept": "application/json", "Content-Type": "application/json",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := requests[1]; got.AgentID != "a/../b?c#d" || got.Query != "" {
		t.Errorf("the odd ID arrived as %q with query %q", got.AgentID, got.Query)
	}
}
