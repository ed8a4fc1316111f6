/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Promtool reads PromQL expressions, a JSON array of strings, from standard input
// and prints for each the metrics and labels that it names, as Prometheus itself
// understands it. Prometheus's own promtool is a tool of this module; without the
// tag it is built with the clients of every cloud there is:
//
//	go build -tags=remove_all_sd -o promtool github.com/prometheus/prometheus/cmd/promtool
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// named is what one expression names.
type named struct {
	Metrics []string `json:"metrics"`
	// Asked are the labels, and their values, that are asked of a metric.
	Asked []asked `json:"asked"`
	// Labels are those by which is grouped or matched.
	Labels []string `json:"labels"`
}

type asked struct {
	Metric string `json:"metric"`
	Label  string `json:"label"`
	Value  string `json:"value"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "promtool:", err)
		os.Exit(1)
	}
}

func run() error {
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		return err
	}
	all := []named{}
	for _, text := range expressions {
		expression, err := parser.NewParser(parser.Options{}).ParseExpr(text)
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		all = append(all, names(expression))
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

func names(expression parser.Expr) named {
	n := named{}
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch e := node.(type) {
		case *parser.VectorSelector:
			n.Metrics = append(n.Metrics, e.Name)
			for _, m := range e.LabelMatchers {
				if m.Name != labels.MetricName {
					n.Asked = append(n.Asked, asked{Metric: e.Name, Label: m.Name, Value: m.Value})
				}
			}
		case *parser.AggregateExpr:
			n.Labels = append(n.Labels, e.Grouping...)
		case *parser.BinaryExpr:
			if e.VectorMatching != nil {
				n.Labels = append(append(n.Labels, e.VectorMatching.MatchingLabels...), e.VectorMatching.Include...)
			}
		}
		return nil
	})
	return n
}
