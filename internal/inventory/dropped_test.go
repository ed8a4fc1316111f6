/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// circle is an API whose cursors form a loop, over pages that need a place in the Room.
type circle struct{}

func (circle) RoundTrip(r *http.Request) (*http.Response, error) {
	at := r.URL.Query().Get("before")
	header := http.Header{}
	header.Set("Link", fmt.Sprintf(`</agents?before=%s>; rel="next"`, map[string]string{"": "a", "a": "b", "b": "a"}[at]))
	body := `[{"id":"00000000-0000-4000-8000-000000000001","type":"t","machineID":"` + strings.Repeat("m", 1<<20) + `"}]`
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// A page that is not read leaves its place, however the list ends.
func TestList_InACircle_LeavesItsPlaces(t *testing.T) {
	const places = 8
	c, err := cloud.New(cloud.Config{
		BaseURL:    &url.URL{Scheme: "https", Host: "cloud.example"},
		Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken("t")},
		Wrap:       func(http.RoundTripper) http.RoundTripper { return circle{} },
		Room:       cloud.NewRoom(places),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{source: source{c, rate.NewLimiter(rate.Inf, 1)}, most: 200_000}
	taken := NewMemory(0).Charge("default")
	for i := range places + 1 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := r.all(ctx, taken)
		cancel()
		if err == nil || err.Error() != inACircle().Error() {
			t.Fatalf("list %d: %v, want %v", i, err, inACircle())
		}
	}
}
