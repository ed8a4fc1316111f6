/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package charts_test installs the charts by the real helm on a real API server, runs the operator's binary under
// the chart's own ServiceAccount and with the chart's own arguments, and checks that its RBAC rules are enough, and
// that each is needed. The output of kustomize is tested, too.
package charts_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

var (
	scheme = runtime.NewScheme()
	// work is a shared directory of all tests: binaries, files of helm, the audit log.
	work string
	// shared has the CRDs, those of the Prometheus operator too, and an audit log.
	shared = sync.OnceValues(func() (*testenv.ControlPlane, error) {
		return startPlane(testenv.Options{
			CRDDirs:  []string{testenv.OwnCRDs(), testenv.ForeignCRDs()},
			AuditLog: filepath.Join(work, "audit.log"),
		})
	})
	// breakable is for the test that restarts its API server.
	breakable = sync.OnceValues(func() (*testenv.ControlPlane, error) { return startPlane(testenv.Options{Own: true}) })
	// bare have no CRDs, which the chart brings; each belongs to one test at a time.
	bare   = make(chan func() (*testenv.ControlPlane, error), bares)
	planes started

	// helmPath, helm3Path and kustomizePath are the tools of hack, built once by the go command.
	helmPath      = sync.OnceValues(func() (string, error) { return tool("helm", "helm") })
	helm3Path     = sync.OnceValues(func() (string, error) { return tool("helm3", "helm") })
	kustomizePath = sync.OnceValues(func() (string, error) { return tool("tools", "kustomize") })
	// operatorPath is the operator's binary.
	operatorPath = sync.OnceValues(func() (string, error) {
		path := filepath.Join(work, "calyptia-agent-operator")
		return path, testenv.BuildOperator(context.Background(), path)
	})
)

// bares is the number of tests that may have a cluster of this kind at the same time.
const bares = 3

// started are the control planes to stop.
type started struct {
	sync.Mutex
	all []*testenv.ControlPlane
}

func TestMain(m *testing.M) {
	// These tests wait more than they work, mostly for separate clusters; flags of the command line take precedence.
	if err := flag.Set("test.parallel", "24"); err != nil {
		panic(err)
	}
	ctrllog.SetLogger(logr.Discard())
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	err = errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme))
	if err != nil {
		return 1, err
	}
	if work, err = os.MkdirTemp("", "charts-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	defer func() {
		for _, plane := range planes.all {
			err = errors.Join(err, plane.Stop())
		}
	}()
	for range bares {
		bare <- sync.OnceValues(func() (*testenv.ControlPlane, error) {
			return startPlane(testenv.Options{CRDDirs: []string{}, Controllers: []string{
				"garbage-collector-controller", "namespace-controller", "clusterrole-aggregation-controller",
			}})
		})
	}
	return m.Run(), nil
}

func startPlane(options testenv.Options) (*testenv.ControlPlane, error) {
	plane, err := testenv.Start(context.Background(), options)
	if err == nil {
		planes.Lock()
		defer planes.Unlock()
		planes.all = append(planes.all, plane)
	}
	return plane, err
}

func goCommand(out *string, args ...string) error {
	command := exec.Command("go", args...)
	command.Dir = testenv.ModuleRoot()
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	command.Stderr = &stderr
	stdout, err := command.Output()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	if out != nil {
		*out = strings.TrimSpace(string(stdout))
	}
	return nil
}

// tool builds a tool of a module below hack, if it is not built, and returns its path.
func tool(module, name string) (path string, err error) {
	modfile := filepath.Join(testenv.ModuleRoot(), "hack", module, "go.mod")
	return path, goCommand(&path, "tool", "-modfile="+modfile, "-n", name)
}

// must fails the test on an error.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// admin is a client with all rights.
func admin(t testing.TB, plane *testenv.ControlPlane) client.Client {
	t.Helper()
	return must(client.New(plane.Config, client.Options{Scheme: scheme}))(t)
}
