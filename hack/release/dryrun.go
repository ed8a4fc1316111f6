/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// dryRun starts a registry on loopback, and creates a directory for a key.
func (r *release) dryRun() (end func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if r.keyDir, err = os.MkdirTemp("", "release-key-"); err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler:           registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)),
		ReadHeaderTimeout: time.Minute,
	}
	go func() { _ = server.Serve(listener) }()
	r.registry, r.plainHTTP = listener.Addr().String()+"/"+operator, true
	return func() {
		_ = server.Close()
		_ = os.RemoveAll(r.keyDir)
	}, nil
}
