/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

const (
	reviewTimeout = 10 * time.Second
	// How long a response of the API server is cached.
	knownTime, allowedTime, deniedTime = time.Minute, 5 * time.Minute, 30 * time.Second
	// How many readers, and how many of their requests, are cached.
	rememberedReviews = 1024
	// How many reviews the API server gets at once, whoever floods the operator with made-up tokens. The others wait in order.
	concurrentReviews = 8
)

// reviewBackoff is the backoff of Kubernetes' own components.
var reviewBackoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}

// errUnknownToken is an error because errors are not cached: made-up tokens do not displace readers.
var errUnknownToken = errors.New("the API server does not know the token")

// reviewer authenticates and authorizes readers with the API server. The package k8s.io/apiserver could do it too, but links
// gRPC, OpenTelemetry and CEL.
type reviewer struct {
	tokens  authenticationclient.TokenReviewInterface
	access  authorizationclient.SubjectAccessReviewInterface
	known   *cache.LRUExpireCache // of authenticationv1.UserInfo, by the hash of the token
	allowed *cache.LRUExpireCache // of bool, by the question
	places  chan struct{}         // one for each concurrent review
}

func newReviewer(tokens authenticationclient.TokenReviewInterface, access authorizationclient.SubjectAccessReviewInterface) *reviewer {
	return &reviewer{
		tokens: tokens, access: access,
		known: cache.NewLRUExpireCache(rememberedReviews), allowed: cache.NewLRUExpireCache(rememberedReviews),
		places: make(chan struct{}, concurrentReviews),
	}
}

// reader returns the user of a token.
func (r *reviewer) reader(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	key := sha256.Sum256([]byte(token)) // the token itself is not kept
	if known, ok := r.known.Get(key); ok {
		return known.(authenticationv1.UserInfo), nil
	}
	var review *authenticationv1.TokenReview
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		review, err = r.tokens.Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token},
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	if !review.Status.Authenticated {
		return authenticationv1.UserInfo{}, errUnknownToken
	}
	r.known.Add(key, review.Status.User, knownTime)
	return review.Status.User, nil
}

// mayRead reports whether the reader may do this with the path.
func (r *reviewer) mayRead(ctx context.Context, reader authenticationv1.UserInfo, verb, path string) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: reader.Username, UID: reader.UID, Groups: reader.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: verb, Path: path},
	}
	for name, value := range reader.Extra {
		spec.Extra[name] = authorizationv1.ExtraValue(value)
	}
	question, err := json.Marshal(spec)
	if err != nil {
		return false, err
	}
	key := sha256.Sum256(question)
	if allowed, ok := r.allowed.Get(key); ok {
		return allowed.(bool), nil
	}
	var review *authorizationv1.SubjectAccessReview
	err = r.ask(ctx, func(ctx context.Context) (err error) {
		review, err = r.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return false, err
	}
	allowed, lifetime := review.Status.Allowed && !review.Status.Denied, deniedTime
	if allowed {
		lifetime = allowedTime
	}
	r.allowed.Add(key, allowed, lifetime)
	return allowed, nil
}

// ask retries the review while the API server fails briefly.
func (r *reviewer) ask(ctx context.Context, question func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, reviewBackoff, func(ctx context.Context) (bool, error) {
		select {
		case r.places <- struct{}{}:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		last = question(ctx)
		<-r.places
		if last != nil && isTransient(last) {
			return false, nil
		}
		return last == nil, last
	})
	if last != nil {
		return last // more useful than the context's error
	}
	return err
}

func isTransient(err error) bool {
	if _, later := apierrors.SuggestsClientDelay(err); later {
		return true
	}
	return utilnet.IsConnectionReset(err) || utilnet.IsHTTP2ConnectionLost(err) ||
		apierrors.IsInternalError(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err)
}
