/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package cloudtest is a fake of Calyptia Cloud's agents API: an http.Handler
// that validates, authenticates, pages and forgets as the service does, and
// that fails in every way a network and a service can, on demand.
//
// It serves tests, demonstrations and benchmarks, in the same process or in
// one of its own, and is never part of the operator.
package cloudtest
