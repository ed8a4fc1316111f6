/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"runtime"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// bundleOf is a CA bundle of at least so many bytes.
func bundleOf(t *testing.T, size int) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	noError(t, err)
	var bundle bytes.Buffer
	for i := int64(1); bundle.Len() < size; i++ {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(i), Subject: pkix.Name{CommonName: fmt.Sprint("ca-", i)}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		}
		raw, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
		noError(t, err)
		noError(t, pem.Encode(&bundle, &pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	}
	return bundle.Bytes()
}

// A team makes 100 small CloudProjects that all refer to one ConfigMap with a large CA bundle.
func TestManyCloudProjects_OfOneLargeCABundle_TakeLittleMemory(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	bundle := bundleOf(t, 500_000)
	before := testenv.Heap()
	for i := range 100 {
		cp := w.cp.DeepCopy()
		cp.UID, cp.Name = types.UID(fmt.Sprint("uid-", i)), fmt.Sprint("many-", i)
		_, err := w.registry.Configure(cp, connection.Credentials{Token: cloud.NewToken("a-token"), CABundle: bytes.Clone(bundle)})
		noError(t, err)
	}
	grown := (testenv.Heap() - before) >> 20
	runtime.KeepAlive(w.registry)
	if grown > 16 {
		t.Errorf("they take %d MiB", grown)
	}
}

func TestACABundleIsBounded(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	_, err := w.registry.Configure(w.cp, connection.Credentials{Token: cloud.NewToken("a-token"), CABundle: bundleOf(t, 513<<10)})
	w.refused(err, v1alpha1.ReasonInvalid)
}
