/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package cloud is a client of the agents API of Calyptia Cloud.
//
// It knows the remote API and nothing of Kubernetes. Every call ends in a
// result or in an *Error that says what is proved: what class of trouble it
// is, whether the service itself answered, and whether anything can have
// happened there. The package never retries; that is the caller's decision.
package cloud
