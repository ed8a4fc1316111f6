/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentstatus_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
)

// Whoever logs, and with whatever: what others wrote is clean and bounded.
func TestBoundedLog(t *testing.T) {
	long := "said \x1b[31m\u202e" + strings.Repeat("policy ", 6000)
	for name, log := range map[string]func(logr.Logger){
		"the error":            func(l logr.Logger) { l.Error(errors.New(long), "Reconciler error") },
		"the message":          func(l logr.Logger) { l.Info(long) },
		"no error":             func(l logr.Logger) { l.Error(nil, long) },
		"a text":               func(l logr.Logger) { l.Info("Rejected", "message", long) },
		"an error as a value":  func(l logr.Logger) { l.Info("Rejected", "cause", errors.New(long)) },
		"a text of all lines":  func(l logr.Logger) { l.WithValues("message", long).Info("Rejected") },
		"under a name, deeper": func(l logr.Logger) { l.WithName("agent").WithCallDepth(1).V(1).Info("Rejected", "message", long) },
	} {
		t.Run(name, func(t *testing.T) {
			var line string
			log(agentstatus.BoundedLog(funcr.New(func(_, args string) { line = args }, funcr.Options{Verbosity: 1})))
			if len(line) < 1000 || len(line) > 8000 || !strings.Contains(line, "said [31mpolicy policy") {
				t.Errorf("the line has %d bytes: %.200s", len(line), line)
			}
		})
	}
}

func TestBoundedLog_KeepsTheStackOfAPanicAndOtherValues(t *testing.T) {
	stack := strings.Repeat("main.go:1\n", 1000)
	var got []any
	agentstatus.BoundedLog(logr.New(&kept{values: &got})).Error(nil, "Observed a panic", "stacktrace", stack, "times", 7)
	if len(got) != 4 || got[1] != stack || got[3] != 7 {
		t.Errorf("the values are %.200v", got)
	}
	if agentstatus.BoundedLog(logr.Logger{}) != (logr.Logger{}) {
		t.Error("no logger became one")
	}
}

// kept is a log that keeps its last values.
type kept struct {
	logr.LogSink
	values *[]any
}

func (*kept) Init(logr.RuntimeInfo) {}

func (k *kept) Error(_ error, _ string, keysAndValues ...any) { *k.values = keysAndValues }
