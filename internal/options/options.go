/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package options has the operator's flags, and validates their values.
package options

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// Options are the operator's flags, described in Bind.
type Options struct {
	DefaultProject     string
	ClusterID          string
	AllowedHosts       []string
	AllowInsecureHTTP  bool
	ReadOnly           bool
	AgentMetrics       bool
	AgentSets          bool
	WatchNamespaces    []string
	Shard              string
	Concurrency        int
	LeaderElection     LeaderElection
	MetricsAddress     string
	MetricsCertPath    string
	HealthProbeAddress string
	RegistrationSlack  time.Duration
	Zap                zap.Options

	Project  types.NamespacedName // DefaultProject, parsed
	Selector labels.Selector      // Shard, parsed; nil for all
}

// Bind adds the flags.
func (o *Options) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.DefaultProject, "default-project", "",
		"CloudProject, as namespace/name, of Agents that name none in spec.projectRef.")
	flags.StringVar(&o.ClusterID, "cluster-id", "",
		"Any text that no other cluster has: the machine IDs of Agents that set none are derived from it. "+
			"Registered Agents keep theirs if you change it. Default: the UID of the namespace kube-system.")
	flags.StringSliceVar(&o.AllowedHosts, "allowed-hosts", []string{"cloud-api.calyptia.com"},
		"Hosts that a CloudProject's url may name: host, host:port, or .suffix for all names below it.")
	flags.BoolVar(&o.AllowInsecureHTTP, "allow-insecure-http", false,
		"Allow http in a CloudProject's url. Tokens are sent in clear text: for development only.")
	flags.BoolVar(&o.ReadOnly, "read-only", false,
		"Only read from Calyptia Cloud; register, change and delete nothing: for a cluster that is a copy of another.")
	flags.BoolVar(&o.AgentMetrics, "agent-metrics", true,
		"Serve metrics of each Agent: many series in a large cluster.")
	flags.BoolVar(&o.AgentSets, "agent-sets", true,
		"Manage AgentSets. Needs access to nodes, DaemonSets and StatefulSets; without it every AgentSet is Stalled.")
	flags.StringSliceVar(&o.WatchNamespaces, "watch-namespaces", nil,
		"Namespaces to watch; needs --cluster-id. Default: all.")
	flags.StringVar(&o.Shard, "shard", "",
		"Label selector of the CloudProjects to manage, as shard=a; their Agents follow them. Default: all.")
	flags.IntVar(&o.Concurrency, "concurrency", 16,
		"Maximum number of concurrent reconciles of Agents in one namespace; other namespaces have as many workers again.")
	o.LeaderElection.bind(flags)
	flags.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8443",
		"Address of the metrics, over TLS and for authorized readers only; 0 turns it off.")
	flags.StringVar(&o.MetricsCertPath, "metrics-cert-path", "",
		"Directory with tls.crt and tls.key for the metrics, read again when they change. Default: a certificate made at start.")
	flags.StringVar(&o.HealthProbeAddress, "health-probe-bind-address", ":8081",
		"Address of /healthz and /readyz; 0 turns it off.")
	// Not for production: if it is too short, an API that commits late gets an Agent registered twice. It is for tests of
	// the binary that kill it often and cannot wait that long each time.
	flags.DurationVar(&o.RegistrationSlack, "registration-slack", 0,
		"How long a registration may still take effect after its response was lost. Default: 80s.")
	_ = flags.MarkHidden("registration-slack") // It fails only for an unknown flag.
	standard := flag.NewFlagSet("", flag.ContinueOnError)
	o.Zap.BindFlags(standard)
	ctrlconfig.RegisterFlags(standard)
	flags.AddGoFlagSet(standard)
	boundLogLevel(flags.Lookup("zap-log-level"))
}

// Validate checks the values. Its errors name the flag and the remedy.
func (o *Options) Validate() error {
	if o.DefaultProject != "" {
		namespace, name, found := strings.Cut(o.DefaultProject, "/")
		if !found || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
			return fmt.Errorf("--default-project %q: must be namespace/name of a CloudProject", o.DefaultProject)
		}
		o.Project = types.NamespacedName{Namespace: namespace, Name: name}
	}
	if len(o.AllowedHosts) == 0 {
		return fmt.Errorf("--allowed-hosts: must name at least one host")
	}
	for _, host := range o.AllowedHosts {
		if !validHost(host) {
			return fmt.Errorf("--allowed-hosts %q: must be host, host:port, or .suffix", host)
		}
	}
	for _, namespace := range o.WatchNamespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			return fmt.Errorf("--watch-namespaces %q: must be the name of a namespace", namespace)
		}
	}
	if len(o.WatchNamespaces) > 0 && o.ClusterID == "" {
		return errors.New("--watch-namespaces: needs --cluster-id, because kube-system cannot be read then: " +
			"set any value that no other cluster has")
	}
	if o.Shard != "" {
		selector, err := labels.Parse(o.Shard)
		if err != nil {
			return fmt.Errorf("--shard %q: must be a label selector such as shard=a: %w", o.Shard, err)
		}
		o.Selector = selector
	}
	if len(o.WatchNamespaces) > 0 && o.DefaultProject != "" && !slices.Contains(o.WatchNamespaces, o.Project.Namespace) {
		return fmt.Errorf("--default-project %q: its namespace is not watched: add it to --watch-namespaces", o.DefaultProject)
	}
	if o.Concurrency < 1 || o.Concurrency > 1000 {
		return fmt.Errorf("--concurrency %d: must be from 1 to 1000", o.Concurrency)
	}
	if o.RegistrationSlack != 0 && o.RegistrationSlack < time.Second {
		return fmt.Errorf("--registration-slack %s: must be at least 1s", o.RegistrationSlack)
	}
	if err := o.LeaderElection.validate(); err != nil {
		return err
	}
	if o.MetricsCertPath != "" { // Without the check the server would create its own certificate.
		if _, err := tls.LoadX509KeyPair(filepath.Join(o.MetricsCertPath, "tls.crt"), filepath.Join(o.MetricsCertPath, "tls.key")); err != nil {
			return fmt.Errorf("--metrics-cert-path %q: must be a directory with tls.crt and tls.key: %w", o.MetricsCertPath, err)
		}
	}
	for _, bind := range []struct{ flag, address string }{
		{"--metrics-bind-address", o.MetricsAddress}, {"--health-probe-bind-address", o.HealthProbeAddress},
	} {
		_, port, err := net.SplitHostPort(bind.address)
		if bind.address != "0" && (err != nil || !validPort(port)) {
			return fmt.Errorf("%s %q: must be an address such as :8443, or 0", bind.flag, bind.address)
		}
	}
	return nil
}

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

func validHost(host string) bool {
	name, port, hasPort := host, "", false
	if h, p, err := net.SplitHostPort(host); err == nil {
		name, port, hasPort = h, p, true
	}
	if hasPort && !validPort(port) || strings.ContainsAny(host, "/@ *") {
		return false
	}
	return net.ParseIP(strings.Trim(name, "[]")) != nil || len(validation.IsDNS1123Subdomain(strings.TrimPrefix(name, "."))) == 0
}

// Lease is the name of the lease: one for each shard.
func (o *Options) Lease() string {
	const name = "calyptia-agent-operator.cloud.calyptia.com"
	if o.Selector == nil {
		return name
	}
	sum := sha256.Sum256([]byte(o.Shard))
	return hex.EncodeToString(sum[:8]) + "." + name
}
