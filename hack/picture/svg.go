/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"fmt"
	"html"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// The window, in characters and pixels.
const (
	columns, rows         = 110, 30
	charWidth, lineHeight = 7.8, 18
	margin, bar           = 14, 34
	width                 = 2*margin + columns*charWidth
	height                = bar + 2*margin + rows*lineHeight
)

// Reading takes longer than printing, and long waits are shortened.
const (
	shortest, longest = 80 * time.Millisecond, 800 * time.Millisecond
	commandPause      = 400 * time.Millisecond // before a command's output
	headingPause      = 800 * time.Millisecond
	endPause          = 5 * time.Second
)

// classes are the colors, by the code of the escape sequence.
var classes = map[string]string{"1": "b", "31": "r", "32": "g", "36": "c"}

const style = `text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d0d7de;white-space:pre}
.b{fill:#ffffff;font-weight:bold}.r{fill:#ff7b72}.g{fill:#7ee787}.c{fill:#79c0ff}.t{fill:#8b949e}`

// draw makes a picture that scrolls as the terminal did. Without animation, it shows the end.
func draw(title string, lines []line) string {
	shown := fold(lines)
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" viewBox="0 0 %.0f %d"`, width, height, width, height)
	fmt.Fprintf(&svg, ` xml:space="preserve" role="img" aria-label="%s">`+"\n", html.EscapeString(title))
	fmt.Fprintf(&svg, "<style>%s\n%s</style>\n", style, motion(shown))
	fmt.Fprintf(&svg, `<rect width="%.0f" height="%d" rx="8" fill="#0d1117"/>`+"\n", width, height)
	for i, color := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(&svg, `<circle cx="%d" cy="%d" r="6" fill="%s"/>`+"\n", margin+6+20*i, bar/2+2, color)
	}
	fmt.Fprintf(&svg, `<text class="t" x="%.0f" y="%d" text-anchor="middle">%s</text>`+"\n", width/2, bar/2+6, html.EscapeString(title))
	fmt.Fprintf(&svg, `<svg x="%d" y="%d" width="%.0f" height="%d"><g class="s">`+"\n", margin, bar+margin, width-margin, rows*lineHeight)
	for i, l := range shown {
		if text := spans(l.text); text != "" {
			fmt.Fprintf(&svg, `<text y="%d">%s</text>`+"\n", (i+1)*lineHeight-4, text)
		}
	}
	svg.WriteString("</g></svg>\n</svg>\n")
	return svg.String()
}

// motion is one animation of all lines: it moves up by one at the time of each line.
func motion(lines []line) string {
	times, whole := pace(lines)
	var frames strings.Builder
	frames.WriteString("@keyframes s{")
	for i, at := range times {
		fmt.Fprintf(&frames, "%.2f%%{transform:translateY(%dpx)}", 100*float64(at)/float64(whole), lineHeight*(rows-i-1))
	}
	end := lineHeight * (rows - len(lines))
	fmt.Fprintf(&frames, "100%%{transform:translateY(%dpx)}}\n", end)
	fmt.Fprintf(&frames, ".s{transform:translateY(%dpx);animation:s %.1fs step-end infinite}\n", end, whole.Seconds())
	frames.WriteString("@media (prefers-reduced-motion:reduce){.s{animation:none}}")
	return frames.String()
}

// pace returns the time of each line, and the total: the recorded times, within limits that can be read.
func pace(lines []line) (times []time.Duration, whole time.Duration) {
	before := time.Duration(0)
	for _, l := range lines {
		pause := min(max(l.at-before, shortest), longest)
		before = l.at
		times = append(times, whole)
		switch text := plain(l.text); {
		case strings.HasPrefix(text, "$ "):
			pause = max(pause, commandPause)
		case strings.HasPrefix(text, "== "):
			pause = max(pause, headingPause)
		}
		whole += pause
	}
	return times, whole + endPause
}

var escape = regexp.MustCompile("\x1b\\[([0-9;]*)m")

func plain(text string) string { return escape.ReplaceAllString(text, "") }

// spans is the line in SVG, in its colors.
func spans(text string) string {
	var result strings.Builder
	class := ""
	add := func(part string) {
		switch {
		case part == "":
		case class == "":
			result.WriteString(html.EscapeString(part))
		default:
			fmt.Fprintf(&result, `<tspan class="%s">%s</tspan>`, class, html.EscapeString(part))
		}
	}
	at := 0
	for _, found := range escape.FindAllStringSubmatchIndex(text, -1) {
		add(text[at:found[0]])
		class, at = classes[text[found[2]:found[3]]], found[1]
	}
	add(text[at:])
	return result.String()
}

// fold wraps lines that are wider than the window, as a terminal does.
func fold(lines []line) (folded []line) {
	for _, l := range lines {
		text := strings.ReplaceAll(l.text, "\t", "    ")
		for first := true; first || text != ""; first = false {
			part, color := cut(text)
			folded = append(folded, line{part, l.at})
			if text = strings.TrimPrefix(text, part); text != "" && color != "" && plain(text) != "" {
				text = color + text
			} else if plain(text) == "" {
				text = ""
			}
		}
	}
	return folded
}

// cut returns the part of the text that fits the window, and the color at its end.
func cut(text string) (part, color string) {
	seen := 0
	for at := 0; at < len(text); {
		if found := escape.FindStringIndex(text[at:]); found != nil && found[0] == 0 {
			color = text[at : at+found[1]]
			at += found[1]
			continue
		}
		if seen == columns {
			return text[:at], color
		}
		_, size := utf8.DecodeRuneInString(text[at:])
		at += size
		seen++
	}
	return text, color
}
