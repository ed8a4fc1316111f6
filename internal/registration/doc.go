/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package registration holds the rules that make one Agent exactly one remote
// agent: the registration intent, and what counts as evidence that a remote
// agent belongs to an Agent. It is pure: no client, no clock, no Kubernetes.
package registration
