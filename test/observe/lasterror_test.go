/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The error that ends the program is one line of bounded text, whatever a proxy or login page before the API server sends.
func TestLastError_ForeignText_IsOneCleanLine(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		code       int
		kind, body string
	}{
		"a page":  {http.StatusForbidden, "text/html", "\x1b]0;title\a\x1b[2J<html>no\nline two"},
		"a login": {http.StatusOK, "text/html", "\x1b[2J<html>log in\nline two"},
		"a status": {http.StatusForbidden, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,` +
			`"message":"\u001b[2Jno\nline two` + strings.Repeat("x", 300_000) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", row.kind)
				w.WriteHeader(row.code)
				_, _ = w.Write([]byte(row.body))
			}))
			defer server.Close()
			kubeconfig := filepath.Join(t.TempDir(), "config")
			err := clientcmd.WriteToFile(clientcmdapi.Config{
				CurrentContext: "odd", Contexts: map[string]*clientcmdapi.Context{"odd": {Cluster: "odd"}},
				Clusters: map[string]*clientcmdapi.Cluster{"odd": {Server: server.URL}},
			}, kubeconfig)
			if err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"status"}, {"--cluster-id=odd"}} {
				output, err := exec.Command(path, append(args, "--kubeconfig="+kubeconfig)...).CombinedOutput()
				lines := strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
				last := lines[len(lines)-1]
				if err == nil || !strings.HasPrefix(last, "calyptia-agent-operator: ") || strings.ContainsAny(string(output), "\x1b\a") ||
					len(output) > 64<<10 {
					t.Errorf("%q ends with %v, and prints %d bytes: %.400q", args, err, len(output), output)
				}
			}
		})
	}
}
