/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

const (
	projectID = "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a001"
	fleetID   = "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a002"
	nilID     = "00000000-0000-0000-0000-000000000000"
)

// service is a fake over HTTP and a client of it. test/openapi holds such calls against the description of the API.
type service struct {
	*cloudtest.Server
	token  cloud.Token
	client *cloud.Client
}

func newService(t *testing.T, settings cloudtest.Settings) *service {
	t.Helper()
	server := cloudtest.New(settings)
	web := server.Start()
	t.Cleanup(web.Close)
	token := server.AddProject(projectID)
	client := newClient(t, web.URL, cloud.Config{
		Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: token},
	})
	return &service{Server: server, token: token, client: client}
}

func newClient(t *testing.T, raw string, config cloud.Config) *cloud.Client {
	t.Helper()
	base, err := cloud.ParseURL(raw, cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	config.BaseURL = base
	if config.Credential.Scheme == "" {
		config.Credential = cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken("project-token-value")}
	}
	client, err := cloud.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func registration(machineID string) cloud.Registration {
	return cloud.Registration{
		Name: "web-logs", MachineID: machineID, Type: "fluentbit", Version: "v4.0.0",
		Edition: "community", RawConfig: "[INPUT]\n    Name cpu\n",
	}
}

func (s *service) register(t *testing.T, machineID string) *cloud.Registered {
	t.Helper()
	registered, err := s.client.Register(t.Context(), registration(machineID))
	if err != nil {
		t.Fatal(err)
	}
	return registered
}

func failure(t *testing.T, err error) *cloud.Error {
	t.Helper()
	failed, ok := cloud.AsError(err)
	if !ok {
		t.Fatalf("the error is %v, want a *cloud.Error", err)
	}
	return failed
}

func contains(text string, words ...string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// pageOfDigests reads a page by Digests.
func pageOfDigests(raw *cloud.RawPage) (*cloud.Page, error) {
	page := &cloud.Page{Before: raw.Before}
	err := raw.Digests(func(a *cloud.Agent) error {
		page.Agents = append(page.Agents, *a)
		return nil
	})
	return page, err
}
