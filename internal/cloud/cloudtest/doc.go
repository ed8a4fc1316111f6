/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package cloudtest is a fake of Calyptia Cloud's agents API: an http.Handler that validates, authenticates, pages and
// deletes as the real one does, and that fails on demand in every way in which a network and an API can.
//
// It is for tests, demonstrations and benchmarks, in the same process or in a separate one, and never part of the operator.
package cloudtest
