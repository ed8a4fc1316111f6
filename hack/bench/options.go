/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// options are the flags. A cell is one combination of the lists.
type options struct {
	ns            []int
	latencies     []time.Duration
	rates         []int
	concurrency   int
	rawConfig     int
	fromConfigMap bool
	noList        bool
	inFleet       bool
	sessions      bool
	idleHeap      bool
	unrelated     int
	unrelatedSize int
	singles       int
	interval      time.Duration
	stretch       time.Duration
	repeat        int
	phases        map[string]bool
	operator      string
	operatorArgs  []string
	memoryLimit   string
	json          string
	benchstat     string
	logs          string
	quick         bool
}

// allPhases, in the order in which they run.
var allPhases = []string{"floor", "register", "update", "drift", "single", "wake", "restart", "steady", "delete", "nodes"}

// quickPhases are those that need no waiting.
const quickPhases = "floor,register,update,drift,single,delete"

func parse(args []string, out io.Writer) (*options, error) {
	o := &options{ns: []int{100, 1000}, latencies: []time.Duration{0}, rates: []int{0}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Func("n", "numbers of Agents, such as 100,1000,10000 (default 100,1000)", list(&o.ns, positive))
	flags.Func("latency", "latencies of the fake cloud, such as 0,50ms (default 0)", list(&o.latencies, duration))
	flags.Func("rate-limit", "rate limits of the CloudProject, 0 for none, such as 0,100 (default 0)", list(&o.rates, strconv.Atoi))
	flags.IntVar(&o.concurrency, "concurrency", 16, "the operator's --concurrency, and the floor's")
	flags.IntVar(&o.rawConfig, "raw-config", 1024, "size of the rawConfig of each Agent, in bytes")
	flags.BoolVar(&o.fromConfigMap, "from-config-map", false,
		"let all Agents take their rawConfig from one ConfigMap; update changes that one")
	flags.BoolVar(&o.noList, "no-list", false, "make the fake cloud list no agents")
	flags.BoolVar(&o.inFleet, "fleet", false, "let all Agents name one fleet")
	flags.BoolVar(&o.sessions, "sessions", false, "give each Agent a Secret with its session; those of an AgentSet have it anyway")
	flags.BoolVar(&o.idleHeap, "idle-heap", false, "after each restart, wait minutes for a collection of the idle operator's garbage")
	flags.IntVar(&o.unrelated, "unrelated", 0, "number of unrelated objects in the cluster, half Secrets and half ConfigMaps")
	flags.IntVar(&o.unrelatedSize, "unrelated-size", 10<<10, "size of each of these objects, in bytes")
	flags.IntVar(&o.singles, "singles", 200, "number of single applies on the idle operator")
	flags.DurationVar(&o.interval, "interval", time.Minute, "resyncInterval for the phase steady, from 1m")
	flags.DurationVar(&o.stretch, "stretch", 2*time.Minute, "length of the phase steady")
	flags.IntVar(&o.repeat, "repeat", 1, "number of runs of each cell, each with its own control plane")
	phases := flags.String("phases", "", "phases to run (default all): "+strings.Join(allPhases, ","))
	flags.StringVar(&o.operator, "operator", "bin/calyptia-agent-operator", "the operator's binary")
	extra := flags.String("operator-args", "", "further flags of the operator, separated by spaces")
	flags.StringVar(&o.memoryLimit, "memory-limit", "", "the operator's GOMEMLIMIT, such as 180MiB")
	flags.StringVar(&o.json, "json", "", "file to write all figures to")
	flags.StringVar(&o.benchstat, "benchstat", "", "file for the input of benchstat")
	flags.StringVar(&o.logs, "logs", "", "directory that keeps the operator's logs and the audit log")
	flags.BoolVar(&o.quick, "quick", false, "run one small cell and skip the phases that wait")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	o.operatorArgs = strings.Fields(*extra)
	if o.quick {
		o.ns, o.latencies, o.rates, o.singles = []int{100}, []time.Duration{0}, []int{0}, 20
		if *phases == "" {
			*phases = quickPhases
		}
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.interval < time.Minute || o.stretch < o.interval {
		return nil, errors.New("-interval must be at least 1m, and -stretch at least as long")
	}
	if err := o.choose(*phases); err != nil {
		return nil, err
	}
	if o.unrelated > 0 && o.phases["floor"] {
		return nil, errors.New("-unrelated: beside the floor the operator watches one namespace only; leave floor out of -phases")
	}
	return o, nil
}

// choose takes the phases to run.
func (o *options) choose(phases string) error {
	o.phases = map[string]bool{}
	known := "," + strings.Join(allPhases, ",") + ","
	if phases == "" {
		phases = strings.Trim(known, ",")
	}
	for _, phase := range strings.Split(phases, ",") {
		if !strings.Contains(known, ","+phase+",") {
			return fmt.Errorf("-phases: there is no phase %q", phase)
		}
		o.phases[phase] = true
	}
	if !o.phases["register"] {
		return errors.New("-phases: all but floor needs register")
	}
	if o.phases["nodes"] && !o.phases["delete"] {
		return errors.New("-phases: nodes needs delete")
	}
	return nil
}

func list[T any](into *[]T, parse func(string) (T, error)) func(string) error {
	return func(text string) error {
		*into = nil
		for _, item := range strings.Split(text, ",") {
			value, err := parse(strings.TrimSpace(item))
			if err != nil {
				return err
			}
			*into = append(*into, value)
		}
		return nil
	}
}

func positive(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && n < 1 {
		err = errors.New("must be at least 1")
	}
	return n, err
}

func duration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	return time.ParseDuration(text)
}
