/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// table prints the results of a cell: rates and times compared with the floor, and counts per Agent.
func table(out io.Writer, c cell, results []*result) error {
	fmt.Fprintf(out, "\n%d Agents, cloud latency %s, rate limit %d/s (0: none)\n", c.N, c.Latency, c.RateLimit)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "phase\tagents/s\tfloor\tratio\tCPU ratio\tp50 s\tp99 s\tfloor p99\t"+
		"calls\twrites\treads\tevents\tconflicts\trefused\tCPU ms\tpeak MiB\t")
	for _, r := range results {
		floor, ratio, cpu, floorP99 := "-", "-", "-", "-"
		if r.Floor != nil {
			floor, ratio = fmt.Sprintf("%.1f", r.Floor.PerSecond), fmt.Sprintf("%.2f", r.Ratio)
			cpu = fmt.Sprintf("%.2f", r.CPURatio)
			floorP99 = fmt.Sprintf("%.3f", r.Floor.P99)
		}
		rate, p50, p99 := "-", "-", "-"
		if r.PerSecond > 0 {
			rate, p50, p99 = fmt.Sprintf("%.1f", r.PerSecond), fmt.Sprintf("%.3f", r.P50), fmt.Sprintf("%.3f", r.P99)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.3f\t%.3f\t%.2f\t%.0f\t\n",
			r.Phase, rate, floor, ratio, cpu, p50, p99, floorP99, r.per(len(r.calls)), r.per(r.Objects), r.per(r.reads()), r.per(r.Events),
			r.per(r.Conflicts), r.per(r.Refused), 1000*r.Burnt["operator"]/float64(max(r.Count, 1)), mebibytes(r.PeakRSS))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		fmt.Fprintf(out, "%s: %s\n", r.Phase, r.details())
	}
	return nil
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// details are the counts behind the table, and the figures that only this phase has.
func (r *result) details() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.Calls)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, r.Calls[name]))
	}
	parts = append(parts, fmt.Sprintf("list pages %d, connections %d", r.Pages, r.Connections))
	for _, name := range slices.Sorted(maps.Keys(r.Writes)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, r.Writes[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Reads)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, r.Reads[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Figures)) {
		parts = append(parts, fmt.Sprintf("%s %.3f", name, r.Figures[name]))
	}
	if r.Histogram != nil {
		parts = append(parts, fmt.Sprintf("GETs in each twelfth of an interval %v", r.Histogram))
	}
	parts = append(parts, fmt.Sprintf("resident MiB %.0f, live %.0f", mebibytes(r.RSS), mebibytes(r.Live)))
	text := strings.Join(parts, ", ") + "; CPU s: " + seconds(r.Burnt)
	if r.Floor != nil {
		text += "; of the floor: " + seconds(r.Floor.Burnt)
	}
	return text
}

func seconds(byProcess map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(byProcess)) {
		parts = append(parts, fmt.Sprintf("%s %.1f", name, byProcess[name]))
	}
	return strings.Join(parts, " ")
}

// writeJSON writes all results.
func writeJSON(path string, results []*result) error {
	if path == "" {
		return nil
	}
	body, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(body, '\n'))
}

// writeBenchstat writes the results as Go's benchmarks print theirs, so that benchstat compares runs.
func writeBenchstat(path string, results []*result) error {
	if path == "" {
		return nil
	}
	var text strings.Builder
	for _, r := range results {
		fmt.Fprintf(&text, "BenchmarkOperator/%s/phase=%s %d", r.cell, r.Phase, max(r.Count, 1))
		if r.PerSecond > 0 {
			fmt.Fprintf(&text, " %.1f agents/s %.5f p50-sec %.5f p99-sec", r.PerSecond, r.P50, r.P99)
		}
		if r.Floor != nil {
			fmt.Fprintf(&text, " %.4f ratio %.4f CPU-ratio", r.Ratio, r.CPURatio)
		}
		fmt.Fprintf(&text, " %.4f calls/agent %.4f writes/agent %.4f conflicts/agent %.6f CPU-sec/agent %d peak-RSS-bytes\n",
			r.per(len(r.calls)), r.per(r.Objects), r.per(r.Conflicts), r.Burnt["operator"]/float64(max(r.Count, 1)), r.PeakRSS)
	}
	return writeFile(path, []byte(text.String()))
}

func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}
