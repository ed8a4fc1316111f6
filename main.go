/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// The Calyptia agent operator. Without a subcommand it is the controller manager; import declares what is there.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	_ "golang.org/x/crypto/x509roots/fallback" // Where there are no root certificates, as in the image.
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/controller/agent"
	"github.com/calyptia-agent-operator/operator/internal/controller/cloudproject"
	"github.com/calyptia-agent-operator/operator/internal/importer"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/project"
	"github.com/calyptia-agent-operator/operator/internal/version"
)

func main() {
	command := newCommand(run)
	command.Version = version.String()
	err := command.ExecuteContext(ctrl.SetupSignalHandler())
	var usage usageError
	switch {
	case err == nil:
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "calyptia-agent-operator:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "calyptia-agent-operator:", err)
		os.Exit(1)
	}
}

// options are the operator's flags.
type options struct {
	defaultProject     string
	clusterID          string
	allowedHosts       []string
	allowInsecureHTTP  bool
	readOnly           bool
	agentMetrics       bool
	watchNamespaces    []string
	shard              string
	concurrency        int
	leaderElect        bool
	leaderNamespace    string
	metricsAddress     string
	metricsCertPath    string
	healthProbeAddress string
	registrationSlack  time.Duration
	zap                zap.Options

	project  types.NamespacedName // defaultProject, parsed
	selector labels.Selector      // shard, parsed; nil for all
}

// usageError is a wrong flag or value: it ends the operator before anything starts.
type usageError struct{ error }

// newCommand is the command line; run is called with flags that are right.
func newCommand(run func(context.Context, *options) error) *cobra.Command {
	o := &options{}
	command := &cobra.Command{
		Use:           "calyptia-agent-operator",
		Short:         "Declares the agents of Calyptia Cloud projects as Kubernetes objects.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unexpected argument %q: see --help", args[0])}
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return usageError{err}
			}
			return run(command.Context(), o)
		},
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see --help", err)}
	})
	o.bind(command)
	command.AddCommand(importer.NewCommand(func(err error) error { return usageError{err} }))
	return command
}

func (o *options) bind(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&o.defaultProject, "default-project", "",
		"CloudProject, as namespace/name, of Agents that name none in spec.projectRef.")
	flags.StringVar(&o.clusterID, "cluster-id", "",
		"What makes the machine IDs derived in this cluster its own. Default: the UID of the namespace kube-system.")
	flags.StringSliceVar(&o.allowedHosts, "allowed-hosts", []string{"cloud-api.calyptia.com"},
		"Hosts that a CloudProject's url may name: host, host:port, or .suffix for all names below it.")
	flags.BoolVar(&o.allowInsecureHTTP, "allow-insecure-http", false,
		"Allow http in a CloudProject's url. Tokens then travel readable: for development only.")
	flags.BoolVar(&o.readOnly, "read-only", false,
		"Never write anything remote: for a cluster that is a copy of another one.")
	flags.BoolVar(&o.agentMetrics, "agent-metrics", true,
		"Serve metrics of each single Agent; with very many Agents these are many series.")
	flags.StringSliceVar(&o.watchNamespaces, "watch-namespaces", nil,
		"Namespaces to look after; needs --cluster-id. Default: all.")
	flags.StringVar(&o.shard, "shard", "",
		"Label selector of the CloudProjects to look after, as shard=a; their Agents follow them. Default: all.")
	flags.IntVar(&o.concurrency, "concurrency", 16,
		"Number of Agents that are worked on at once.")
	flags.BoolVar(&o.leaderElect, "leader-elect", false,
		"Work only while holding the lease, so that several replicas may run.")
	flags.StringVar(&o.leaderNamespace, "leader-election-namespace", "",
		"Namespace of the lease. Default: the operator's own, where it runs in a pod.")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443",
		"Address of the metrics, over TLS and for authorized readers only; 0 turns it off.")
	flags.StringVar(&o.metricsCertPath, "metrics-cert-path", "",
		"Directory with tls.crt and tls.key for the metrics, read anew when they change. Default: a certificate made at start.")
	flags.StringVar(&o.healthProbeAddress, "health-probe-bind-address", ":8081",
		"Address of /healthz and /readyz; 0 turns it off.")
	// Not for use: with too little of it, a service that commits late gets an Agent registered twice. It is there
	// for tests of the binary itself, which kill it all the time and cannot wait that long each time.
	flags.DurationVar(&o.registrationSlack, "registration-slack", 0,
		"How long a registration whose answer was lost may still come about. Default: 80s.")
	_ = flags.MarkHidden("registration-slack") // It fails only for a flag that is not there.
	standard := flag.NewFlagSet("", flag.ContinueOnError)
	o.zap.BindFlags(standard)
	ctrlconfig.RegisterFlags(standard)
	flags.AddGoFlagSet(standard)
}

