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
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
)

// pages is an API that lists so many pages of one agent each, and nothing else.
type pages int

func (n pages) RoundTrip(r *http.Request) (*http.Response, error) {
	at, _ := strconv.Atoi(r.URL.Query().Get("before"))
	header := http.Header{}
	if at+1 < int(n) {
		header.Set("Link", fmt.Sprintf(`</agents?before=%d>; rel="next"`, at+1))
	}
	body := fmt.Sprintf(`[{"id":"00000000-0000-4000-8000-%012d","machineID":"%d","type":"t"}]`, at, at)
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// source is a project of an API whose responses need no network.
type source struct {
	client  *cloud.Client
	limiter *rate.Limiter
}

func (source) Usable() error        { return nil }
func (source) ListSupported() *bool { return new(true) }
func (source) KnowsAgents() bool    { return false }
func (source) NeedsVerification()   {}

func (s source) Fetch(ctx context.Context, o cloud.ListOptions) (*cloud.RawPage, func(error), error) {
	if err := s.limiter.Wait(ctx); err != nil {
		return nil, nil, Canceled(err)
	}
	page, err := s.client.Fetch(ctx, "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11", o)
	return page, func(error) {}, err
}

// reading returns the inventory of a project whose rate limit allows so many pages.
func reading(t *testing.T, service http.RoundTripper, perSecond float64) *Inventory {
	t.Helper()
	c, err := cloud.New(cloud.Config{
		BaseURL:    &url.URL{Scheme: "https", Host: "cloud.example"},
		Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken("t")},
		Wrap:       func(http.RoundTripper) http.RoundTripper { return service },
	})
	if err != nil {
		t.Fatal(err)
	}
	return New(source{c, rate.NewLimiter(rate.Limit(perSecond), 1)}, Options{Name: "default/main", Clock: clock.RealClock{}, Metrics: (*metrics.Projects)(nil).Of("default/main"), MostAgents: 200_000, Memory: NewMemory(0), Namespace: "default"})
}

// elapse advances the time of a synctest bubble until all goroutines are blocked again.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// A list of very many agents completes, however slow the rate limit makes it.
func TestAListMayTakeAsLongAsItsPagesNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 5000 // pages, at one a second
		p := reading(t, pages(most), 1)
		p.Warm()
		started := time.Now()
		_, _, err := p.FindByMachine(t.Context(), "7", started.Add(-1))
		if err == nil || p.ListTook() != 0 {
			t.Fatalf("it is there at once: %v", err)
		}
		elapse(most * time.Second)
		found, _, err := p.FindByMachine(t.Context(), "7", started.Add(-1))
		if err != nil || len(found) != 1 {
			t.Errorf("found %v, error %v", found, err)
		}
		if took := p.ListTook(); took < (most-2)*time.Second || took > most*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// A list of a CloudProject that was deleted, or has another endpoint now, is not completed.
func TestAListThatNobodyNeedsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := reading(t, pages(1000), 1)
		p.Warm()
		elapse(10*time.Second + time.Second/2)
		run := p.running
		p.Reset()
		synctest.Wait()
		select {
		case <-run.done:
			if f, ok := fault.As(run.err); !ok || f.Reason != v1alpha1.ReasonUnavailable {
				t.Errorf("it ended with %v", run.err)
			}
		default:
			t.Error("it goes on")
		}
	})
}

// counting is an API that counts its requests.
type counting struct {
	pages
	asked atomic.Int32
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.asked.Add(1)
	return c.pages.RoundTrip(r)
}

// While a page is read the next ones are fetched and read, up to a limit.
func TestPagesAreFetchedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &counting{pages: 10}
		p := reading(t, service, 1000)
		ctx, cancel := context.WithCancel(t.Context())
		ahead := make(chan *fetched, pagesAhead)
		go p.reader.fetchAll(ctx, nil, ahead)
		for read := range 4 {
			page := <-(<-ahead).read
			if page.err != nil || page.entries[0].MachineID != strconv.Itoa(read) {
				t.Fatalf("page %d: %+v", read, page)
			}
			elapse(time.Second) // As long as it wants to.
			if asked := int(service.asked.Load()); asked != read+2+pagesAhead {
				t.Errorf("%d pages were asked for while the %dth is read", asked, read+1)
			}
		}
		cancel() // Who reads no further leaves nobody waiting.
	})
}
