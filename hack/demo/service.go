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
	"slices"
	"strings"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// service reads Calyptia Cloud over HTTP. It does not use the operator's client, so that the checks are independent of
// it.
type service struct {
	url, projectID string
	token          cloud.Token // the project's
}

// remoteAgent is what the show looks at.
type remoteAgent struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Type      string `json:"type"`
	Version   string `json:"version"`
	MachineID string `json:"machineID"`
	Status    string `json:"status"`
	RawConfig string `json:"rawConfig"`
}

// call sends a request, as the project unless agentToken is set, and returns an error for all but 2xx.
func (s *service) call(ctx context.Context, method, path, agentToken, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if agentToken != "" {
		request.Header.Set("X-Agent-Token", agentToken)
	} else {
		request.Header.Set("Authorization", "Bearer "+s.token.Reveal())
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return &statusError{response.StatusCode, string(bytes.TrimSpace(content))}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(content, into)
}

// statusError is a response that is not a 2xx.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("Calyptia Cloud responds with %d %s", e.status, e.body)
}

// agents lists the project, the oldest first.
func (s *service) agents(ctx context.Context) (agents []remoteAgent, err error) {
	err = s.call(ctx, http.MethodGet, "/v1/projects/"+s.projectID+"/agents?last=100", "", "", &agents)
	slices.Reverse(agents)
	return agents, err
}

func (s *service) agent(ctx context.Context, id string) (agent remoteAgent, err error) {
	err = s.call(ctx, http.MethodGet, "/v1/agents/"+id, "", "", &agent)
	return agent, err
}
