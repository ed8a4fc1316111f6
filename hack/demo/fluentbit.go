/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// fluentBitVariable names a Fluent Bit that is not on the PATH.
const fluentBitVariable = "FLUENT_BIT"

// storeDir is the store path of the Fluent Bit.
var storeDir = filepath.Join(stageDir, "fluent-bit")

// Its own pipeline: what the sample declares needs files that are not there.
const fluentBitConfig = `cat > %[1]s/fluent-bit.conf <<EOF
@INCLUDE calyptia.conf
[INPUT]
    Name  dummy
[OUTPUT]
    Name  null
    Match *
EOF`

// fluentBitStep starts a Fluent Bit with what the session Secret holds, and nothing else.
func (s *show) fluentBitStep(ctx context.Context) {
	s.say("payments-logs has a session. A Fluent Bit that starts with it runs as this agent:")
	const key = `kubectl get secret payments-logs-session -o jsonpath='{.data.%s}' | base64 -d`
	s.sh(ctx, "mkdir -p "+storeDir+"/calyptia")
	s.sh(ctx, fmt.Sprintf(key+" \\\n    > %s/calyptia/session.CALYPTIA", `session\.CALYPTIA`, storeDir))
	s.sh(ctx, fmt.Sprintf(key+" \\\n    | sed \"s#/var/lib/calyptia#$PWD/%s#\" > %[2]s/calyptia.conf", `calyptia\.conf`, storeDir))
	s.sh(ctx, "cat "+storeDir+"/calyptia.conf")
	if s.err != nil {
		return
	}
	session, err := os.ReadFile(filepath.Join(storeDir, "calyptia", "session.CALYPTIA"))
	section, err2 := os.ReadFile(filepath.Join(storeDir, "calyptia.conf"))
	if s.err = errors.Join(err, err2); s.err != nil {
		return
	}
	s.check("it has no project token", func() error {
		if strings.Contains(string(session)+string(section), s.service.token.Reveal()) {
			return errors.New("it is")
		}
		return nil
	})
	if binary, err := findFluentBit(); err != nil {
		s.err = err
	} else if binary != "" {
		s.startFluentBit(ctx, binary)
	} else {
		s.playFluentBit(ctx, session, section)
	}
	s.fluentBitShows(ctx)
}

// findFluentBit is the Fluent Bit to start; empty if there is none.
func findFluentBit() (string, error) {
	if named := os.Getenv(fluentBitVariable); named != "" {
		binary, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("%s: %w", fluentBitVariable, err)
		}
		return binary, nil
	}
	binary, err := exec.LookPath("fluent-bit")
	if errors.Is(err, exec.ErrNotFound) {
		return "", nil
	}
	return binary, err
}

// startFluentBit starts a real Fluent Bit, which runs until the stage closes.
func (s *show) startFluentBit(ctx context.Context, binary string) {
	s.sh(ctx, fmt.Sprintf(fluentBitConfig, storeDir))
	s.fluentBit = &program{
		command: exec.Command(binary, "-c", filepath.Join(storeDir, "fluent-bit.conf")),
		log:     filepath.Join(stageDir, "fluent-bit.log"),
	}
	s.command(strings.Join(s.fluentBit.command.Args, " ") + " > " + s.fluentBit.log + " 2>&1 &")
	if s.err != nil {
		return
	}
	if s.err = s.fluentBit.start(); s.err != nil {
		return
	}
	id := s.agent(ctx, "payments-logs").Status.ID
	s.comes(ctx, "Calyptia Cloud receives its metrics", func(ctx context.Context) error {
		if !s.fluentBit.running() {
			return errors.New("Fluent Bit ended: see " + s.fluentBit.log)
		}
		agent, err := s.service.agent(ctx, id)
		return errors.Join(err, equal(agent.Status, "healthy"))
	})
	if s.err != nil {
		s.fluentBit.tail(s.printer)
	}
	s.sh(ctx, "grep calyptia "+s.fluentBit.log)
}

// playFluentBit simulates Fluent Bit where none is installed.
func (s *show) playFluentBit(ctx context.Context, session, section []byte) {
	s.say("\nThere is no fluent-bit on the PATH, and %s names none: the demo simulates one, with these two files.", fluentBitVariable)
	if s.err != nil {
		return
	}
	played, err := cloudtest.NewFluentBit(session, section)
	if err != nil {
		s.err = err
		return
	}
	s.say("Fluent Bit, at its start: PATCH /v1/agents/%s, as the agent", played.ID)
	s.say("Fluent Bit, every 30 s:   POST /v1/agents/%s/metrics, as the agent", played.ID)
	s.err = errors.Join(played.Start(ctx), played.Report(ctx))
}

// fluentBitShows checks the result.
func (s *show) fluentBitShows(ctx context.Context) {
	written := s.remote(ctx, s.agent(ctx, "payments-logs").Status.ID)
	s.say("\nAt its start it wrote its own name (%s) and version (%s) to its agent.", written.Name, written.Version)
	s.say("The operator syncs every 10 minutes; a new value of an annotation requests a sync now.")
	s.sh(ctx, "kubectl annotate agent payments-logs cloud.calyptia.com/reconcile-at=metrics")
	s.sh(ctx, fmt.Sprintf("kubectl wait agent payments-logs --for=condition=Reporting --timeout=%v", patience))
	s.sh(ctx, "kubectl get agents")
	s.check("payments-logs reports, the others do not", func() error {
		for _, name := range sampleAgents {
			reporting := meta.IsStatusConditionTrue(s.agent(ctx, name).Status.Conditions, v1alpha1.ConditionReporting)
			if s.err != nil {
				return s.err
			}
			if err := equal(reporting, name == "payments-logs"); err != nil {
				return fmt.Errorf("condition Reporting of %s: %w", name, err)
			}
		}
		return nil
	})
	s.check("syncPolicy is Enforce, so the operator reverted name and version", func() error {
		agent := s.agent(ctx, "payments-logs")
		remote := s.remote(ctx, agent.Status.ID)
		return errors.Join(equal(remote.Name, agent.Spec.Name), equal(remote.Version, agent.Spec.Version), s.err)
	})
}
