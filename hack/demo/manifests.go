/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// manifestDir holds the overlay that brings the samples to the fake cloud.
var manifestDir = filepath.Join(stageDir, "manifests")

const kustomization = `# The samples, with the URL and the token of the fake cloud.
resources:
- ../../config/samples
- project-token.yaml
patches:
- path: cloudproject.yaml
`

const cloudProjectPatch = `apiVersion: cloud.calyptia.com/v1alpha1
kind: CloudProject
metadata:
  name: calyptia
spec:
  url: %s
`

const tokenSecret = `apiVersion: v1
kind: Secret
metadata:
  name: calyptia-project-token
stringData:
  token: %s
`

func writeManifests(s *service) error {
	if err := os.MkdirAll(manifestDir, 0o700); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"kustomization.yaml": kustomization,
		"cloudproject.yaml":  fmt.Sprintf(cloudProjectPatch, s.url),
		"project-token.yaml": fmt.Sprintf(tokenSecret, s.token.Reveal()),
	} {
		if err := os.WriteFile(filepath.Join(manifestDir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// latestAgent has a version that the CRD rejects.
const latestAgent = `kubectl apply -f - <<EOF
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata:
  name: edge-logs
spec:
  projectRef: {name: calyptia}
  type: fluentbit
  version: latest
  rawConfig: |
    [INPUT]
        Name cpu
EOF`

// namedAgent names a fleet that somebody is about to create.
const namedAgent = `kubectl apply -f - <<EOF
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata:
  name: store-logs
spec:
  projectRef: {name: calyptia}
  type: fluentbit
  version: v4.0.0
  fleet: {name: stores}
  rawConfig: |
    [INPUT]
        Name cpu
EOF`

// fleetAgent is valid; only Calyptia Cloud knows that the fleet does not exist.
const fleetAgent = `kubectl apply -f - <<EOF
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata:
  name: edge-logs
spec:
  projectRef: {name: calyptia}
  type: fluentbit
  version: v4.0.0
  fleet: {id: 11111111-2222-4333-8444-555555555555}
  rawConfig: |
    [INPUT]
        Name cpu
EOF`
