/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"maps"
	"sync"
	"weak"
)

// maxCABundle is twice the size of the bundle of all public authorities.
const maxCABundle = 512 << 10

// pools are the certificates of the CA bundles in use: any number of clients of equal bundles keep them once.
var pools = struct {
	sync.Mutex
	all map[[sha256.Size]byte]weak.Pointer[x509.CertPool]
}{all: map[[sha256.Size]byte]weak.Pointer[x509.CertPool]{}}

// certificates returns nil, the system's roots, if there is no bundle.
func certificates(bundle []byte) (*x509.CertPool, error) {
	switch {
	case len(bundle) == 0:
		return nil, nil
	case len(bundle) > maxCABundle:
		return nil, errors.New("cloud client: the CA bundle is larger than 512 KiB: keep the authorities that the API needs")
	}
	digest := sha256.Sum256(bundle)
	pools.Lock()
	defer pools.Unlock()
	if pool := pools.all[digest].Value(); pool != nil {
		return pool, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(bundle) {
		return nil, errors.New("cloud client: the CA bundle has no PEM certificate")
	}
	maps.DeleteFunc(pools.all, func(_ [sha256.Size]byte, p weak.Pointer[x509.CertPool]) bool { return p.Value() == nil })
	pools.all[digest] = weak.Make(pool)
	return pool, nil
}
