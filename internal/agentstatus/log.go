/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentstatus

import (
	"errors"
	"slices"

	"github.com/go-logr/logr"
)

// BoundedLog returns a logger that cleans and bounds all texts: an error may repeat what a policy of the cluster, a webhook or a server
// wrote. Every logger of the operator is one, so that no error reaches the log as it is.
func BoundedLog(to logr.Logger) logr.Logger {
	sink := to.GetSink()
	if sink == nil {
		return to
	}
	if deep, ok := sink.(logr.CallDepthLogSink); ok {
		sink = deep.WithCallDepth(1)
	}
	return to.WithSink(boundedSink{sink})
}

type boundedSink struct{ logr.LogSink }

// Info implements logr.LogSink.
func (s boundedSink) Info(level int, msg string, keysAndValues ...any) {
	s.LogSink.Info(level, Message(msg), bounded(keysAndValues)...)
}

// Error implements logr.LogSink.
func (s boundedSink) Error(err error, msg string, keysAndValues ...any) {
	if err != nil {
		err = errors.New(Message(err.Error()))
	}
	s.LogSink.Error(err, Message(msg), bounded(keysAndValues)...)
}

// WithValues implements logr.LogSink.
func (s boundedSink) WithValues(keysAndValues ...any) logr.LogSink {
	return boundedSink{s.LogSink.WithValues(bounded(keysAndValues)...)}
}

// WithName implements logr.LogSink.
func (s boundedSink) WithName(name string) logr.LogSink { return boundedSink{s.LogSink.WithName(name)} }

// WithCallDepth implements logr.CallDepthLogSink.
func (s boundedSink) WithCallDepth(depth int) logr.LogSink {
	if deep, ok := s.LogSink.(logr.CallDepthLogSink); ok {
		return boundedSink{deep.WithCallDepth(depth)}
	}
	return s
}

// bounded returns keys and values with clean and bounded texts. The stack of a panic stays whole: nobody else writes into it.
func bounded(keysAndValues []any) []any {
	all := slices.Clone(keysAndValues)
	for i := 1; i < len(all); i += 2 {
		switch value := all[i].(type) {
		case string:
			if all[i-1] != "stacktrace" {
				all[i] = Message(value)
			}
		case error:
			all[i] = errors.New(Message(value.Error()))
		}
	}
	return all
}
