/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	clocktesting "k8s.io/utils/clock/testing"
)

// apiServer reviews tokens and rights: it knows every token and allows everything.
type apiServer struct {
	authenticationclient.TokenReviewInterface
	asked, now, most atomic.Int32
	review           func(context.Context) error // of a token; nil for at once
}

func (s *apiServer) Create(
	ctx context.Context, review *authenticationv1.TokenReview, _ metav1.CreateOptions,
) (*authenticationv1.TokenReview, error) {
	s.asked.Add(1)
	for now := s.now.Add(1); ; {
		if most := s.most.Load(); now <= most || s.most.CompareAndSwap(most, now) {
			break
		}
	}
	defer s.now.Add(-1)
	if s.review != nil {
		if err := s.review(ctx); err != nil {
			return nil, err
		}
	}
	review.Status.Authenticated = true
	return review, nil
}

type allowing struct {
	authorizationclient.SubjectAccessReviewInterface
}

func (allowing) Create(
	_ context.Context, review *authorizationv1.SubjectAccessReview, _ metav1.CreateOptions,
) (*authorizationv1.SubjectAccessReview, error) {
	review.Status.Allowed = true
	return review, nil
}

// scrape asks for the metrics, and returns the status.
func scrape(ctx context.Context, a access, token string) int {
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil).WithContext(ctx)
	request.Header.Set("Authorization", "Bearer "+token)
	response := httptest.NewRecorder()
	a.ServeHTTP(response, request)
	return response.Code
}

func newAccess(s *apiServer, log logr.Logger) access {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	now := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	return access{log: log, reviews: newReviewer(s, allowing{}), next: next, clock: now, logged: &logged{}}
}

func TestAccess_TheAPIServerIsNotAskedAboutATokenThatIsTooLong(t *testing.T) {
	for length, want := range map[int]int{maxTokenBytes: http.StatusOK, maxTokenBytes + 1: http.StatusUnauthorized} {
		s := &apiServer{}
		got := scrape(t.Context(), newAccess(s, logr.Discard()), strings.Repeat("a", length))
		if got != want || (s.asked.Load() > 0) != (want == http.StatusOK) {
			t.Errorf("%d bytes: %d with %d reviews, want %d", length, got, s.asked.Load(), want)
		}
	}
}

func TestAccess_TheAPIServerGetsFewReviewsAtOnceAndAllGetTheirTurn(t *testing.T) {
	full, release := make(chan struct{}, 100), make(chan struct{})
	s := &apiServer{review: func(context.Context) error {
		full <- struct{}{}
		<-release
		return nil
	}}
	a := newAccess(s, logr.Discard())
	var group sync.WaitGroup
	for i := range cap(full) {
		group.Go(func() {
			if got := scrape(t.Context(), a, strconv.Itoa(i)); got != http.StatusOK {
				t.Errorf("reader %d: %d", i, got)
			}
		})
	}
	for range concurrentReviews {
		<-full
	}
	close(release)
	group.Wait()
	if got := s.most.Load(); got != concurrentReviews {
		t.Errorf("%d reviews at once, want %d", got, concurrentReviews)
	}
}

// A flood would fill the log.
func TestAccess_NothingIsLoggedOfAClientThatIsGone(t *testing.T) {
	for _, gone := range []bool{false, true} {
		var lines atomic.Int32
		log := funcr.New(func(string, string) { lines.Add(1) }, funcr.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		s := &apiServer{review: func(context.Context) error {
			if gone {
				cancel()
			}
			return http.ErrServerClosed
		}}
		scrape(ctx, newAccess(s, log), "token")
		cancel()
		if (lines.Load() == 0) != gone {
			t.Errorf("the client is gone: %v; %d lines", gone, lines.Load())
		}
	}
}

// Anybody may send requests. Without the right to create reviews each of them fails, and one line says what to do.
func TestAccess_AFailureIsLoggedOnceInAMinuteWithItsRemedy(t *testing.T) {
	resource := authenticationv1.SchemeGroupVersion.WithResource("tokenreviews").GroupResource()
	for _, row := range []struct {
		name   string
		err    error
		remedy string
	}{
		{"no right to create reviews", apierrors.NewForbidden(resource, "", errors.New("RBAC")), "metrics.rbac.create"},
		{"no API server", http.ErrServerClosed, "the next request tries again"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var lines []string
			log := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
			a := newAccess(&apiServer{review: func(context.Context) error { return row.err }}, log)
			now := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
			a.clock = now
			for minute := range 2 {
				for i := range 100 {
					scrape(t.Context(), a, strconv.Itoa(i))
				}
				if len(lines) != minute+1 || !strings.Contains(lines[minute], row.remedy) {
					t.Fatalf("minute %d: %d lines, the first %.300q", minute, len(lines), lines[:1])
				}
				now.SetTime(now.Now().Add(time.Minute))
			}
		})
	}
}
