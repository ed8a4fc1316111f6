/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package serving

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"

	"github.com/go-logr/logr"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// TLSConfig returns the configuration of a server with tls.crt and tls.key of a directory, which it reads again when they change,
// until ctx ends. Without a directory it makes a certificate. It offers only HTTP/1.1: a connection of HTTP/2 has any number of
// requests at once.
func TLSConfig(ctx context.Context, log logr.Logger, directory string) (*tls.Config, error) {
	config := &tls.Config{NextProtos: []string{"http/1.1"}}
	if directory == "" {
		certificate, key, err := certutil.GenerateSelfSignedCertKeyWithFixtures("localhost", []net.IP{{127, 0, 0, 1}}, nil, "")
		if err != nil {
			return nil, fmt.Errorf("no certificate can be made: %w", err)
		}
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("no certificate can be made: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
		return config, nil
	}
	watcher, err := certwatcher.New(filepath.Join(directory, "tls.crt"), filepath.Join(directory, "tls.key"))
	if err != nil {
		return nil, err
	}
	config.GetCertificate = watcher.GetCertificate
	// Not with the manager: that starts it only once the caches are filled.
	go func() {
		if err := watcher.Start(ctx); err != nil {
			log.Error(err, "The certificate is not read again when it changes")
		}
	}()
	return config, nil
}
