/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package options

import (
	"fmt"
	"strconv"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	uberzap "go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// Logger is the operator's logger. The values that each reconciliation gives it are encoded only if something is
// logged with them: few do, and it would be a good part of what the others cost.
func (o *Options) Logger(more ...zap.Opts) logr.Logger {
	lazy := zap.RawZapOpts(uberzap.WrapCore(func(core zapcore.Core) zapcore.Core { return lazyCore{core} }))
	return zap.New(append([]zap.Opts{zap.UseFlagOptions(&o.Zap), lazy}, more...)...)
}

type lazyCore struct{ zapcore.Core }

// With leaves the values for when they are needed, also those that are added to others.
func (c lazyCore) With(fields []zapcore.Field) zapcore.Core {
	return lazyCore{zapcore.NewLazyWith(c.Core, fields)}
}

// maxLogLevel is the last one without Secrets in the log: from 8 on, client-go logs the bodies of its requests and of
// the responses to them.
const maxLogLevel = 7

// boundLogLevel has a flag of the log's level refuse what is above maxLogLevel.
func boundLogLevel(flag *pflag.Flag) {
	flag.Value = boundedLevel{flag.Value}
	flag.Usage = fmt.Sprintf("What is logged: panic, error, info, debug, or a number from 1, which is debug, to %d. "+
		"Higher ones do not exist, because they would show Secrets. Default: info.", maxLogLevel)
}

type boundedLevel struct{ pflag.Value }

// Set looks at the number itself, because the level that it becomes has 8 bits alone.
func (l boundedLevel) Set(value string) error {
	if number, err := strconv.Atoi(value); err == nil && number > maxLogLevel {
		return fmt.Errorf("the highest is %d: above it, requests and responses would be logged with the Secrets in them", maxLogLevel)
	}
	return l.Value.Set(value)
}
