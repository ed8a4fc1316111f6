/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

const (
	benchNamespace     = "bench"
	floorNamespace     = "floor"
	unrelatedNamespace = "unrelated"

	loaderAgent   = "bench"
	floorAgent    = "bench-floor"
	operatorAgent = "calyptia-agent-operator"
)

// cell holds the parameters of one run.
type cell struct {
	N         int
	Latency   time.Duration
	RateLimit int
}

// stage is everything that runs for one cell.
type stage struct {
	*options
	cell
	dir      string
	plane    *testenv.ControlPlane
	cloud    *remote
	api      rest.Interface // of the client that applies
	floorAPI rest.Interface
	audit    *auditLog
	operator *operator
	results  []*result

	fences int
	marks  int
}

// open starts the control plane and the fake cloud.
func open(ctx context.Context, o *options, c cell, dir string) (_ *stage, err error) {
	s := &stage{options: o, cell: c, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	log := filepath.Join(dir, "audit.log")
	if s.plane, err = testenv.Start(ctx, testenv.Options{Dir: dir, AuditLog: log}); err != nil {
		return nil, err
	}
	if s.audit, err = openAudit(log); err != nil {
		return nil, err
	}
	if s.cloud, err = startCloud(4 * o.concurrency); err != nil {
		return nil, err
	}
	if s.api, err = newAPI(s.plane.Config, loaderAgent); err != nil {
		return nil, err
	}
	if s.floorAPI, err = newAPI(s.plane.Config, floorAgent); err != nil {
		return nil, err
	}
	if err := s.cloud.set(ctx, cloudState{Latency: c.Latency, NoList: s.noList}); err != nil {
		return nil, err
	}
	return s, s.furnish(ctx)
}

// newAPI is a client that sends and receives raw bytes.
func newAPI(config *rest.Config, agent string) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = agent + "/1"
	config.NegotiatedSerializer = serializer.NewCodecFactory(clientgoscheme.Scheme).WithoutConversion()
	return rest.UnversionedRESTClientFor(config)
}

// close stops everything in reverse order.
func (s *stage) close() error {
	s.stopOperator()
	s.cloud.stop()
	errs := []error{s.audit.close()}
	if s.plane != nil {
		errs = append(errs, s.plane.Stop())
	}
	return errors.Join(errs...)
}

// furnish creates the namespaces, the CloudProject and the unrelated objects.
func (s *stage) furnish(ctx context.Context) error {
	for _, namespace := range []string{benchNamespace, floorNamespace, unrelatedNamespace} {
		if err := s.create(ctx, "/api/v1/namespaces", object("v1", "Namespace", namespace, nil)); err != nil {
			return err
		}
	}
	token := map[string]any{"stringData": map[string]string{"token": s.cloud.Tokens[operatorProject]}}
	if err := s.create(ctx, secretsPath(benchNamespace), object("v1", "Secret", "calyptia-project-token", token)); err != nil {
		return err
	}
	project := map[string]any{"spec": map[string]any{
		"url": s.cloud.Service, "tokenSecretRef": map[string]string{"name": "calyptia-project-token"},
		"rateLimit": map[string]int{"requestsPerSecond": s.RateLimit, "burst": rateBurst},
		// So long that no periodic sync falls into another phase.
		"resyncInterval": "24h",
	}}
	if err := s.create(ctx, projectsPath, object(apiVersion, "CloudProject", projectName, project)); err != nil {
		return err
	}
	if s.fromConfigMap {
		source := map[string]any{"data": map[string]string{sourceKey: configText(s.rawConfig, 0)}}
		if err := s.create(ctx, configMapsPath(benchNamespace), object("v1", "ConfigMap", sourceName, source)); err != nil {
			return err
		}
	}
	filler := strings.Repeat("0123456789abcde\n", (s.unrelatedSize+15)/16)[:s.unrelatedSize]
	all := names("unrelated", s.unrelated)
	secret := func(ctx context.Context, name string) error {
		body := object("v1", "Secret", name, map[string]any{"stringData": map[string]string{"filler": filler}})
		return s.create(ctx, secretsPath(unrelatedNamespace), body)
	}
	configMap := func(ctx context.Context, name string) error {
		body := object("v1", "ConfigMap", name, map[string]any{"data": map[string]string{"filler": filler}})
		return s.create(ctx, configMapsPath(unrelatedNamespace), body)
	}
	return errors.Join(each(ctx, 2*s.concurrency, all[:len(all)/2], secret), each(ctx, 2*s.concurrency, all[len(all)/2:], configMap))
}

func (s *stage) create(ctx context.Context, path string, body []byte) error {
	if err := s.api.Post().AbsPath(path).Body(body).Do(ctx).Error(); err != nil {
		return fmt.Errorf("POST %s: %w", path, err)
	}
	return nil
}

// object is a manifest in JSON.
func object(version, kind, name string, rest map[string]any) []byte {
	all := map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]string{"name": name}}
	for key, value := range rest {
		all[key] = value
	}
	body, err := json.Marshal(all)
	if err != nil {
		panic(err) // Impossible: strings and numbers only.
	}
	return body
}

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%05d", prefix, i)
	}
	return all
}

// each calls a function for each name, with limited concurrency, and stops at the first error.
func each(ctx context.Context, workers int, names []string, do func(context.Context, string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(workers, len(names)) {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(names) {
					return
				}
				if err := do(ctx, names[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// poll waits until the condition holds.
func poll(ctx context.Context, patience time.Duration, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if held, err := holds(); held || err != nil {
			return err
		}
		if err := testenv.Pause(ctx, 25*time.Millisecond); err != nil {
			return fmt.Errorf("waiting until %s: %w", what, err)
		}
	}
}

// tempDir is a directory for one cell; it is kept if logs were requested.
func (o *options) tempDir(c cell) (dir string, remove func() error, err error) {
	if o.logs == "" {
		dir, err = os.MkdirTemp("", "bench-")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}
	dir = filepath.Join(o.logs, strings.NewReplacer("/", "-", "=", "").Replace(c.String()))
	return dir, func() error { return nil }, os.MkdirAll(dir, 0o700)
}

func (c cell) String() string {
	return fmt.Sprintf("n=%d/latency=%s/rate=%d", c.N, c.Latency, c.RateLimit)
}
