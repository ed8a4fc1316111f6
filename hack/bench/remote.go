/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
)

// remote is the client of the fake cloud's control port.
type remote struct {
	greeting
	child *process.Child
	http  *http.Client
}

// startCloud starts this program again as the fake cloud.
func startCloud(connections int) (*remote, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	command := exec.Command(self, cloudCommand)
	command.Stdout, command.Stderr = in, os.Stderr
	started, err := process.Start(command, in)
	if err != nil {
		return nil, err
	}
	r := &remote{child: started, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxIdleConns: 2 * connections},
		Timeout:   time.Minute,
	}}
	if err := json.NewDecoder(out).Decode(&r.greeting); err != nil {
		r.stop()
		return nil, errCloudSilent
	}
	return r, nil
}

func (r *remote) stop() {
	if r != nil {
		r.child.Kill()
	}
}

// calls returns the requests since the last reset.
func (r *remote) calls(ctx context.Context) (got calls, err error) {
	return got, r.do(ctx, http.MethodGet, r.Control+"/calls", "", nil, &got)
}

func (r *remote) reset(ctx context.Context) error {
	return r.do(ctx, http.MethodPost, r.Control+"/reset", "", nil, nil)
}

func (r *remote) set(ctx context.Context, state cloudState) error {
	body, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return r.do(ctx, http.MethodPost, r.Control+"/state", "", body, nil)
}

// drift changes each agent of a project externally.
func (r *remote) drift(ctx context.Context, project string) error {
	return r.do(ctx, http.MethodPost, r.Control+"/drift/"+project, "", nil, nil)
}

// do sends a request with a project token.
func (r *remote) do(ctx context.Context, method, url, token string, body []byte, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := r.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s %s", method, request.URL.Path, response.Status, content)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(content, into)
}
