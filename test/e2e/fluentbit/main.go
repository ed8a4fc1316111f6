/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command fluentbit is a fake Fluent Bit for tests: it reads the same files (its configuration with the section that
// it includes, the session in its store path), has the same requirements, and sends the same reports.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// interval is how often Fluent Bit posts its metrics.
const interval = 30 * time.Second

func main() {
	var path string
	flag.StringVar(&path, "config", "", "file of the configuration")
	flag.StringVar(&path, "c", "", "file of the configuration")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, path); err != nil {
		say("[error]", err)
		os.Exit(1)
	}
}

// say logs to the output that Fluent Bit logs to.
func say(words ...any) { _, _ = fmt.Fprintln(os.Stderr, words...) }

func run(ctx context.Context, path string) error {
	c, err := readConfig(path)
	if err != nil {
		return err
	}
	agent, err := c.agent()
	if err != nil {
		// Fluent Bit would register now, but it has no api_key.
		return fmt.Errorf("agent registration failed: %w", err)
	}
	say("[info] session setup OK")
	if err := agent.Start(ctx); err != nil {
		return fmt.Errorf("agent registration failed: %w", err)
	}
	say("[info] known agent registration successful")
	if c.port != "" {
		healthy := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
		server := &http.Server{Addr: ":" + c.port, Handler: http.HandlerFunc(healthy), ReadHeaderTimeout: time.Second}
		defer server.Close()
		go func() { _ = server.ListenAndServe() }()
	}
	for tick := time.NewTicker(interval); ; {
		if err := agent.Report(ctx); err != nil && ctx.Err() == nil {
			say("[error]", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// config has the fields in use of a configuration.
type config struct {
	custom map[string]string
	port   string // of the HTTP server, empty without one
}

// readConfig reads a configuration in YAML or in the classic format, with what it includes.
func readConfig(path string) (config, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return config{}, err
	}
	if filepath.Ext(path) == ".conf" {
		return readClassic(path, string(content))
	}
	var read struct {
		Includes []string
		Customs  []map[string]any
		Service  map[string]any
	}
	if err := yaml.Unmarshal(content, &read); err != nil {
		return config{}, fmt.Errorf("%s: %w", path, err)
	}
	c := config{custom: map[string]string{}}
	if on := fmt.Sprint(read.Service["http_server"]); on == "on" || on == "true" {
		c.port = fmt.Sprint(read.Service["http_port"])
	}
	for _, custom := range read.Customs {
		for key, value := range custom {
			c.custom[key] = text(value)
		}
	}
	for _, included := range read.Includes {
		other, err := readConfig(beside(path, included))
		if err != nil {
			return config{}, err
		}
		for key, value := range other.custom {
			c.custom[key] = value
		}
	}
	return c, nil
}

// text is a value as written in the file: YAML reads on and 443 as other types.
func text(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case bool:
		return map[bool]string{true: "on", false: "off"}[value]
	}
	encoded, _ := json.Marshal(value)
	return string(encoded)
}

func readClassic(path, content string) (config, error) {
	c := config{custom: map[string]string{}}
	section := ""
	for line := range strings.Lines(content) {
		words := strings.Fields(line)
		switch {
		case len(words) == 1 && strings.HasPrefix(words[0], "["):
			section = strings.ToLower(words[0])
		case len(words) == 2 && words[0] == "@INCLUDE":
			other, err := readConfig(beside(path, words[1]))
			if err != nil {
				return config{}, err
			}
			c.custom = other.custom
		case len(words) == 2 && section == "[custom]":
			c.custom[strings.ToLower(words[0])] = words[1]
		}
	}
	return c, nil
}

func beside(path, other string) string {
	if filepath.IsAbs(other) {
		return other
	}
	return filepath.Join(filepath.Dir(path), other)
}

// agent is the agent of the session.
func (c config) agent() (*cloudtest.FluentBit, error) {
	store := c.custom["store_path"]
	if store == "" {
		return nil, errors.New("the configuration sets no store_path")
	}
	// Fluent Bit opens the file for writing, and creates files next to it.
	session := filepath.Join(store, "calyptia", "session.CALYPTIA")
	file, err := os.OpenFile(session, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	probe := session + ".probe"
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Remove(probe); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(session)
	if err != nil {
		return nil, err
	}
	var section strings.Builder
	for key, value := range c.custom {
		fmt.Fprintf(&section, "%s %s\n", key, value)
	}
	agent, err := cloudtest.NewFluentBit(content, []byte(section.String()))
	if err != nil {
		return nil, err
	}
	if agent.Hostname = os.Getenv("HOSTNAME"); agent.Hostname == "" {
		agent.Hostname, err = os.Hostname()
	}
	return agent, err
}
