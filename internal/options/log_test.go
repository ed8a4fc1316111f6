/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package options

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// counted is a value that counts how often it was encoded.
type counted struct{ times int }

func (c *counted) MarshalJSON() ([]byte, error) {
	c.times++
	return []byte(`"web"`), nil
}

func TestValuesAreEncodedForWhatIsLogged(t *testing.T) {
	var out bytes.Buffer
	var o Options
	agent := &counted{}
	log := o.Logger(zap.WriteTo(&out)).WithValues("agent", agent).WithValues("reconcileID", "7").WithName("agent")
	log.V(1).Info("Of no interest")
	if agent.times > 0 || out.Len() > 0 {
		t.Errorf("encoded %d times for nothing, and %q is written", agent.times, &out)
	}
	log.Info("Registered", "id", "1")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"agent": "web", "reconcileID": "7", "id": "1", "logger": "agent", "msg": "Registered", "level": "info",
	} {
		if line[key] != want {
			t.Errorf("%s is %v in %s, want %s", key, line[key], &out, want)
		}
	}
}

func TestTheHighestLogLevelShowsNoBodies(t *testing.T) {
	var o Options
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.Bind(flags)
	if err := flags.Parse([]string{"--zap-log-level=7"}); err != nil {
		t.Fatal(err)
	}
	log := o.Logger(zap.WriteTo(io.Discard))
	if !log.V(7).Enabled() || log.V(8).Enabled() {
		t.Errorf("7 enabled: %v, 8 enabled: %v; want only 7", log.V(7).Enabled(), log.V(8).Enabled())
	}
}
