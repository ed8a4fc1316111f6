/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// proxy is between one operator and the API server, and may delay a response.
type proxy struct {
	kubeconfig string // of the proxy

	mu   sync.Mutex
	held string // name of the Agent whose next intent is written, but gets no response
	met  chan struct{}
	free chan struct{}
}

// newProxy serves the world's API server without authentication.
func (w *world) newProxy() *proxy {
	w.t.Helper()
	target, err := url.Parse(w.plane.Config.Host)
	if err != nil {
		w.t.Fatal(err)
	}
	transport, err := rest.TransportFor(w.plane.Config)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &proxy{kubeconfig: filepath.Join(w.logs, "proxy.kubeconfig")}
	forward := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      recording{transport},
		FlushInterval:  -1, // watches
		ModifyResponse: p.modify,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(forward)
	w.t.Cleanup(server.Close)
	w.t.Cleanup(server.CloseClientConnections)
	config := clientcmdapi.NewConfig()
	config.Clusters["proxy"] = &clientcmdapi.Cluster{Server: server.URL}
	config.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy"}
	config.CurrentContext = "proxy"
	if err := clientcmd.WriteToFile(*config, p.kubeconfig); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// hold delays the response to the next intent of the Agent: met is closed once the intent is written, and the response is
// sent when free is closed.
func (p *proxy) hold(agent string) (met <-chan struct{}, free chan<- struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.met, p.free = agent, make(chan struct{}), make(chan struct{})
	return p.met, p.free
}

// modify is called with each response of the API server before it is passed on.
func (p *proxy) modify(r *http.Response) error {
	body, _ := r.Request.Context().Value(bodyKey{}).(string)
	p.mu.Lock()
	hit := p.held != "" && r.Request.Method == http.MethodPatch && r.StatusCode == http.StatusOK &&
		strings.HasSuffix(r.Request.URL.Path, "/agents/"+p.held) && strings.Contains(body, v1alpha1.AnnotationRegistrationIntent)
	met, free := p.met, p.free
	if hit {
		p.held = ""
	}
	p.mu.Unlock()
	if hit {
		close(met)
		select {
		case <-free:
		case <-r.Request.Context().Done(): // The test ended.
		}
	}
	return nil
}

type bodyKey struct{}

// recording records the body of a PATCH for modify.
type recording struct{ next http.RoundTripper }

func (t recording) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPatch {
		return t.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	response, err := t.next.RoundTrip(r)
	if err == nil {
		response.Request = r.WithContext(context.WithValue(r.Context(), bodyKey{}, string(body)))
	}
	return response, err
}
