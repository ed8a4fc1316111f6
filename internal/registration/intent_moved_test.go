/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import (
	"testing"
	"time"
)

func TestIntent_Moved_IsTheSameAtAnotherURL(t *testing.T) {
	const url = "https://cloud.calyptia.example"
	there := web
	there.URL = url
	intent, err := NewIntent(noon, Attempt{First: noon.Add(-time.Minute), Sent: "0123456789ab"}, Intent{}, web, signedBy(token))
	if err != nil {
		t.Fatal(err)
	}
	moved := intent.Moved(web, url, signedBy(token))
	switch read := ParseIntent(moved.String()); {
	case read.String() != moved.String():
		t.Errorf("%q is read as %q", moved, read)
	case !read.Authentic(there, signedBy(token)) || read.Authentic(web, signedBy(token)):
		t.Error("it is not signed for the other URL alone")
	case !read.At.Equal(intent.At) || !read.First.Equal(intent.First) || read.Sent != intent.Sent:
		t.Errorf("%+v became %+v", intent, read)
	case !intent.Spent(read) || !read.Spent(intent):
		t.Error("one of them is not spent where the other is closed")
	case read.Moved(there, web.URL, signedBy(token)).String() != intent.String():
		t.Error("it is another after it moved back")
	}
	for name, kept := range map[string]Intent{
		"of another token":      intent.Moved(web, url, signedBy("another-token")),
		"of another URL":        intent.Moved(there, url, signedBy(token)),
		"of another machine ID": intent.Moved(Subject{UID: web.UID, URL: web.URL, MachineID: "machine-2"}, url, signedBy(token)),
	} {
		if kept != intent {
			t.Errorf("an intent %s is signed again", name)
		}
	}
	if none := (Intent{}).Moved(web, url, signedBy(token)); !none.IsZero() {
		t.Errorf("no intent became %q", none)
	}
}
