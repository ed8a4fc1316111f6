/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/calyptia-agent-operator/operator/internal/options"
)

// start runs the command line and returns the options of the operator; nil if it would not run.
func start(t *testing.T, args ...string) (*options.Options, error) {
	t.Helper()
	var got *options.Options
	command := newCommand(func(_ context.Context, o *options.Options) error {
		got = o
		return nil
	})
	command.SetArgs(args)
	command.SetOut(io.Discard)
	command.SetErr(io.Discard)
	err := command.ExecuteContext(t.Context())
	return got, err
}

func TestABadFlagOrValueEndsBeforeAnythingStarts(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		word string
	}{
		{"an unknown flag", []string{"--no-such-flag"}, "--no-such-flag"},
		{"an unknown short flag", []string{"-x"}, "-x"},
		{"an argument", []string{"run"}, `"run"`},
		{"an argument after flags", []string{"--read-only", "now"}, `"now"`},
		{"a default project without namespace", []string{"--default-project=calyptia"}, "--default-project"},
		{"a default project without name", []string{"--default-project=calyptia/"}, "--default-project"},
		{"a default project with an empty namespace", []string{"--default-project=/main"}, "--default-project"},
		{"a default project with three parts", []string{"--default-project=a/b/c"}, "--default-project"},
		{"a default project that cannot be a name", []string{"--default-project=a/B_C"}, "--default-project"},
		{"a default project whose namespace cannot be one", []string{"--default-project=a.b/c"}, "--default-project"},
		{"no allowed host", []string{"--allowed-hosts="}, "--allowed-hosts"},
		{"an allowed host that is a URL", []string{"--allowed-hosts=https://cloud-api.calyptia.com"}, "--allowed-hosts"},
		{"the second allowed host is bad", []string{"--allowed-hosts=a.example,*.example"}, "--allowed-hosts"},
		{"an empty allowed host", []string{"--allowed-hosts=a.example,,b.example"}, "--allowed-hosts"},
		{"a boolean that is none", []string{"--allow-insecure-http=perhaps"}, "--allow-insecure-http"},
		{"read-only that is none", []string{"--read-only=perhaps"}, "--read-only"},
		{"leader-elect that is none", []string{"--leader-elect=perhaps"}, "--leader-elect"},
		{"namespaces without a cluster ID", []string{"--watch-namespaces=a"}, "--watch-namespaces"},
		{"a default project elsewhere", []string{"--watch-namespaces=a", "--cluster-id=x", "--default-project=b/p"}, "--default-project"},
		{"a namespace that cannot be one", []string{"--watch-namespaces=a,B", "--cluster-id=x"}, "--watch-namespaces"},
		{"an empty namespace among others", []string{"--watch-namespaces=a,,b", "--cluster-id=x"}, "--watch-namespaces"},
		{"a shard that is no selector", []string{"--shard=a b"}, "--shard"},
		{"a shard with an operator that is none", []string{"--shard=a~b"}, "--shard"},
		{"a concurrency that is no number", []string{"--concurrency=many"}, "--concurrency"},
		{"a concurrency of none", []string{"--concurrency=0"}, "--concurrency"},
		{"a negative concurrency", []string{"--concurrency=-4"}, "--concurrency"},
		{"a concurrency beyond reason", []string{"--concurrency=1001"}, "--concurrency"},
		{"a metrics address without a port", []string{"--metrics-bind-address=localhost"}, "--metrics-bind-address"},
		{"a metrics address with a service for a port", []string{"--metrics-bind-address=:https"}, "--metrics-bind-address"},
		{"a metrics address with a port beyond the last", []string{"--metrics-bind-address=:99999"}, "--metrics-bind-address"},
		{"an allowed host with a service for a port", []string{"--allowed-hosts=a.example:https"}, "--allowed-hosts"},
		{"a lease namespace that is none", []string{"--leader-election-namespace=A_B"}, "--leader-election-namespace"},
		{"a lease that lasts no time", []string{"--leader-election-lease-duration=0"}, "--leader-election-lease-duration"},
		{"a negative lease", []string{"--leader-election-lease-duration=-30s"}, "--leader-election-lease-duration"},
		{"a lease without a unit", []string{"--leader-election-lease-duration=30"}, "--leader-election-lease-duration"},
		{"a lease of less than a second", []string{"--leader-election-lease-duration=900ms", "--leader-election-renew-deadline=600ms",
			"--leader-election-retry-period=100ms"}, "--leader-election-lease-duration"},
		{"a lease that is rounded to its deadline", []string{"--leader-election-lease-duration=20500ms"}, "--leader-election-lease-duration"},
		{"a lease of a day", []string{"--leader-election-lease-duration=24h"}, "--leader-election-lease-duration"},
		{"a deadline as long as the lease", []string{"--leader-election-renew-deadline=30s"}, "--leader-election-renew-deadline"},
		{"a deadline that is none", []string{"--leader-election-renew-deadline=0"}, "--leader-election-renew-deadline"},
		{"a lease shorter than the default deadline", []string{"--leader-election-lease-duration=15s"}, "--leader-election-renew-deadline"},
		{"a retry that the deadline leaves no time for", []string{"--leader-election-renew-deadline=12s", "--leader-election-retry-period=10s"},
			"--leader-election-retry-period"},
		{"a retry without a pause", []string{"--leader-election-retry-period=0"}, "--leader-election-retry-period"},
		{"a negative retry", []string{"--leader-election-retry-period=-1s"}, "--leader-election-retry-period"},
		{"a wrong lease without an election", []string{"--leader-elect=false", "--leader-election-retry-period=1h"}, "--leader-election-retry-period"},
		{"an empty metrics address", []string{"--metrics-bind-address="}, "--metrics-bind-address"},
		{"a directory without a certificate", []string{"--metrics-cert-path=/nowhere"}, "--metrics-cert-path"},
		{"a probe address without a port", []string{"--health-probe-bind-address=8081"}, "--health-probe-bind-address"},
		{"an unknown log level", []string{"--zap-log-level=loud"}, "--zap-log-level"},
		{"a log level that shows Secrets", []string{"--zap-log-level=8"}, "the highest is 7"},
		{"a log level with a sign", []string{"--zap-log-level=+9"}, "the highest is 7"},
		{"a log level with zeros", []string{"--zap-log-level=0010"}, "the highest is 7"},
		{"a log level that 8 bits turn into another", []string{"--zap-log-level=250"}, "the highest is 7"},
		{"a log level beyond all numbers", []string{"--zap-log-level=99999999999999999999"}, "--zap-log-level"},
		{"the second log level is too high", []string{"--zap-log-level=7", "--zap-log-level=8"}, "the highest is 7"},
		{"a log level in the way of klog", []string{"--v=10"}, "--v"},
		{"an unknown log encoder", []string{"--zap-encoder=runes"}, "--zap-encoder"},
		{"a value that is missing", []string{"--cluster-id"}, "--cluster-id"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := start(t, row.args...)
			if got != nil {
				t.Fatal("the operator started")
			}
			// main ends with 2 for this, and with 1 for all else.
			if usage := (usageError{}); !errors.As(err, &usage) {
				t.Fatalf("error %v is no usage error", err)
			}
			if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), row.word) {
				t.Errorf("%q is not one line that names %s", err, row.word)
			}
		})
	}
}

