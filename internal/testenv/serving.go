/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package testenv

import (
	"errors"
	"net"
	"os"
	"path/filepath"

	certutil "k8s.io/client-go/util/cert"
)

// firstServiceIP is the address of the Service kubernetes, the first of envtest's range of Services.
const firstServiceIP = "10.0.0.1"

// serveToPods creates a certificate of the API server for all names that pods use; envtest's own is for one address.
// If it finds a certificate, envtest does not create a key for the tokens of ServiceAccounts either.
func (c *ControlPlane) serveToPods(address string) error {
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	ca, err := c.writePair("apiserver", address, []net.IP{net.ParseIP(firstServiceIP)}, names)
	if err != nil {
		return err
	}
	server := c.Env.ControlPlane.APIServer
	server.SecureServing.CA = ca
	server.Configure().Set("advertise-address", address)
	_, err = c.writePair("sa-signer", "service-accounts", nil, nil)
	return err
}

// writePair writes a new key and its certificate, which it returns.
func (c *ControlPlane) writePair(file, name string, addresses []net.IP, names []string) ([]byte, error) {
	cert, key, err := certutil.GenerateSelfSignedCertKey(name, addresses, names)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(c.certDir(), file)
	return cert, errors.Join(os.WriteFile(path+".crt", cert, 0o600), os.WriteFile(path+".key", key, 0o600))
}
