/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package plan says which fields of a remote agent are managed, what to send of them, and what a read afterwards means. It
// is pure: values go in, values come out.
//
// In this package a new managed field is one entry in Declare and one in Registration, with a row in their tests;
// docs/architecture.md lists the other places.
package plan
