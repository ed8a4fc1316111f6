/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
)

// patience is how long a check may wait, on a slow and busy machine.
const patience = 30 * time.Second

// show is what the audience sees. Its first failure ends it: all that follows is left out, so that the steps read
// as the plain sequence that they are.
type show struct {
	*printer
	*stage
	err    error
	checks int
	// storesFleet is the ID of the fleet that is created during the show.
	storesFleet string
}

// play goes through the steps, until one fails. The operator's end ends them as well.
func (s *show) play(ctx context.Context, abort context.CancelCauseFunc) {
	for i, step := range []struct {
		title string
		run   func(context.Context)
	}{
		{"A Kubernetes control plane, with the CRDs", s.controlPlaneStep},
		{"The operator, and a fake of Calyptia Cloud", func(ctx context.Context) { s.operatorStep(ctx, abort) }},
		{"The samples are applied and become Ready", s.samplesStep},
		{"The agents in Calyptia Cloud", s.remoteStep},
		{"An Agent names a fleet that does not exist yet", s.fleetStep},
		{"The Secret with an agent's token", s.secretStep},
		{"A Fluent Bit runs as one of the agents", s.fluentBitStep},
		{"A new version and a new configuration are applied", s.updateStep},
		{"Somebody else changes agents in Calyptia Cloud", s.driftStep},
		{"Mistakes are reported, and can be corrected", s.mistakeStep},
		{"The fleet exists by now", s.fleetFoundStep},
		{"Agents are deleted", s.deletionStep},
		{"No token and no error is in the logs", s.silenceStep},
	} {
		if s.err == nil {
			s.heading(fmt.Sprintf("%d. %s", i+1, step.title))
			step.run(ctx)
		}
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			s.err = cause
		}
	}
}

// sh runs a command as you would type it, and shows and returns its output. It has to succeed.
func (s *show) sh(ctx context.Context, script string) string {
	output, err := s.shell(ctx, script)
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("%s: %w", firstLine(script), err)
	}
	return output
}

// refused runs a command that has to fail, with the given words.
func (s *show) refused(ctx context.Context, script, words string) {
	output, err := s.shell(ctx, script)
	s.check("it is refused, and the message says what to do", func() error {
		if err == nil {
			return errors.New("the command succeeded")
		}
		if !strings.Contains(output, words) {
			return fmt.Errorf("the message lacks %q", words)
		}
		return nil
	})
}

func (s *show) shell(ctx context.Context, script string) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	s.command(script)
	kubectl := s.controlPlane.Kubectl(ctx)
	var output bytes.Buffer
	command := exec.CommandContext(ctx, "sh", "-c", script)
	command.Env = append(os.Environ(), "KUBECONFIG="+s.controlPlane.Kubeconfig,
		"PATH="+filepath.Dir(kubectl.Path)+string(os.PathListSeparator)+os.Getenv("PATH"))
	command.Stdout = io.MultiWriter(s.printer, &output)
	command.Stderr = command.Stdout
	// The shell and what it runs end together.
	command.SysProcAttr = process.Attributes()
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	err := command.Run()
	return output.String(), err
}

// say explains what comes next, unless the show has ended.
func (s *show) say(format string, args ...any) {
	if s.err == nil {
		s.printer.say(format, args...)
	}
}

// command shows what is run, unless the show has ended.
func (s *show) command(text string) {
	if s.err == nil {
		s.printer.command(text)
	}
}

// check reports that something holds, or ends the show.
func (s *show) check(what string, holds func() error) {
	if s.err != nil {
		return
	}
	if err := holds(); err != nil {
		s.err = fmt.Errorf("not so: %s: %w", what, err)
		return
	}
	s.checks++
	s.passed(what)
}

// comes waits until something holds.
func (s *show) comes(ctx context.Context, what string, holds func(context.Context) error) {
	s.check(what, func() error {
		last := errors.New("not seen yet")
		err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
			last = holds(ctx)
			return last == nil, nil
		})
		if err != nil {
			return last
		}
		return nil
	})
}

// agent reads an Agent.
func (s *show) agent(ctx context.Context, name string) *v1alpha1.Agent {
	var agent v1alpha1.Agent
	s.read(ctx, name, &agent)
	return &agent
}

// read reads an object of the demo's namespace.
func (s *show) read(ctx context.Context, name string, into client.Object) {
	if s.err == nil {
		s.err = s.kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, into)
	}
}

// remote reads the remote agent with the ID.
func (s *show) remote(ctx context.Context, id string) (agent remoteAgent) {
	if s.err == nil {
		agent, s.err = s.service.agent(ctx, id)
	}
	return agent
}

// changeExternally changes a remote agent externally, with the project token.
func (s *show) changeExternally(ctx context.Context, name, id, body string) {
	if s.err != nil {
		return
	}
	s.say("Somebody else: PATCH /v1/agents/%s (%s)\n  %s", id, name, body)
	s.err = s.service.call(ctx, "PATCH", "/v1/agents/"+id, "", body, nil)
}

// diagnose shows the state in which the show failed.
func (s *show) diagnose(ctx context.Context) {
	if s.controlPlane != nil && s.operator != nil {
		failure := s.err
		for _, script := range []string{"kubectl get cloudprojects,agents -o wide", "kubectl get events"} {
			s.err = nil
			s.printer.say("")
			_, _ = s.shell(ctx, script)
		}
		s.err = failure
	}
	s.tail(s.printer)
}

// invite explains how to try more.
func (s *show) invite() {
	root := testenv.ModuleRoot()
	s.heading("The demo keeps running: try it in another terminal")
	s.printer.say("  export KUBECONFIG=%s", s.controlPlane.Kubeconfig)
	if _, err := exec.LookPath("kubectl"); err != nil {
		s.printer.say("  alias kubectl=%s", s.controlPlane.Kubectl(context.Background()).Path)
	}
	s.printer.say(`  cd %s

  kubectl get agents                    # -o wide says more
  kubectl describe agent web-logs       # all of one, with its events
  kubectl edit agent web-logs           # change its version or its configuration
  kubectl explain agent.spec            # what can be declared
  kubectl delete agent web-logs         # its remote agent and its Secret go with it
  kubectl apply -k %s      # bring back what was deleted
  tail -f %s

The fake of Calyptia Cloud listens at %s. Ctrl-C ends and removes everything.`,
		root, manifestDir, s.operator.log, s.service.url)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
