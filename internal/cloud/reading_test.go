/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// tripper responds without a network.
type tripper func(*http.Request) io.Reader

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(f(r))}, nil
}

func (f tripper) client(t *testing.T, room, reading *Room) *Client {
	t.Helper()
	c, err := New(Config{
		BaseURL: &url.URL{Scheme: "https", Host: "cloud.example"}, Credential: Credential{Scheme: SchemeBearer, Token: NewToken("t")},
		Wrap: func(http.RoundTripper) http.RoundTripper { return f }, Room: room, Reading: reading,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const anAgent = `{"id":"8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11","machineID":"m","type":"fluentbit"}`

// A page has a place among the responses that are read until it is read or dropped; all others wait, however small they are.
func TestReading_NoPlace_WaitsForOne(t *testing.T) {
	end := map[string]func(*RawPage){
		"dropped": (*RawPage).Drop,
		"read":    func(page *RawPage) { _, _ = page.Page() },
		"digested": func(page *RawPage) {
			_ = page.Digests(func(*Agent) error { return nil })
		},
	}
	for name, end := range end {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := tripper(func(*http.Request) io.Reader { return strings.NewReader("[" + anAgent + "]") }).client(t, nil, NewRoom(1))
				page, err := c.Fetch(t.Context(), "p", ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				var done atomic.Bool
				go func() {
					if _, err := c.List(t.Context(), "p", ListOptions{}); err != nil {
						t.Error(err)
					}
					done.Store(true)
				}()
				synctest.Wait()
				if done.Load() {
					t.Error("two responses are read at once")
				}
				end(page)
				synctest.Wait()
				if !done.Load() {
					t.Error("the place was not left")
				}
			})
		})
	}
}

// Who only waits for the network has no place.
func TestReading_SlowBody_HoldsNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, rest := io.Pipe()
		c := tripper(func(r *http.Request) io.Reader {
			if r.URL.Query().Get("before") == "slow" {
				return body
			}
			return strings.NewReader("[]")
		}).client(t, nil, NewRoom(1))
		slow := make(chan error)
		go func() {
			_, err := c.List(t.Context(), "p", ListOptions{Before: "slow"})
			slow <- err
		}()
		_, _ = io.WriteString(rest, "[")
		if _, err := c.List(t.Context(), "p", ListOptions{}); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(rest, "]")
		_ = rest.Close()
		if err := <-slow; err != nil {
			t.Error(err)
		}
	})
}

// A small page takes little memory while it waits for the network, also after large ones.
func TestFetch_SmallPageAfterALargeOne_HoldsASmallBuffer(t *testing.T) {
	large := "[" + strings.Repeat(" ", 4<<20) + "]"
	c := tripper(func(r *http.Request) io.Reader {
		if r.URL.Query().Get("before") == "large" {
			return strings.NewReader(large)
		}
		return strings.NewReader("[" + strings.Repeat(" ", smallBody-2) + "]")
	}).client(t, NewRoom(8), nil)
	for range 100 {
		if _, err := c.List(t.Context(), "p", ListOptions{Before: "large"}); err != nil {
			t.Fatal(err)
		}
		page, err := c.Fetch(t.Context(), "p", ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if size := page.buffer.Cap(); size > mostPooled {
			t.Fatalf("a page of 512 KiB holds %d KiB", size>>10)
		}
		page.Drop()
	}
	var buffer bytes.Buffer
	if _, err := readBody(&buffer, strings.NewReader(strings.Repeat(" ", smallBody)), smallBody); err != nil || buffer.Cap() > 512<<10 {
		t.Errorf("a small body takes %d bytes: %v", buffer.Cap(), err)
	}
}
