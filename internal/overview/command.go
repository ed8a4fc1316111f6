/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package overview is the subcommand that shows at a glance what the operator manages in a cluster: the CloudProjects with
// the numbers of their Agents, and what needs attention. It only reads.
package overview

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
)

const long = `Shows the CloudProjects with the numbers of their Agents, the AgentSets, and below that each object that needs
attention: who is not Ready and why, and whose Fluent Bit or Fluentd stopped reporting.

It reads Agents, AgentSets and CloudProjects, with the rights of your kubeconfig.

Exit code: 0 if the status could be read, 1 if not, or if --check is given and something is not Ready, 2 for a wrong flag.`

// options are the flags of the command.
type options struct {
	kubeconfig, context string
	namespace           string
	all, check          bool

	config func(*options) (*rest.Config, string, error) // and the namespace of the kubeconfig
}

// NewCommand is the subcommand. usage marks an error as a wrong flag or value.
func NewCommand(usage func(error) error) *cobra.Command {
	return newCommand(&options{config: kubeconfig}, usage)
}

func newCommand(o *options, usage func(error) error) *cobra.Command {
	command := &cobra.Command{
		Use:   "status",
		Short: "Show what is managed, and what needs attention.",
		Long:  long,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(errors.New("status takes no arguments: see --help"))
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			if o.all && o.namespace != "" {
				return usage(errors.New("--all-namespaces: cannot be combined with --namespace"))
			}
			return o.run(command.Context(), command.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVarP(&o.namespace, "namespace", "n", "", "Namespace to look at. Default: that of the kubeconfig.")
	flags.BoolVarP(&o.all, "all-namespaces", "A", false, "Look at all namespaces.")
	flags.BoolVar(&o.check, "check", false, "End with exit code 1 if something is not Ready.")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "Path to the kubeconfig. Default: as kubectl finds it.")
	flags.StringVar(&o.context, "context", "", "Context of the kubeconfig. Default: the current one.")
	return command
}

// kubeconfig finds the cluster as kubectl does.
func kubeconfig(o *options) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context})
	config, err := apiserver.ConfigOf(loader)
	if err != nil {
		return nil, "", fmt.Errorf("no cluster to read: name one with --kubeconfig or --context: %w", err)
	}
	namespace, _, err := loader.Namespace()
	return config, namespace, err
}

func (o *options) run(ctx context.Context, out io.Writer) error {
	config, namespace, err := o.config(o)
	if err != nil {
		return err
	}
	switch {
	case o.all:
		namespace = ""
	case o.namespace != "":
		namespace = o.namespace
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("the cluster cannot be read: %w", err)
	}
	found, err := read(ctx, reader, namespace)
	if err != nil {
		return err
	}
	if err := found.write(out); err != nil {
		return err
	}
	if o.check && found.notReady > 0 {
		return fmt.Errorf("%d objects are not Ready", found.notReady)
	}
	return nil
}
