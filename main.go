/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// The Calyptia agent operator. Without a subcommand it is the controller manager.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	_ "golang.org/x/crypto/x509roots/fallback" // For systems without root certificates, such as the image.
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/controller/agent"
	"github.com/calyptia-agent-operator/operator/internal/controller/agentset"
	"github.com/calyptia-agent-operator/operator/internal/controller/cloudproject"
	"github.com/calyptia-agent-operator/operator/internal/eventlimit"
	"github.com/calyptia-agent-operator/operator/internal/fairness"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/namespaces"
	"github.com/calyptia-agent-operator/operator/internal/options"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/version"
)

// projectWorkers is the number of concurrent reconciles of CloudProjects in one namespace. Fewer hanging servers do not block
// the other CloudProjects of the namespace.
const projectWorkers = 8

// shutdownTime bounds the time for running reconciles to record what they did.
const shutdownTime = 45 * time.Second

// run starts the manager and ends with it.
func run(ctx context.Context, o *options.Options) error {
	takeLogs(o)
	config, err := apiserver.Config()
	if err != nil {
		return fmt.Errorf("no cluster to work on: %w", err)
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	clusterID, err := cluster(ctx, o, config, scheme)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, managerOptions(o, scheme))
	if err != nil {
		return fmt.Errorf("the manager cannot be created: %w", err)
	}
	if err := addControllers(ctx, o, mgr, clusterID); meta.IsNoMatchError(err) {
		return fmt.Errorf("the CRDs of %s are not installed: install them first: %w", v1alpha1.GroupVersion, err)
	} else if err != nil {
		return err
	}
	if err := addServers(ctx, o, mgr); err != nil {
		return err
	}
	ctrl.Log.Info("Starting", "version", version.String(), "clusterID", clusterID, "readOnly", o.ReadOnly)
	return mgr.Start(ctx)
}

// takeLogs sends the logs of all libraries to the operator's own.
func takeLogs(o *options.Options, more ...zap.Opts) {
	ctrl.SetLogger(agentstatus.BoundedLog(o.Logger(more...)))
	klog.SetLogger(ctrl.Log)
	options.TakeStandardLog(ctrl.Log)
}

// cluster makes the derived machine IDs unique to this cluster.
func cluster(ctx context.Context, o *options.Options, config *rest.Config, scheme *runtime.Scheme) (string, error) {
	if o.ClusterID != "" {
		return o.ClusterID, nil
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return "", err
	}
	var system corev1.Namespace
	if err := reader.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return "", fmt.Errorf("the namespace kube-system cannot be read for its UID (set --cluster-id instead): %w", err)
	}
	return string(system.UID), nil
}

func managerOptions(o *options.Options, scheme *runtime.Scheme) ctrl.Options {
	grace := shutdownTime
	all := ctrl.Options{
		Scheme: scheme,
		Cache: cache.Options{
			DefaultTransform: agentset.TrimWorkload,
		},
		Metrics:                       metricsserver.Options{BindAddress: off}, // See addServers.
		LeaderElection:                o.LeaderElection.Enabled,
		LeaderElectionID:              o.Lease(),
		LeaderElectionNamespace:       o.LeaderElection.Namespace,
		LeaseDuration:                 &o.LeaderElection.LeaseDuration,
		RenewDeadline:                 &o.LeaderElection.RenewDeadline,
		RetryPeriod:                   &o.LeaderElection.RetryPeriod,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &grace,
	}
	if len(o.WatchNamespaces) > 0 {
		all.NewCache = namespaces.New
		all.Cache.DefaultNamespaces = map[string]cache.Config{}
		for _, namespace := range o.WatchNamespaces {
			all.Cache.DefaultNamespaces[namespace] = cache.Config{}
		}
	}
	return all
}

func newAgentMetrics(o *options.Options, mgr ctrl.Manager, shard projectref.Shard) (*metrics.Agents, error) {
	return metrics.NewAgents(ctrlmetrics.Registry, metrics.AgentsOptions{
		Reader: mgr.GetCache(), Each: o.AgentMetrics, Elected: mgr.Elected(), Shard: shard, Events: remoteagent.EventReasons(),
		Allows: func(ctx context.Context, cp *v1alpha1.CloudProject, namespace string) (bool, error) {
			return projectref.Allows(ctx, mgr.GetAPIReader(), cp, namespace)
		},
		ProjectOf: func(a *v1alpha1.Agent) (types.NamespacedName, bool) { return projectref.Ref(a, o.Project) },
	})
}

