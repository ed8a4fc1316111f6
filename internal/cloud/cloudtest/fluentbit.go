/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// FluentBit imitates a Fluent Bit that runs as an agent: it sends what Fluent Bit 5.1.1 was seen to send. It
// knows only what it was started with.
type FluentBit struct {
	// URL of the API, as its configuration says.
	URL string
	// ID and Token of its session.
	ID, Token string

	// What it reports about itself at its start.
	Hostname, MachineID, Version, RawConfig string
	// Metadata is empty unless it runs where it knows more, such as in a cloud.
	Metadata map[string]any
}

// NewFluentBit returns a Fluent Bit with a session file and the custom section of its configuration: the content
// of the keys session.CALYPTIA and calyptia.conf.
func NewFluentBit(session, section []byte) (*FluentBit, error) {
	id, token, err := readSession(session)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(section)) {
		if words := strings.Fields(line); len(words) == 2 {
			settings[words[0]] = words[1]
		}
	}
	for _, name := range []string{"api_key", "calyptia_host", "calyptia_port", "calyptia_tls", "machine_id", "store_path"} {
		if settings[name] == "" {
			return nil, fmt.Errorf("the section does not set %s", name)
		}
	}
	scheme := map[string]string{"on": "https", "off": "http"}[settings["calyptia_tls"]]
	return &FluentBit{
		URL: scheme + "://" + net.JoinHostPort(settings["calyptia_host"], settings["calyptia_port"]),
		ID:  id, Token: token,
		Hostname: "fluent-bit-7d9c4", MachineID: settings["machine_id"], Version: "5.1.1",
		RawConfig: "[INPUT]\n    name dummy\n    tag dummy.0\n\n[FILTER]\n\n[OUTPUT]\n    name  null\n    match *\n    retry_limit 1\n\n",
	}, nil
}

// readSession reads a session file as Fluent Bit's chunk library does.
func readSession(raw []byte) (id, token string, err error) {
	const header = 2 + 8 + 4 + 8 + 2
	if len(raw) < header || raw[0] != 0xC1 || raw[1] != 0 {
		return "", "", errors.New("it is no chunk")
	}
	length, metadata := int(binary.BigEndian.Uint32(raw[10:])), int(binary.BigEndian.Uint16(raw[22:]))
	if len(raw) != header+metadata+length {
		return "", "", fmt.Errorf("it has %d bytes, and its header speaks of %d and %d", len(raw), metadata, length)
	}
	content, _, err := UnpackStrings(raw[header+metadata:])
	if err != nil {
		return "", "", err
	}
	if content["id"] == "" || content["token"] == "" {
		return "", "", errors.New("it lacks the id or the token")
	}
	return content["id"], content["token"], nil
}

// Start is what it does at each start: it writes its own view of itself over the agent.
func (f *FluentBit) Start(ctx context.Context) error {
	metadata := f.Metadata
	if metadata == nil {
		metadata = map[string]any{}
	}
	body, err := json.Marshal(map[string]any{
		"name": f.Hostname, "type": "fluentbit", "rawConfig": f.RawConfig, "version": f.Version, "edition": "community",
		"os": "linux", "arch": "x86_64", "machineID": f.MachineID, "metadata": metadata,
	})
	if err != nil {
		return err
	}
	return f.send(ctx, http.MethodPatch, "", "application/json", body, http.StatusOK, http.StatusNoContent)
}

// Report is what it does every 30 seconds: it posts its metrics.
func (f *FluentBit) Report(ctx context.Context) error {
	body := []byte("\x82\xa4meta\x80\xa7metrics\x90") // {"meta": {}, "metrics": []}
	return f.send(ctx, http.MethodPost, "/metrics", "application/x-msgpack", body, http.StatusCreated)
}

func (f *FluentBit) send(ctx context.Context, method, path, contentType string, body []byte, want ...int) error {
	request, err := http.NewRequestWithContext(ctx, method, f.URL+"/v1/agents/"+f.ID+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("X-Agent-Token", f.Token)
	request.Header.Set("User-Agent", "") // It sends none.
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	for _, status := range want {
		if response.StatusCode == status {
			return nil
		}
	}
	return fmt.Errorf("%s of agent %s: the API returned %d %s", method, f.ID, response.StatusCode, bytes.TrimSpace(content))
}
