//go:build !linux

/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package process

import "syscall"

// Attributes put a child into a separate process group, so that Ctrl-C does not end it before Stop does.
func Attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
