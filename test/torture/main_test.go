/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package torture_test runs the operator's binary as a child, against a real control plane and a fake cloud, and kills,
// stops and replaces it while Agents are created, changed and deleted. In the end the cloud and the cluster have to agree
// exactly.
package torture_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/go-logr/logr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// How long and how often the operator is killed. The defaults run with all other tests; `make torture` runs longer.
var (
	seed      = flag.Uint64("seed", 0, "of the actions, the faults and the kills; 0 takes one from the clock")
	duration  = flag.Duration("duration", 45*time.Second, "of the faults and the kills")
	agents    = flag.Int("agents", 100, "number of names of Agents")
	nodes     = flag.Int("nodes", 40, "number of nodes that are replaced")
	realTimes = flag.Bool("real-times", false, "use the operator's production timings")
)

// shortSlack is the operator's --registration-slack without -real-times.
const shortSlack = 12 * time.Second

// slack is how long after an intent the operator trusts an empty list.
func slack() time.Duration {
	if *realTimes {
		return 80 * time.Second
	}
	return shortSlack
}

var (
	scheme = runtime.NewScheme()
	// binary is the operator's binary, built once for all tests.
	binary string
	// shared is the control plane of the tests that do not restart it.
	shared = sync.OnceValues(func() (*testenv.ControlPlane, error) {
		sharedUsed = true
		return testenv.Start(context.Background(), testenv.Options{})
	})
	sharedUsed bool
)

func TestMain(m *testing.M) {
	flag.Parse()
	ctrllog.SetLogger(logr.Discard())
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "torture-binary-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "calyptia-agent-operator")
	if err := testenv.BuildOperator(context.Background(), binary); err != nil {
		return 1, err
	}
	code = m.Run()
	if !sharedUsed {
		return code, nil
	}
	plane, err := shared()
	if err != nil {
		return code, nil // The tests that needed it have failed.
	}
	return code, plane.Stop()
}
