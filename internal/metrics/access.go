/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/util/webhook"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	reviewTimeout = 10 * time.Second
	// How long a response of the API server is believed.
	knownTime, allowedTime, deniedTime = time.Minute, 5 * time.Minute, 30 * time.Second
)

// reviewBackoff is the one of Kubernetes' own components.
var reviewBackoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}

// errUnknownToken is an error, because the cache keeps no errors: made-up tokens do not fill it.
var errUnknownToken = errors.New("the API server does not know the token")

// ProvideAccess returns the filter that serves metrics to those whom the API server knows and allows to read them. It differs
// from the one of controller-runtime in what it answers to an unknown token: 401, and not 500.
func ProvideAccess(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	authentication, err := authenticationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, err
	}
	authorization, err := authorizationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, err
	}
	allowed, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: authorization,
		AllowCacheTTL:             allowedTime,
		DenyCacheTTL:              deniedTime,
		WebhookRetryBackoff:       &reviewBackoff,
	}.New()
	if err != nil {
		return nil, err
	}
	tokens := cache.New(reviewer{authentication.TokenReviews()}, false, knownTime, knownTime)
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return access{log: log, who: bearertoken.New(tokens), allowed: allowed, next: next}, nil
	}, nil
}

// reviewer asks the API server whose token it is.
type reviewer struct {
	reviews authenticationclient.TokenReviewInterface
}

// AuthenticateToken implements authenticator.Token.
func (r reviewer) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	var review *authenticationv1.TokenReview
	err := webhook.WithExponentialBackoff(ctx, reviewBackoff, func() (err error) {
		review, err = r.reviews.Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token},
		}, metav1.CreateOptions{})
		return err
	}, webhook.DefaultShouldRetry)
	if err != nil {
		return nil, false, err
	}
	if !review.Status.Authenticated {
		return nil, false, errUnknownToken
	}
	known := review.Status.User
	extra := map[string][]string{}
	for key, value := range known.Extra {
		extra[key] = value
	}
	return &authenticator.Response{User: &user.DefaultInfo{
		Name: known.Username, UID: known.UID, Groups: known.Groups, Extra: extra,
	}}, true, nil
}

// access is a handler that only authorized readers reach.
type access struct {
	log     logr.Logger
	who     authenticator.Request
	allowed authorizer.Authorizer
	next    http.Handler
}

// ServeHTTP implements http.Handler.
func (a access) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reader, known, err := a.who.AuthenticateRequest(r)
	switch {
	case errors.Is(err, errUnknownToken):
		unauthorized(w, `Bearer error="invalid_token"`)
		return
	case err != nil:
		a.fail(w, err)
		return
	case !known:
		unauthorized(w, "Bearer")
		return
	}
	decision, _, err := a.allowed.Authorize(r.Context(), authorizer.AttributesRecord{
		User: reader.User, Verb: strings.ToLower(r.Method), Path: r.URL.Path,
	})
	switch {
	case err != nil:
		a.fail(w, err)
	case decision != authorizer.DecisionAllow:
		http.Error(w, reader.User.GetName()+" is not allowed to read this: bind it to the role of the metrics' readers", http.StatusForbidden)
	default:
		a.next.ServeHTTP(w, r)
	}
}

func unauthorized(w http.ResponseWriter, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	http.Error(w, "Unauthorized: send the token of a ServiceAccount of this cluster", http.StatusUnauthorized)
}

// fail responds where the reader is not to blame: the API server is not there, or does not let the operator ask.
func (a access) fail(w http.ResponseWriter, err error) {
	a.log.Error(err, "A reader of the metrics cannot be checked")
	status := http.StatusServiceUnavailable
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		status = http.StatusInternalServerError
	}
	http.Error(w, "The operator cannot ask the API server who you are: see its log", status)
}
