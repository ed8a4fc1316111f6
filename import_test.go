/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/importer"
)

// asOperator makes the test binary run as the operator's own.
const asOperator = "TEST_RUNS_AS_OPERATOR"

func TestMain(m *testing.M) {
	if os.Getenv(asOperator) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestTheExitCodesOfTheImport(t *testing.T) {
	server, projectID := cloudtest.New(cloudtest.Settings{}), uuid.NewString()
	web := server.Start()
	defer web.Close()
	token := server.AddProject(projectID)
	agent := `{"id":"5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11","name":"web","machineID":"m","type":"fluentbit"}`
	refused := `{"id":"5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c12","machineID":"n","type":"fluentbit","rawConfig":"` + strings.Repeat("a", 2<<20) + `"}` // No ConfigMap takes that.
	for _, row := range []struct {
		name, list string
		args       []string
		code       int
		stderr     string
	}{
		{"all is well", "[" + agent + "]", nil, 0, "1 declared"},
		{"there is none", "[]", nil, 0, "0 declared"},
		{"one agent is refused", "[" + refused + "," + agent + "]", nil, 1, "calyptia-agent-operator: 1 of 2 agents"},
		{"the API fails", "{}", nil, 1, "calyptia-agent-operator: the agents cannot be listed"},
		{"a wrong value", "[]", []string{"--type=vector"}, 2, "--type"},
		{"a wrong flag", "[]", []string{"--no-such-flag"}, 2, "--no-such-flag"},
		{"an argument", "[]", []string{"agents"}, 2, "no arguments"},
	} {
		t.Run(row.name, func(t *testing.T) {
			defer server.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: http.StatusOK, Body: row.list})()
			command := exec.CommandContext(t.Context(), os.Args[0],
				append([]string{"import", "--url", web.URL, "--allow-insecure-http"}, row.args...)...)
			command.Env = append(os.Environ(), asOperator+"=1", importer.TokenVariable+"="+token.Reveal())
			var stdout, stderr bytes.Buffer
			command.Stdout, command.Stderr = &stdout, &stderr
			err := command.Run()
			if exit := (&exec.ExitError{}); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := command.ProcessState.ExitCode(); code != row.code || !strings.Contains(stderr.String(), row.stderr) {
				t.Errorf("exit code %d, want %d: %s", code, row.code, stderr.String())
			}
			if printed := strings.Contains(stdout.String(), "kind: Agent"); printed != strings.Contains(row.list, agent) || row.code == 2 && stdout.Len() > 0 {
				t.Errorf("it prints %s", stdout.String())
			}
		})
	}
}

// Net/http writes to the standard log what comes after a response. A server may send the token there.
func TestTheImportOfAServerThatRepeatsItsRequestsPrintsNoToken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for status := "503 Service Unavailable"; ; status = "200 OK" { // A second passes before the next request.
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				request, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 2\r\n\r\n[]you sent "+request.Header.Get("Authorization"))
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	const token = "the-token-of-the-project"
	command := exec.CommandContext(t.Context(), os.Args[0],
		"import", "--url=http://"+listener.Addr().String(), "--allow-insecure-http", "--project-id="+uuid.NewString())
	command.Env = append(os.Environ(), asOperator+"=1", importer.TokenVariable+"="+token)
	printed, err := command.CombinedOutput()
	if err != nil || strings.Contains(string(printed), token) {
		t.Errorf("error %v, printed: %s", err, printed)
	}
}
