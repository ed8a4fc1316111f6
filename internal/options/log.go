/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package options

import (
	"github.com/go-logr/logr"
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