func addControllers(ctx context.Context, o *options.Options, mgr ctrl.Manager, clusterID string) error {
	if err := addProcessMetrics(mgr); err != nil {
		return err
	}
	counted, err := metrics.NewProjects(ctrlmetrics.Registry)
	if err != nil {
		return err
	}
	recorder, err := eventlimit.Recorders(context.WithoutCancel(ctx), mgr) // What a shutdown ends is recorded, too.
	if err != nil {
		return err
	}
	projects := connection.NewRegistry(connection.Options{
		Metrics:   counted,
		Policy:    cloud.URLPolicy{AllowedHosts: o.AllowedHosts, AllowInsecureHTTP: o.AllowInsecureHTTP},
		UserAgent: "calyptia-agent-operator/" + version.Version,
	})
	shard := projectref.Shard{Selector: o.Selector}
	agentMetrics, err := newAgentMetrics(o, mgr, shard)
	if err != nil {
		return err
	}
	if err := cloudproject.RegisterMetrics(ctrlmetrics.Registry, mgr.GetCache(), shard, mgr.Elected()); err != nil {
		return err
	}
	err = mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Agent{}, projectref.AgentIndex, projectref.AgentIndexer(o.Project))
	if err != nil {
		return err
	}
	err = (&cloudproject.Reconciler{
		Client:         mgr.GetClient(),
		APIReader:      mgr.GetAPIReader(),
		Projects:       projects,
		Recorder:       recorder("cloudproject-controller"),
		Clock:          clock.RealClock{},
		DefaultProject: o.Project,
		Shard:          shard,
		Namespaces:     o.WatchNamespaces,
		ClusterID:      clusterID,
	}).SetupWithManager(mgr, controller.Options{MaxConcurrentReconciles: projectWorkers})
	if err != nil {
		return err
	}
	if err := addAgentSets(ctx, o, mgr, shard, recorder("agentset-controller")); err != nil {
		return err
	}
	return (&agent.Reconciler{
		Operator: remoteagent.Operator{
			Client:    mgr.GetClient(),
			APIReader: mgr.GetAPIReader(),
			Projects:  projects,
			Clock:     clock.RealClock{},
			Settings: remoteagent.Settings{
				DefaultProject: o.Project, ClusterID: clusterID, ReadOnly: o.ReadOnly, Namespaces: o.WatchNamespaces,
				Shard: shard,
				// In the proportion of the defaults; zero means the default.
				Times: remoteagent.Times{Slack: o.RegistrationSlack, PostWindow: o.RegistrationSlack / 4},
			},
		},
		Recorder: recorder("agent-controller"),
		Metrics:  agentMetrics,
	}).SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: o.Concurrency})
}

// crdInterval is how often an operator without the CRD of AgentSets checks for it.
const crdInterval = 30 * time.Second

// setWorkers is the number of concurrent reconciles of AgentSets in one namespace.
const setWorkers = 2

// addAgentSets adds the controller of AgentSets. Without access to nodes and workloads it only reports that. The CRD may be
// missing: an uninstall still has to delete the Agents.
func addAgentSets(
	ctx context.Context, o *options.Options, mgr ctrl.Manager, shard projectref.Shard, recorder events.EventRecorder,
) error {
	served := func() error {
		_, err := mgr.GetRESTMapper().RESTMapping(v1alpha1.GroupVersion.WithKind("AgentSet").GroupKind(), v1alpha1.GroupVersion.Version)
		return err
	}
	if meta.IsNoMatchError(served()) {
		ctrl.Log.Info("AgentSets are not reconciled: install the CRD agentsets." + v1alpha1.GroupVersion.Group)
		return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
			return wait.PollUntilContextCancel(ctx, crdInterval, false, func(context.Context) (bool, error) {
				if served() == nil {
					return false, errors.New("the CRD of AgentSets was installed: the operator restarts to reconcile them")
				}
				return false, nil
			})
		}))
	}
	r := &agentset.Reconciler{
		Client:         mgr.GetClient(),
		APIReader:      mgr.GetAPIReader(),
		Recorder:       recorder,
		Clock:          clock.RealClock{},
		DefaultProject: o.Project,
		Shard:          shard,
	}
	if err := r.RegisterMetrics(ctrlmetrics.Registry, mgr.Elected()); err != nil {
		return err
	}
	if o.AgentSets {
		nodes, err := agentset.NewNodes(mgr.GetConfig(), mgr.GetScheme())
		if err != nil {
			return err
		}
		if err := mgr.Add(nodes); err != nil {
			return err
		}
		r.Nodes = nodes.GetCache()
	}
	return r.SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: setWorkers})
}

// addProcessMetrics adds the metrics that every replica has, whether it leads or not.
func addProcessMetrics(mgr manager.Manager) error {
	for _, register := range []func(prometheus.Registerer) error{metrics.RegisterBuild, fairness.RegisterMetrics, eventlimit.RegisterMetrics} {
		if err := register(ctrlmetrics.Registry); err != nil {
			return err
		}
	}
	if some, ok := mgr.GetCache().(*namespaces.Cache); ok {
		return metrics.RegisterNamespaces(ctrlmetrics.Registry, some.Watched)
	}
	return nil
}
