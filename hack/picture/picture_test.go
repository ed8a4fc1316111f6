/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// texts are the visible lines of the picture.
func texts(t *testing.T, picture string) (lines []string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(picture))
	depth := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatalf("the picture is not XML: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "text" {
				depth++
				lines = append(lines, "")
			}
		case xml.EndElement:
			if token.Name.Local == "text" {
				depth--
			}
		case xml.CharData:
			if depth > 0 {
				lines[len(lines)-1] += string(token)
			}
		}
	}
}

func TestThePictureShowsWhatWasPrinted(t *testing.T) {
	wide := strings.Repeat("é", columns)
	for _, row := range []struct {
		name, printed string
		want          []string
	}{
		{"plain lines", "one\ntwo", []string{"one", "two"}},
		{"what XML would take for its own", `<b> & "c" ]]>`, []string{`<b> & "c" ]]>`}},
		{"colors", "\x1b[36m$ kubectl get\x1b[0m agents", []string{"$ kubectl get agents"}},
		{"a color that is unknown", "\x1b[35mx\x1b[0m", []string{"x"}},
		{"columns", "NAME     READY", []string{"NAME     READY"}},
		{"a tab", "a\tb", []string{"a    b"}},
		{"as wide as the window", wide, []string{wide}},
		{"wider than the window", wide + "é", []string{wide, "é"}},
		{"wider, in color", "\x1b[32m" + wide + "éé\x1b[0m", []string{wide, "éé"}},
	} {
		var lines []line
		for i, text := range strings.Split(row.printed, "\n") {
			lines = append(lines, line{text, time.Duration(i) * time.Second})
		}
		got := texts(t, draw("title", lines))
		if want := append([]string{"title"}, row.want...); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: the picture shows %q, want %q", row.name, got, want)
		}
	}
}

func TestTheTimesAreThoseOfTheRunWithinLimits(t *testing.T) {
	lines := []line{{"first", 0}, {"at once", 0}, {"later", 300 * time.Millisecond}, {"after a long wait", time.Hour}, {"$ command", time.Hour}}
	times, whole := pace(lines)
	var last time.Duration
	for i, want := range []time.Duration{0, shortest, 2 * shortest, 2*shortest + 300*time.Millisecond, 2*shortest + 300*time.Millisecond + longest} {
		if times[i] != want {
			t.Errorf("%q is seen after %v, want %v", lines[i].text, times[i], want)
		}
		last = want
	}
	if want := last + commandPause + endPause; whole != want {
		t.Errorf("all takes %v, want %v", whole, want)
	}
}

// At the end, which is also the picture without animation, the last line is at the bottom of the window.
func TestThePictureEndsWithTheLastLine(t *testing.T) {
	var lines []line
	for range rows + 5 {
		lines = append(lines, line{"line", 0})
	}
	found := regexp.MustCompile(`\.s\{transform:translateY\(-(\d+)px\)`).FindStringSubmatch(draw("t", lines))
	if len(found) != 2 || found[1] != "90" {
		t.Errorf("the picture rests at %v, want 90", found)
	}
}

func TestARunIsRecordedAndAFailureIsOne(t *testing.T) {
	var shown bytes.Buffer
	lines, err := record(t.Context(), &shown, []string{"sh", "-c", `echo "in $PWD"; printf "%s" "$CLICOLOR_FORCE"`})
	if err != nil || len(lines) != 2 || lines[0].text != "in ~/operator" || lines[1].text != "1" {
		t.Errorf("recorded is %v, error %v", lines, err)
	}
	if !strings.HasSuffix(shown.String(), "\n1") {
		t.Errorf("shown is %q", &shown)
	}
	if _, err := record(t.Context(), io.Discard, []string{"sh", "-c", "exit 3"}); err == nil {
		t.Error("a failed run is no error")
	}
}
