/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package options

import (
	"fmt"
	stdlog "log"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	uberzap "go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// Logger is the operator's logger. It encodes the values of a reconciliation only if something is logged: most
// reconciliations log nothing, and encoding would be a good part of their cost.
func (o *Options) Logger(more ...zap.Opts) logr.Logger {
	lazy := zap.RawZapOpts(uberzap.WrapCore(func(core zapcore.Core) zapcore.Core { return lazyCore{core} }))
	return zap.New(append([]zap.Opts{zap.UseFlagOptions(&o.Zap), lazy}, more...)...)
}

type lazyCore struct{ zapcore.Core }

// With delays the encoding of the values until they are needed.
func (c lazyCore) With(fields []zapcore.Field) zapcore.Core {
	return lazyCore{zapcore.NewLazyWith(c.Core, fields)}
}

// TakeStandardLog sends the log of the standard library to a logger, without what it quotes: net/http writes there what a server
// sends beyond its response, which may be the token that the request had.
func TakeStandardLog(to logr.Logger) {
	stdlog.SetFlags(0)
	stdlog.SetOutput(unquoted{to})
}

type unquoted struct{ to logr.Logger }

func (u unquoted) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(strings.TrimSpace(string(line)), `"`)
	u.to.V(1).Info("The standard library reports", "what", strings.TrimSpace(text))
	return len(line), nil
}

// maxLogLevel is the highest level without Secrets in the log: from 8 on, client-go logs the bodies of requests and
// responses.
const maxLogLevel = 7

// boundLogLevel makes the flag of the log level reject levels above maxLogLevel.
func boundLogLevel(flag *pflag.Flag) {
	flag.Value = boundedLevel{flag.Value}
	flag.Usage = fmt.Sprintf("What is logged: panic, error, info, debug, or a number from 1, which is debug, to %d. "+
		"Higher ones do not exist, because they would show Secrets. Default: info.", maxLogLevel)
}

type boundedLevel struct{ pflag.Value }

// Set checks the number itself, because the level has only 8 bits.
func (l boundedLevel) Set(value string) error {
	if number, err := strconv.Atoi(value); err == nil && number > maxLogLevel {
		return fmt.Errorf("the highest is %d: above it, requests and responses would be logged with the Secrets in them", maxLogLevel)
	}
	return l.Value.Set(value)
}