// validate finds what is wrong with the values, naming the flag and the mend.
func (o *options) validate() error {
	if o.defaultProject != "" {
		namespace, name, found := strings.Cut(o.defaultProject, "/")
		if !found || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
			return fmt.Errorf("--default-project %q: must be namespace/name of a CloudProject", o.defaultProject)
		}
		o.project = types.NamespacedName{Namespace: namespace, Name: name}
	}
	if len(o.allowedHosts) == 0 {
		return fmt.Errorf("--allowed-hosts: must name at least one host")
	}
	for _, host := range o.allowedHosts {
		if !validHost(host) {
			return fmt.Errorf("--allowed-hosts %q: must be host, host:port, or .suffix", host)
		}
	}
	for _, namespace := range o.watchNamespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			return fmt.Errorf("--watch-namespaces %q: must be the name of a namespace", namespace)
		}
	}
	if len(o.watchNamespaces) > 0 && o.clusterID == "" {
		return errors.New("--watch-namespaces: needs --cluster-id, because kube-system cannot be read then: " +
			"set any value that no other cluster has")
	}
	if o.shard != "" {
		selector, err := labels.Parse(o.shard)
		if err != nil {
			return fmt.Errorf("--shard %q: must be a label selector such as shard=a: %w", o.shard, err)
		}
		o.selector = selector
	}
	if len(o.watchNamespaces) > 0 && o.defaultProject != "" && !slices.Contains(o.watchNamespaces, o.project.Namespace) {
		return fmt.Errorf("--default-project %q: its namespace is not looked after: add it to --watch-namespaces", o.defaultProject)
	}
	if o.concurrency < 1 || o.concurrency > 1000 {
		return fmt.Errorf("--concurrency %d: must be from 1 to 1000", o.concurrency)
	}
	if o.registrationSlack != 0 && o.registrationSlack < time.Second {
		return fmt.Errorf("--registration-slack %s: must be at least 1s", o.registrationSlack)
	}
	if o.leaderNamespace != "" && len(validation.IsDNS1123Label(o.leaderNamespace)) > 0 {
		return fmt.Errorf("--leader-election-namespace %q: must be the name of a namespace", o.leaderNamespace)
	}
	if o.metricsCertPath != "" { // Without this look the server would make a certificate of its own.
		if _, err := tls.LoadX509KeyPair(filepath.Join(o.metricsCertPath, "tls.crt"), filepath.Join(o.metricsCertPath, "tls.key")); err != nil {
			return fmt.Errorf("--metrics-cert-path %q: must be a directory with tls.crt and tls.key: %w", o.metricsCertPath, err)
		}
	}
	for _, bind := range []struct{ flag, address string }{
		{"--metrics-bind-address", o.metricsAddress}, {"--health-probe-bind-address", o.healthProbeAddress},
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

// projectWorkers keeps a service that hangs from holding up the other CloudProjects.
const projectWorkers = 8

// shutdownTime is how long the passes that are under way may take to record what they did.
const shutdownTime = 45 * time.Second

// run starts the manager and ends with it.
func run(ctx context.Context, o *options) error {
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.zap)))
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("no cluster to work on: %w", err)
	}
	config.UserAgent = "calyptia-agent-operator/" + version.Version
	config.QPS = -1 // The API server's own fairness does that better.
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	clusterID, err := o.cluster(ctx, config, scheme)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, o.managerOptions(scheme))
	if err != nil {
		return fmt.Errorf("the manager cannot be made: %w", err)
	}
	if err := o.addControllers(ctx, mgr, clusterID); meta.IsNoMatchError(err) {
		return fmt.Errorf("the CRDs of %s are not installed: install them first: %w", v1alpha1.GroupVersion, err)
	} else if err != nil {
		return err
	}
	if err := addProbes(mgr); err != nil {
		return err
	}
	ctrl.Log.Info("Starting", "version", version.String(), "clusterID", clusterID, "readOnly", o.readOnly)
	return mgr.Start(ctx)
}

