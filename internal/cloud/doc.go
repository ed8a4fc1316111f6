/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package cloud is a client of the agents API of Calyptia Cloud.
//
// It knows the remote API and nothing about Kubernetes. Every method returns a result or an *Error: the class of the
// failure, whether the API itself responded, and whether the request can have had an effect. The package never retries; that
// is the caller's decision.
package cloud
