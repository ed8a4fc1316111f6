/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// request describes a request of the operator.
type request struct {
	cloud        bool // to the cloud, else to the API server
	method, path string
	about        string // a text in its body; empty matches any
}

// The requests in the life of the Agent "web". A path that ends in "/" is a prefix.
var (
	patchAgent   = request{method: http.MethodPatch, path: "/agents/web"}
	patchStatus  = request{method: http.MethodPatch, path: "/agents/web/status"}
	createSecret = request{method: http.MethodPost, path: "/secrets", about: "web-token"}
	createOther  = request{method: http.MethodPost, path: "/secrets", about: "web-renamed"}
	updateSecret = request{method: http.MethodPut, path: "/secrets/web-token"}
	deleteSecret = request{method: http.MethodDelete, path: "/secrets/web-token"}

	createSession = request{method: http.MethodPost, path: "/secrets", about: "web-session"}
	deleteSession = request{method: http.MethodDelete, path: "/secrets/web-session"}

	postRemote   = request{cloud: true, method: http.MethodPost, path: "/v1/agents"}
	getRemote    = request{cloud: true, method: http.MethodGet, path: "/v1/agents/"}
	patchRemote  = request{cloud: true, method: http.MethodPatch, path: "/v1/agents/"}
	deleteRemote = request{cloud: true, method: http.MethodDelete, path: "/v1/agents/"}
)

func (q request) matches(cloud bool, r *http.Request, body []byte) bool {
	found := strings.HasSuffix(r.URL.Path, q.path)
	if strings.HasSuffix(q.path, "/") {
		found = strings.HasPrefix(r.URL.Path, q.path)
	}
	return q.cloud == cloud && q.method == r.Method && found && bytes.Contains(body, []byte(q.about))
}

// deed is what the fence does with a request.
type deed struct {
	dies   bool   // the operator stops here: this is the last request that counts, and its response is lost
	reach  bool   // the request takes effect
	late   bool   // it takes effect only when the test says so, after its caller gave up
	cut    bool   // its response is lost, and the operator keeps running
	status int    // returned instead of the real response
	meddle func() // called before the request passes
}

// moment is a request and the deed for it.
type moment struct {
	request
	deed
}

func before(q request) moment { return moment{q, deed{dies: true}} }
func after(q request) moment  { return moment{q, deed{dies: true, reach: true}} }
func late(q request) moment   { return moment{q, deed{dies: true, late: true}} }

// once waits for the request and passes it on.
func once(q request) moment { return moment{q, deed{reach: true}} }

// fence is a proxy between the operator and both the API server and the fake cloud.
type fence struct {
	w      *harness.World
	server *httptest.Server

	mu       sync.Mutex
	idle     *sync.Cond
	inFlight int
	moments  []moment // still expected, in this order
	dead     bool
	reached  chan struct{}
	commit   chan struct{} // closed to let a late request take effect
	lag      *lag          // of the watch of Agents; nil for none
}

var errDead = errors.New("the operator is dead")

// newFence is an option of a World: the URL of its CloudProject is that of the fence.
func newFence(f *fence) harness.Option {
	return func(w *harness.World, cp *v1alpha1.CloudProject) {
		f.w, f.idle, f.commit = w, sync.NewCond(&f.mu), make(chan struct{})
		f.server = httptest.NewServer(http.HandlerFunc(f.serveCloud))
		w.Cleanup(f.server.Close)
		cp.Spec.URL = f.server.URL
		w.API.Around(f.aroundAPI)
	}
}

// expect sets the moments to wait for. The channel is closed once the deed of the last one is done.
func (f *fence) expect(moments ...moment) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moments, f.reached = moments, make(chan struct{})
	return f.reached
}

// open passes the requests of a new operator. No request of the old one may be in progress.
func (f *fence) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.inFlight > 0 {
		f.idle.Wait()
	}
	f.dead = false
}

// enter returns the deed for a request, and false if the operator that sent it is dead.
func (f *fence) enter(cloud bool, r *http.Request, body []byte) (d deed, done func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return deed{}, nil, false
	}
	d = deed{reach: true}
	done = f.left
	f.inFlight++
	if len(f.moments) > 0 && f.moments[0].matches(cloud, r, body) {
		d = f.moments[0].deed
		f.moments = f.moments[1:]
		f.dead = d.dies
		if len(f.moments) == 0 {
			reached := f.reached
			done = func() { close(reached); f.left() }
		}
	}
	return d, done, true
}

func (f *fence) left() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inFlight--
	f.idle.Broadcast()
}

func (f *fence) aroundAPI(r *http.Request, send harness.Send) (*http.Response, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	d, done, ok := f.enter(false, r, body)
	if !ok {
		return nil, errDead
	}
	defer done()
	if d.meddle != nil {
		d.meddle()
	}
	var response *http.Response
	if d.reach {
		if d.dies {
			r = r.WithContext(context.WithoutCancel(r.Context()))
		}
		if response, err = send(r); err != nil {
			return nil, err
		}
	}
	if !d.dies && d.status == 0 {
		if f.lag != nil && r.URL.Query().Get("watch") != "" && strings.HasSuffix(r.URL.Path, "/agents") {
			response.Body = f.lag.behind(response.Body)
		}
		return response, nil
	}
	if response != nil {
		_ = response.Body.Close()
	}
	if d.dies {
		return nil, errDead
	}
	return apiTrouble(r, d.status), nil
}

func readBody(r *http.Request) ([]byte, error) {
	if r.GetBody == nil || r.Method != http.MethodPost {
		return nil, nil
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(body)
}

// apiTrouble is an error response of the API server.
func apiTrouble(r *http.Request, status int) *http.Response {
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":"etcd is in trouble","code":%d}`,
		map[int]string{403: "Forbidden", 500: "InternalError", 504: "Timeout"}[status], status)
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

func (f *fence) serveCloud(w http.ResponseWriter, r *http.Request) {
	d, done, ok := f.enter(true, r, nil)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	defer done()
	if d.meddle != nil {
		d.meddle()
	}
	switch {
	case d.late:
		f.later(r)
	case (d.dies || d.cut) && d.reach:
		// The connection may break during the request; the server completes it anyway.
		f.w.Cloud.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
	case d.reach:
		f.w.Cloud.ServeHTTP(w, r)
		return
	}
	panic(http.ErrAbortHandler)
}

// later sends a request to the cloud whose caller gives up at once. It takes effect when commit is closed.
func (f *fence) later(r *http.Request) {
	remove := f.w.Cloud.Inject(cloudtest.Fault{Method: r.Method, Times: 1, Block: f.commit, DetachedDelay: time.Millisecond})
	defer remove()
	gone, cancel := context.WithCancel(r.Context())
	cancel()
	defer func() { _ = recover() }() // The handler panics to send no response.
	f.w.Cloud.ServeHTTP(httptest.NewRecorder(), r.WithContext(gone))
}