// cluster is what makes the derived machine IDs of this cluster its own.
func (o *options) cluster(ctx context.Context, config *rest.Config, scheme *runtime.Scheme) (string, error) {
	if o.clusterID != "" {
		return o.clusterID, nil
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return "", err
	}
	var system corev1.Namespace
	if err := reader.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return "", fmt.Errorf("the namespace kube-system cannot be read for its UID (--cluster-id does without): %w", err)
	}
	return string(system.UID), nil
}

func (o *options) managerOptions(scheme *runtime.Scheme) ctrl.Options {
	grace := shutdownTime
	options := ctrl.Options{
		Scheme: scheme,
		Cache: cache.Options{
			DefaultTransform: project.Trim,
		},
		Metrics: metricsserver.Options{
			BindAddress:    o.metricsAddress,
			SecureServing:  true,
			CertDir:        o.metricsCertPath,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress:        o.healthProbeAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              o.lease(),
		LeaderElectionNamespace:       o.leaderNamespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &grace,
	}
	if len(o.watchNamespaces) > 0 {
		options.Cache.DefaultNamespaces = map[string]cache.Config{}
		for _, namespace := range o.watchNamespaces {
			options.Cache.DefaultNamespaces[namespace] = cache.Config{}
		}
	}
	return options
}

// lease is the name of the lease: one for each shard.
func (o *options) lease() string {
	const name = "calyptia-agent-operator.cloud.calyptia.com"
	if o.selector == nil {
		return name
	}
	sum := sha256.Sum256([]byte(o.shard))
	return hex.EncodeToString(sum[:8]) + "." + name
}

func (o *options) addControllers(ctx context.Context, mgr ctrl.Manager, clusterID string) error {
	if err := metrics.RegisterBuild(ctrlmetrics.Registry); err != nil {
		return err
	}
	counted, err := metrics.NewProjects(ctrlmetrics.Registry)
	if err != nil {
		return err
	}
	projects := project.NewRegistry(project.Options{
		Metrics:   counted,
		Policy:    cloud.URLPolicy{AllowedHosts: o.allowedHosts, AllowInsecureHTTP: o.allowInsecureHTTP},
		UserAgent: "calyptia-agent-operator/" + version.Version,
	})
	agentMetrics, err := agent.NewMetrics(ctrlmetrics.Registry, agent.MetricsOptions{
		Reader: mgr.GetCache(), DefaultProject: o.project, Each: o.agentMetrics, Elected: mgr.Elected(),
		Shard: project.Shard{Selector: o.selector},
	})
	if err != nil {
		return err
	}
	shard := project.Shard{Selector: o.selector}
	if err := cloudproject.RegisterMetrics(ctrlmetrics.Registry, mgr.GetCache(), shard, mgr.Elected()); err != nil {
		return err
	}
	err = mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Agent{}, project.AgentIndex, project.AgentIndexer(o.project))
	if err != nil {
		return err
	}
	err = (&cloudproject.Reconciler{
		Client:         mgr.GetClient(),
		APIReader:      mgr.GetAPIReader(),
		Projects:       projects,
		Recorder:       mgr.GetEventRecorder("cloudproject-controller"),
		Clock:          clock.RealClock{},
		DefaultProject: o.project,
		Shard:          project.Shard{Selector: o.selector},
		Namespaces:     o.watchNamespaces,
	}).SetupWithManager(mgr, controller.Options{MaxConcurrentReconciles: projectWorkers})
	if err != nil {
		return err
	}
	return (&agent.Reconciler{
		Client:    mgr.GetClient(),
		APIReader: mgr.GetAPIReader(),
		Projects:  projects,
		Recorder:  mgr.GetEventRecorder("agent-controller"),
		Clock:     clock.RealClock{},
		Settings: agent.Settings{
			DefaultProject: o.project, ClusterID: clusterID, ReadOnly: o.readOnly, Namespaces: o.watchNamespaces,
			Shard: project.Shard{Selector: o.selector},
			// In the proportion of the defaults; zero stands for those.
			Slack: o.registrationSlack, PostWindow: o.registrationSlack / 4,
		},
		Metrics: agentMetrics,
	}).SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: o.concurrency})
}

// addProbes makes the operator ready once it sees the cluster. The cloud has no part in that: a pod that is
// restarted does not mend it.
func addProbes(mgr manager.Manager) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("caches", func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	})
}
