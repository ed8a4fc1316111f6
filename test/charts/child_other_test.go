//go:build !linux

/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import "syscall"

// childAttributes give a child a process group of its own, so that Ctrl-C ends it in order and not on its own.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
