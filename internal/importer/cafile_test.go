/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// A file with certificates often holds their private key, too. The manifests, which are for Git, have the certificates alone.
func TestCAFile_OfItTheManifestsHaveTheCertificates(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.agent("web")
	server := httptest.NewTLSServer(w.Server)
	defer server.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("private")})
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, slices.Concat(key, certificate, []byte("# "+w.token.Reveal()+"\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	got := w.runWith(w.token.Reveal(), "--url", server.URL, "--ca-file", file, "--project-ref", "calyptia", "--cloud-project")
	if got.err != nil || !strings.Contains(got.stdout, "BEGIN CERTIFICATE") {
		t.Fatalf("%v: %s", got.err, got.all())
	}
	if strings.Contains(got.all(), "PRIVATE KEY") || strings.Contains(got.all(), w.token.Reveal()) {
		t.Error("the manifests have more than the certificates")
	}
}
