/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package agentset decides what an AgentSet needs: which nodes or replicas have an Agent, which Agents are created,
// changed and deleted, and in which Secret each session is stored. It calls nobody: facts come in, decisions go out.
package agentset
