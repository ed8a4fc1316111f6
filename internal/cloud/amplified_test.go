/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// A page of millions of things that are no agents takes no more memory than its bytes and a little.
func TestDigests_PageOfEmptyObjects_TakesLittleMemory(t *testing.T) {
	for name, element := range map[string]string{"empty": `{},`, "null": `null,`, "lenient": `{"tags":7},`} {
		t.Run(name, func(t *testing.T) {
			body := append(bytes.Repeat([]byte(element), 8<<20/len(element)), `{}]`...)
			body = append([]byte(`[`), body...)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
			t.Cleanup(server.Close)
			base, err := cloud.ParseURL(server.URL, cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true})
			if err != nil {
				t.Fatal(err)
			}
			c, err := cloud.New(cloud.Config{BaseURL: base, Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken("t")}})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := c.Fetch(t.Context(), "p", cloud.ListOptions{Last: 100})
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err = raw.Digests(func(*cloud.Agent) error { return nil })
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), "no agent ID") {
				t.Errorf("error %v", err)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 32 {
				t.Errorf("reading a page of 8 MiB took %d MiB", took)
			}
		})
	}
}

// An error of many keys is not the API's, and takes no more memory and time than its bytes.
func TestError_OfAMillionKeys_TakesLittleMemory(t *testing.T) {
	var body bytes.Buffer
	body.WriteString(`{`)
	for i := 0; body.Len() < 8<<20; i++ {
		fmt.Fprintf(&body, `"%x":0,`, i)
	}
	body.WriteString(`"error":"no"}`)
	for _, status := range []int{http.StatusInternalServerError, http.StatusNotFound, http.StatusTooManyRequests} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = w.Write(body.Bytes())
			}))
			t.Cleanup(server.Close)
			client := newClient(t, server.URL, cloud.Config{})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := client.Get(t.Context(), nilID)
			runtime.ReadMemStats(&after)
			if failure(t, err).API {
				t.Errorf("it counts as the API's: %v", err)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 64 {
				t.Errorf("reading an error of 8 MiB took %d MiB", took)
			}
		})
	}
}

// A message of any length is judged in time that does not delay others.
func TestNotFound_LongMessage_IsJudgedAtOnce(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusGone} {
		for _, word := range []string{"a ", "agent: ", nilID + " ", "agent not found; "} {
			t.Run(strconv.Itoa(status)+" "+word, func(t *testing.T) {
				body := `{"error":"` + strings.Repeat(word, 8<<20/len(word)) + `"}`
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(status)
					_, _ = io.WriteString(w, body)
				}))
				t.Cleanup(server.Close)
				client := newClient(t, server.URL, cloud.Config{})
				var before, after syscall.Rusage
				_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
				_, err := client.Get(t.Context(), nilID)
				_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
				if cloud.IsGone(err) {
					t.Errorf("it says that the agent is gone: %.80s", err)
				}
				if took := time.Duration(after.Utime.Nano() - before.Utime.Nano()); took > time.Second {
					t.Errorf("a message of 8 MiB took %s of a processor", took)
				}
			})
		}
	}
}

// Of millions of flags or tags only so many are read that they differ from all that can be declared.
func TestGet_MillionsOfTexts_TakeLittleMemory(t *testing.T) {
	for name, field := range map[string]string{"flags": `"flags":`, "tags": `"tags":`, "tags of a lenient agent": `"status":7,"tags":`} {
		t.Run(name, func(t *testing.T) {
			body := `{"id":"` + nilID + `","machineID":"m","type":"t",` + field + `[` + strings.Repeat(`"",`, 8<<20/3) + `""]}`
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
			t.Cleanup(server.Close)
			client := newClient(t, server.URL, cloud.Config{})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			agent, err := client.Get(t.Context(), nilID)
			runtime.ReadMemStats(&after)
			if err != nil || len(agent.Flags)+len(agent.Tags) <= 128 {
				t.Fatalf("%+v, %v", agent, err)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 64 {
				t.Errorf("an agent of 8 MiB took %d MiB", took)
			}
		})
	}
}

// A token of any length is hidden without a copy of each of its parts.
func TestHiding_HugeToken_TakesLittleMemory(t *testing.T) {
	var text strings.Builder
	for i := 0; text.Len() < 1<<20; i++ {
		fmt.Fprintf(&text, "%x", i*2654435761)
	}
	token := cloud.NewToken(text.String())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, `{"error":"no %s","detail":"%s"}`, text.String()[2000:2020], text.String()[1000:])
	}))
	t.Cleanup(server.Close)
	client := newClient(t, server.URL, cloud.Config{}).WithCredential(cloud.Credential{Scheme: cloud.SchemeBearer, Token: token})
	server.Config.MaxHeaderBytes = 4 << 20
	var before, between, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := client.Get(t.Context(), nilID)
	runtime.ReadMemStats(&between)
	shown := cloud.Redact("the token is "+text.String()[5000:5100]+" and more", token)
	runtime.ReadMemStats(&after)
	if e := failure(t, err); e.Message != "no [redacted]" || e.Detail != "[redacted]" {
		t.Errorf("error %+v", e)
	}
	if shown != "the token is [redacted] and more" {
		t.Errorf("shown: %s", shown)
	}
	if took := (between.TotalAlloc - before.TotalAlloc) >> 20; took > 48 {
		t.Errorf("an error took %d MiB", took)
	}
	if took := (after.TotalAlloc - between.TotalAlloc) >> 20; took > 8 {
		t.Errorf("a text took %d MiB", took)
	}
}

// One agent was asked for, as a credential check does. Of a page of tiny agents no more are kept than documented ones fit.
func TestList_PageOfTinyAgents_IsRefused(t *testing.T) {
	for agents, fits := range map[int]bool{25_000: true, 25_001: false} {
		one := `{"id":"` + nilID + `","machineID":"m","type":"t"}`
		body := `[` + strings.Repeat(one+",", agents-1) + one + `]`
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		t.Cleanup(server.Close)
		_, err := newClient(t, server.URL, cloud.Config{}).List(t.Context(), "p", cloud.ListOptions{Last: 1})
		if (err == nil) != fits || err != nil && !strings.Contains(err.Error(), "more than 25,000 elements") {
			t.Errorf("%d agents: %v", agents, err)
		}
	}
}
