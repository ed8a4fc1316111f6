/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package collector is the part of kube-controller-manager that a control plane without nodes needs: garbage
// collection and namespace deletion, by Kubernetes' own controllers. With them come 900 packages; with all of
// kube-controller-manager, 2,400.
package collector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	cacheddiscovery "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
)

// As in kube-controller-manager: names, periods and numbers of workers.
const (
	garbageCollection = "garbage-collector-controller"
	namespaceDeletion = "namespace-controller"

	syncPeriod        = 30 * time.Second
	resyncPeriod      = 5 * time.Minute
	collectorWorkers  = 20
	namespaceWorkers  = 10
	requestsPerSecond = 400
)

// NewCommand returns a command with the flags of kube-controller-manager that tests and demo use.
func NewCommand() *cobra.Command {
	var kubeconfig string
	var controllers []string
	command := &cobra.Command{
		Use:          "kube-controller-manager",
		Short:        "Garbage collection and namespace deletion alone, by the controllers of kube-controller-manager.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			return run(command.Context(), config, controllers)
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "Path of the kubeconfig file.")
	flags.StringSliceVar(&controllers, "controllers", []string{garbageCollection, namespaceDeletion}, "Controllers to run.")
	// Of no use to these two controllers, and given to every kube-controller-manager.
	flags.Bool("leader-elect", false, "Ignored.")
	flags.Int("secure-port", 0, "Ignored.")
	flags.String("root-ca-file", "", "Ignored.")
	flags.String("service-account-private-key-file", "", "Ignored.")
	return command
}

// run runs the controllers until the context ends.
func run(ctx context.Context, config *rest.Config, controllers []string) error {
	config.QPS, config.Burst = requestsPerSecond, 2*requestsPerSecond
	starters := map[string]func(context.Context, *rest.Config) error{
		garbageCollection: collectGarbage, namespaceDeletion: deleteNamespaces,
	}
	for _, name := range controllers {
		start, known := starters[name]
		if !known {
			return fmt.Errorf("controller %q is not part of this build: run make control-plane for all of them", name)
		}
		if err := start(ctx, config); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	<-ctx.Done()
	return nil
}

func collectGarbage(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	objects, err2 := metadata.NewForConfig(config)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cacheddiscovery.NewMemCacheClient(client.Discovery()))
	go wait.UntilWithContext(ctx, func(context.Context) { mapper.Reset() }, syncPeriod)
	shared := informerfactory.NewInformerFactory(
		informers.NewSharedInformerFactory(client, resyncPeriod),
		metadatainformer.NewSharedInformerFactory(objects, resyncPeriod))
	started := make(chan struct{})
	collector, err := garbagecollector.NewGarbageCollector(ctx, client, objects, mapper,
		garbagecollector.DefaultIgnoredResources(), shared, started)
	if err != nil {
		return err
	}
	shared.Start(ctx.Done())
	close(started)
	go collector.Run(ctx, collectorWorkers, syncPeriod)
	go collector.Sync(ctx, client.Discovery(), syncPeriod)
	return nil
}

func deleteNamespaces(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	objects, err2 := metadata.NewForConfig(config)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	shared := informers.NewSharedInformerFactory(client, resyncPeriod)
	controller := namespace.NewNamespaceController(ctx, client, objects, client.Discovery().ServerPreferredNamespacedResources,
		shared.Core().V1().Namespaces(), resyncPeriod, corev1.FinalizerKubernetes)
	shared.Start(ctx.Done())
	go controller.Run(ctx, namespaceWorkers)
	return nil
}
