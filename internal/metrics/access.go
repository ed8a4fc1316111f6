/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// NewHandler returns a handler that serves the metrics of a registry to authenticated and authorized readers. Unlike the filter of
// controller-runtime it returns 401 to an unknown token, not 500. serve wraps what serves them.
func NewHandler(
	config *rest.Config, httpClient *http.Client, log logr.Logger, registry prometheus.Gatherer, serve func(http.Handler) http.Handler,
) (http.Handler, error) {
	authentication, err := authenticationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, err
	}
	authorization, err := authorizationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, err
	}
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
	return access{
		log:     log,
		reviews: newReviewer(authentication.TokenReviews(), authorization.SubjectAccessReviews()),
		next:    serve(metrics),
		clock:   clock.RealClock{},
		logged:  &logged{},
	}, nil
}

// maxTokenBytes is far more than a token of a ServiceAccount has: the API server is not asked about more.
const maxTokenBytes = 16 << 10

const invalidToken = `Bearer error="invalid_token"`

// access is a handler for authorized readers.
type access struct {
	log     logr.Logger
	reviews *reviewer
	next    http.Handler
	clock   clock.PassiveClock
	logged  *logged
}

// logEvery is the shortest time between two lines in the log: anybody who reaches the port may cause failures.
const logEvery = time.Minute

// logged is when a failure was logged last.
type logged struct {
	mu sync.Mutex
	at time.Time
}

// again reports whether a failure may be logged now, and counts it as logged.
func (l *logged) again(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.at.IsZero() && now.Sub(l.at) < logEvery {
		return false
	}
	l.at = now
	return true
}

// ServeHTTP implements http.Handler.
func (a access) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := bearerToken(r)
	switch {
	case token == "":
		unauthorized(w, "Bearer")
		return
	case len(token) > maxTokenBytes:
		unauthorized(w, invalidToken)
		return
	}
	r.Header.Del("Authorization") // the next handler does not need it
	reader, err := a.reviews.reader(r.Context(), token)
	switch {
	case errors.Is(err, errUnknownToken):
		unauthorized(w, invalidToken)
		return
	case err != nil:
		a.fail(w, r, err)
		return
	}
	allowed, err := a.reviews.mayRead(r.Context(), reader, strings.ToLower(r.Method), r.URL.Path)
	switch {
	case err != nil:
		a.fail(w, r, err)
	case !allowed:
		http.Error(w, reader.Username+" is not allowed to read this: bind it to the role of the metrics' readers", http.StatusForbidden)
	default:
		a.next.ServeHTTP(w, r)
	}
}

// bearerToken returns the request's token; empty if it has none.
func bearerToken(r *http.Request) string {
	parts := strings.SplitN(strings.TrimSpace(r.Header.Get("Authorization")), " ", 3)
	if len(parts) < 2 || !strings.EqualFold(parts[0], "bearer") {
		return ""
	}
	return parts[1]
}

func unauthorized(w http.ResponseWriter, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	http.Error(w, "Unauthorized: send the token of a ServiceAccount of this cluster", http.StatusUnauthorized)
}

// fail responds if the check itself failed: the API server is unavailable, or rejects the operator's review.
func (a access) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // The client is gone. A line for each would fill the log.
	}
	status, remedy := http.StatusServiceUnavailable, "the next request tries again"
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		status = http.StatusInternalServerError
	}
	if apierrors.IsForbidden(err) {
		remedy = "set metrics.rbac.create of the chart to true, or bind the operator's ServiceAccount to the ClusterRole system:auth-delegator"
	}
	if a.logged.again(a.clock.Now()) {
		a.log.Error(err, "Readers of the metrics cannot be authorized: "+remedy)
	}
	http.Error(w, "The operator cannot ask the API server who you are: see its log", status)
}
