/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// The image has only the binary, so https needs root certificates inside it.
func TestThereAreRootCertificatesWithoutAFile(t *testing.T) {
	const bare = "TEST_WITHOUT_ROOTS"
	if os.Getenv(bare) == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), bare+"=1", "SSL_CERT_FILE="+os.DevNull, "SSL_CERT_DIR="+t.TempDir())
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	pool, err := x509.SystemCertPool()
	if err != nil || pool.Equal(x509.NewCertPool()) {
		t.Errorf("there are none (%v)", err)
	}
}