func TestAFailureOfTheOperatorIsNoUsageError(t *testing.T) {
	failure := errors.New("no cluster")
	command := newCommand(func(context.Context, *options.Options) error { return failure })
	command.SetArgs(nil)
	err := command.ExecuteContext(t.Context())
	if usage := (usageError{}); !errors.Is(err, failure) || errors.As(err, &usage) {
		t.Errorf("error %v", err)
	}
}

func TestGoodFlagsAreTaken(t *testing.T) {
	defaults := func(changes ...func(*options.Options)) options.Options {
		o := options.Options{
			AllowedHosts: []string{"cloud-api.calyptia.com"}, Concurrency: 16, AgentMetrics: true, AgentSets: true,
			MetricsAddress: ":8443", HealthProbeAddress: ":8081",
			LeaderElection: options.LeaderElection{LeaseDuration: 30 * time.Second, RenewDeadline: 20 * time.Second, RetryPeriod: 2 * time.Second},
		}
		for _, change := range changes {
			change(&o)
		}
		return o
	}
	for _, row := range []struct {
		name string
		args []string
		want options.Options
	}{
		{"none at all", []string{}, defaults()},
		{"a default project", []string{"--default-project=calyptia/main.eu"}, defaults(func(o *options.Options) {
			o.DefaultProject, o.Project = "calyptia/main.eu", types.NamespacedName{Namespace: "calyptia", Name: "main.eu"}
		})},
		{"hosts of every form, given twice", []string{"--allowed-hosts=a.example,.b.example", "--allowed-hosts=127.0.0.1:5000"},
			defaults(func(o *options.Options) { o.AllowedHosts = []string{"a.example", ".b.example", "127.0.0.1:5000"} })},
		{"some namespaces with a cluster ID", []string{"--watch-namespaces=a,b", "--cluster-id=blue"},
			defaults(func(o *options.Options) { o.WatchNamespaces, o.ClusterID = []string{"a", "b"}, "blue" })},
		{"the least concurrency", []string{"--concurrency=1"}, defaults(func(o *options.Options) { o.Concurrency = 1 })},
		{"the most concurrency", []string{"--concurrency", "1000"}, defaults(func(o *options.Options) { o.Concurrency = 1000 })},
		{"no metrics and no probes", []string{"--metrics-bind-address=0", "--health-probe-bind-address=0"},
			defaults(func(o *options.Options) { o.MetricsAddress, o.HealthProbeAddress = "0", "0" })},
		{"addresses of one interface", []string{"--metrics-bind-address=127.0.0.1:8443", "--health-probe-bind-address=[::1]:8081"},
			defaults(func(o *options.Options) { o.MetricsAddress, o.HealthProbeAddress = "127.0.0.1:8443", "[::1]:8081" })},
		{"switches", []string{"--read-only", "--allow-insecure-http", "--leader-elect", "--leader-election-namespace=ops"},
			defaults(func(o *options.Options) {
				o.ReadOnly, o.AllowInsecureHTTP, o.LeaderElection.Enabled, o.LeaderElection.Namespace = true, true, true, "ops"
			})},
		{"the shortest election", []string{"--leader-election-lease-duration=1s", "--leader-election-renew-deadline=999ms",
			"--leader-election-retry-period=832ms"}, defaults(func(o *options.Options) {
			o.LeaderElection.LeaseDuration, o.LeaderElection.RenewDeadline = time.Second, 999*time.Millisecond
			o.LeaderElection.RetryPeriod = 832 * time.Millisecond
		})},
		{"the longest election", []string{"--leader-election-lease-duration=1h", "--leader-election-renew-deadline=59m"},
			defaults(func(o *options.Options) {
				o.LeaderElection.LeaseDuration, o.LeaderElection.RenewDeadline = time.Hour, 59*time.Minute
			})},
		{"the highest log level", []string{"--zap-log-level=7"}, defaults()},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := start(t, row.args...)
			if err != nil {
				t.Fatal(err)
			}
			got.Zap = row.want.Zap
			if got.WatchNamespaces != nil && len(got.WatchNamespaces) == 0 {
				got.WatchNamespaces = nil
			}
			if diff := cmp.Diff(row.want, *got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTheManagerWatchesTheNamespacesThatAreNamed(t *testing.T) {
	all := managerOptions(&options.Options{}, nil)
	if all.Cache.DefaultNamespaces != nil || all.LeaderElection || !all.LeaderElectionReleaseOnCancel {
		t.Errorf("%+v", all)
	}
	some := managerOptions(&options.Options{
		WatchNamespaces: []string{"a", "b"},
		LeaderElection: options.LeaderElection{
			Enabled: true, Namespace: "ops", LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: time.Second,
		},
	}, nil)
	var names []string
	for name := range some.Cache.DefaultNamespaces {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"a", "b"}) || !some.LeaderElection || some.LeaderElectionNamespace != "ops" {
		t.Errorf("namespaces %v: %+v", names, some)
	}
	times := []time.Duration{*some.LeaseDuration, *some.RenewDeadline, *some.RetryPeriod}
	if want := []time.Duration{3 * time.Second, 2 * time.Second, time.Second}; !slices.Equal(times, want) {
		t.Errorf("the leader is elected with %v, want %v", times, want)
	}
	if some.Metrics.BindAddress != off || some.HealthProbeBindAddress != "" {
		t.Error("controller-runtime serves metrics or probes, without a bound on what strangers cost")
	}
	if some.GracefulShutdownTimeout == nil || *some.GracefulShutdownTimeout <= 0 {
		t.Error("a shutdown does not wait for the passes that are under way")
	}
}

// Libraries of Kubernetes log on their own, as the election of a leader does: what they log is bounded, too.
func TestLogs_OfLibrariesAreBounded(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	var out bytes.Buffer
	takeLogs(&options.Options{}, zap.WriteTo(&out))
	long := errors.New("denied the request: " + strings.Repeat("policy ", 6000))
	for name, log := range map[string]func(){
		"controller-runtime": func() { ctrl.Log.WithName("controller").Error(long, "Reconciler error") },
		"client-go":          func() { klog.FromContext(t.Context()).Error(long, "Failed to update lease") },
		"klog":               func() { klog.Errorf("Failed to update lease: %v", long) },
	} {
		out.Reset()
		log()
		if line := out.String(); !strings.Contains(line, "denied the request") || len(line) > 16<<10 {
			t.Errorf("%s logs %d bytes: %.200s", name, len(line), line)
		}
	}
}
