/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package importer is the subcommand that declares the agents a project already has: it lists them and prints manifests that
// adopt them and change nothing remote. It does not read the cluster.
package importer

import (
	"errors"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// TokenVariable is the environment variable that holds the project token.
const TokenVariable = "CALYPTIA_CLOUD_TOKEN"

const defaultURL = "https://cloud-api.calyptia.com"

const example = `  # All agents of a project, for the CloudProject "calyptia" in the namespace that they are applied to
  read -rs CALYPTIA_CLOUD_TOKEN && export CALYPTIA_CLOUD_TOKEN # paste the project token, Enter
  calyptia-agent-operator import --project-ref calyptia > agents.yaml
  kubectl apply --server-side -n logging -f agents.yaml

  # A directory for Git: a file for each agent, the CloudProject, and a kustomization.yaml
  calyptia-agent-operator import --project-ref calyptia --cloud-project --output-dir agents
  calyptia-agent-operator import --project-ref calyptia --cloud-project --output-dir agents --diff # later: what changed

  # One file for each agent of a fleet, large configurations in ConfigMaps
  calyptia-agent-operator import --token-file token --fleet 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11 \
    --config-maps --output-dir agents --namespace logging --project-ref calyptia`

const long = `Reads the agents of a Calyptia Cloud project and prints an Agent manifest for each, with agentID set.

Applied, the manifests take the agents over and change nothing remote: with the default --sync-policy Observe
nothing is written even if an agent changes between the import and the apply; what changed shows as Drifted.
Set syncPolicy to Enforce or OnChange in the manifests when you want to change the agents by them.

The project token is read from --token-file, else from the environment variable ` + TokenVariable + `.
No token is ever printed: a field that holds one is left out, and a line on stderr says so. What a manifest
leaves out is unmanaged.

Exit code: 0 if all chosen agents are declared, 1 if one is not, if --diff finds a difference, or if the API fails, 2 for
a wrong flag or value.`

// options are the flags of the command.
type options struct {
	url, projectID, authentication     string
	tokenFile, caFile                  string
	allowInsecureHTTP                  bool
	namespace, projectRef, agentSet    string
	syncPolicy                         string
	names, fleets, environments, types []string
	except                             []string
	configMaps                         bool
	configMapsAbove                    int
	cloudProject                       bool
	tokenSecret                        string
	output                             string
	outputDir                          string
	overwrite, diff                    bool
	timeout                            time.Duration

	// Derived from the flags.
	base     *url.URL
	token    cloud.Token
	others   *strings.Replacer // hides the tokens of the agents in the list
	caBundle []byte
	project  *v1alpha1.CloudProjectReference
	targets  targets

	naming         Naming
	getenv         func(string) string
	stdout, stderr io.Writer
	limits         limits
}

// Naming is how an AgentSet names its Agents, and what it calls a node or replica.
type Naming struct {
	Agent func(set, key string) string
	Slot  func(key string) string
}

// NewCommand is the subcommand. usage marks an error as a wrong flag or value.
func NewCommand(usage func(error) error, naming Naming) *cobra.Command {
	return newCommand(&options{
		naming: naming,
		getenv: os.Getenv, limits: limits{patience: time.Second, agents: 100_000, content: 1 << 30},
	}, usage)
}

func newCommand(o *options, usage func(error) error) *cobra.Command {
	command := &cobra.Command{
		Use:     "import",
		Short:   "Print manifests for the agents that a project already has.",
		Long:    long,
		Example: example,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(errors.New("import takes no arguments: see --help")) // It may be a token; it is not repeated.
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return usage(err)
			}
			o.stdout, o.stderr = command.OutOrStdout(), command.ErrOrStderr()
			return o.run(command.Context())
		},
	}
	o.bind(command)
	return command
}

func (o *options) bind(command *cobra.Command) {
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.url, "url", defaultURL, "URL of the API.")
	flags.StringVar(&o.tokenFile, "token-file", "", "File with the project token. Default: the environment variable "+TokenVariable+".")
	flags.StringVar(&o.projectID, "project-id", "", "UUID of the project, where the token does not reveal it.")
	flags.StringVar(&o.authentication, "authentication", string(v1alpha1.AuthenticationAuto),
		"How the token is shown: Bearer, ProjectToken, or Auto, which tries both.")
	flags.StringVar(&o.caFile, "ca-file", "", "File with certificates (PEM) of a private authority, to trust beside those of the system.")
	flags.BoolVar(&o.allowInsecureHTTP, "allow-insecure-http", false,
		"Allow http in --url. The token then travels readable: for development only.")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "Namespace of the manifests. Default: none, kubectl decides.")
	flags.StringVar(&o.projectRef, "project-ref", "",
		"CloudProject of the Agents, as name or namespace/name. Default: none, the operator's --default-project.")
	flags.BoolVar(&o.cloudProject, "cloud-project", false, "Declare the CloudProject of --project-ref, too.")
	flags.StringVar(&o.tokenSecret, "token-secret", "calyptia-project-token",
		"Secret with the project token that the CloudProject of --cloud-project names. The token itself is never written.")
	flags.StringVar(&o.agentSet, "agent-set", "",
		"AgentSet to adopt the Agents: each is named and labeled for the node or replica that its agent has the name of.")
	flags.StringVar(&o.syncPolicy, "sync-policy", string(v1alpha1.SyncObserve),
		"syncPolicy of the Agents: Observe, OnChange or Enforce. Only Observe writes nothing whatever changes meanwhile.")
	flags.StringArrayVar(&o.names, "name", nil, "Only agents whose name matches, such as 'web-*'. May be repeated.")
	flags.StringSliceVar(&o.fleets, "fleet", nil, "Only agents of the fleet with this ID or name. May be repeated.")
	flags.StringSliceVar(&o.environments, "environment", nil, "Only agents of the environment with this name or ID. May be repeated.")
	flags.StringSliceVar(&o.types, "type", nil, "Only agents of this type: fluentbit or fluentd. May be repeated.")
	flags.StringSliceVar(&o.except, "except", nil,
		"Leave out the agents with these IDs, such as those that Agents of the cluster have already. May be repeated.")
	flags.BoolVar(&o.configMaps, "config-maps", false,
		"Put rawConfigs of more than --config-maps-above KiB into ConfigMaps. Those of more than 128 KiB always are.")
	flags.IntVar(&o.configMapsAbove, "config-maps-above", 4, "Size in KiB from which --config-maps makes ConfigMaps; 0 for all.")
	flags.StringVarP(&o.output, "output", "o", "yaml", "Format of the manifests: yaml or json.")
	flags.StringVar(&o.outputDir, "output-dir", "",
		"Directory to write one file for each agent to, and a kustomization.yaml. Default: all to stdout.")
	flags.BoolVar(&o.overwrite, "overwrite", false, "Replace files in --output-dir that are there with another content.")
	flags.BoolVar(&o.diff, "diff", false,
		"Write nothing, and print how the files in --output-dir would change. The exit code is 1 if one would.")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "How long listing the agents may take.")
}
