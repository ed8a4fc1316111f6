/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import "testing"

func TestRun_ReturnsTheExitCodeOfTheCommand(t *testing.T) {
	for _, row := range []struct {
		name, script string
		want         int
	}{
		{"it succeeds with a kubeconfig", `test -s "$OPERATOR_TEST_CONTROL_PLANE"`, 0},
		{"it fails", "exit 3", 3},
		{"it is killed", "kill -9 $$", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if code, err := run([]string{"sh", "-c", row.script}); code != row.want || err != nil {
				t.Errorf("%d, %v; want %d", code, err, row.want)
			}
		})
	}
}

func TestRun_NoCommand_Fails(t *testing.T) {
	if code, err := run(nil); code == 0 || err == nil {
		t.Errorf("%d, %v", code, err)
	}
}
