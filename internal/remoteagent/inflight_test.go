/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import "testing"

func TestInFlight_TwoOfOneName_AreNotAlone(t *testing.T) {
	var f inFlight
	const here, elsewhere = "https://cloud.example", "https://elsewhere.example"
	first := f.begin(here, "web")
	other, far := f.begin(here, "db"), f.begin(elsewhere, "web")
	second := f.begin(here, "WEB")
	if first() || second() {
		t.Error("two of one name at one URL count as alone")
	}
	if !other() || !far() {
		t.Error("another name or URL counts as the same")
	}
	for range 2 {
		if !f.begin(here, "web")() {
			t.Error("one after the other count as two at the same moment")
		}
	}
	if len(f.sent) != 0 {
		t.Errorf("%d are left", len(f.sent))
	}
}

// Two that follow each other are not alone if a third was in flight beside both.
func TestInFlight_InAChain_EachMetAnother(t *testing.T) {
	var f inFlight
	first := f.begin("", "web")
	second := f.begin("", "web")
	if first() {
		t.Error("the first met the second")
	}
	third := f.begin("", "web")
	if second() || third() {
		t.Error("the second met the third")
	}
}
