/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

const (
	// stageDir holds all that the demo writes.
	stageDir  = ".demo"
	namespace = "demo"
	// projectID and fleetID are what the fake cloud knows.
	projectID = "0c1d7a52-6f0e-4c56-9d0b-3a4be8a3f7d1"
	fleetID   = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
)

// stage is everything that runs for the show.
type stage struct {
	lock         *os.File
	controlPlane *testenv.ControlPlane
	kube         client.WithWatch
	fake         *cloudtest.Server
	service      *service
	closeService func()
	operator     *program
	fluentBit    *program // nil unless there is a real one
}

// openStage locks the directory, which only one demo at a time can use, and removes the files of earlier ones.
func openStage() (*stage, error) {
	if err := os.MkdirAll(stageDir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(stageDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another demo is running in %s: end it first (%w)", stageDir, err), lock.Close())
	}
	s := &stage{lock: lock}
	return s, s.clear(func(string) bool { return false })
}

// clear removes what is in the directory, except for the lock and what is to be kept.
func (s *stage) clear(keep func(name string) bool) error {
	entries, err := os.ReadDir(stageDir)
	errs := []error{err}
	for _, entry := range entries {
		if name := entry.Name(); name != "lock" && !keep(name) {
			errs = append(errs, os.RemoveAll(filepath.Join(stageDir, name)))
		}
	}
	return errors.Join(errs...)
}

// startControlPlane starts Kubernetes with the CRDs, and a client for it.
func (s *stage) startControlPlane(ctx context.Context) (err error) {
	if s.controlPlane, err = testenv.Start(ctx, testenv.Options{Dir: stageDir}); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	s.kube, err = client.NewWithWatch(s.controlPlane.Config, client.Options{Scheme: scheme})
	return err
}

// startService serves the fake cloud with one project and one fleet.
func (s *stage) startService() {
	s.fake = cloudtest.New(cloudtest.Settings{Fleets: map[string]string{fleetID: "edge"}})
	server := s.fake.Start()
	s.closeService = server.Close
	s.service = &service{url: server.URL, projectID: projectID, token: s.fake.AddProject(projectID)}
}

// close stops everything in reverse order and removes what was written. Logs are kept after a failure.
func (s *stage) close(keepLogs bool) error {
	var errs []error
	s.fluentBit.stop()
	if s.operator != nil {
		s.operator.stop()
	}
	if s.closeService != nil {
		s.closeService()
	}
	if s.controlPlane != nil {
		errs = append(errs, s.controlPlane.Stop())
	}
	errs = append(errs, s.remove(keepLogs), s.lock.Close())
	return errors.Join(errs...)
}

func (s *stage) remove(keepLogs bool) (err error) {
	if keepLogs {
		return s.clear(func(name string) bool { return filepath.Ext(name) == ".log" })
	}
	// A program that was killed a moment ago may still add a file.
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		if err = os.RemoveAll(stageDir); err == nil {
			return nil
		}
	}
	return err
}

// tail shows the last log lines of the operator.
func (s *stage) tail(out *printer) {
	if s.operator != nil {
		s.operator.tail(out)
	}
}
