/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// However often it is tried, an Agent leaves few agents behind: docs/reliability.md names these numbers.
func TestFruitless_RegistrationsPerDay_AreFew(t *testing.T) {
	var f fruitless
	perDay := [3]int{}
	for now, end := noon, noon.Add(72*time.Hour); now.Before(end); now = now.Add(time.Second) {
		if now.Before(f.until("web")) {
			continue
		}
		f.add(now, "web")
		perDay[int(now.Sub(noon)/(24*time.Hour))]++
	}
	if perDay != [3]int{16, 6, 6} {
		t.Errorf("%d registrations per day", perDay)
	}
	if until := f.until("changed by a user"); !until.IsZero() {
		t.Errorf("a change waits until %s", until)
	}
}

// What ends a pause is what a user changes to have the registration tried again.
func TestOccasion_ChangesOfUsers_AreNew(t *testing.T) {
	usual := occasionOf(holding(t, taskFor(), "a-token-of-the-project"))
	if again := occasionOf(holding(t, taskFor(), "a-token-of-the-project")); again != usual {
		t.Errorf("%q and %q without a change", usual, again)
	}
	for _, row := range []struct {
		name   string
		token  string
		change func(*Task)
	}{
		{"the spec", "a-token-of-the-project", func(t *Task) { t.Agent.Generation++ }},
		{"a request", "a-token-of-the-project", func(t *Task) { annotated(v1alpha1.AnnotationReconcileAt, "now")(t.Agent) }},
		{"the configuration", "a-token-of-the-project", func(t *Task) { t.Config.Data += "#" }},
		{"the token", "another-token-of-the-project", func(*Task) {}},
	} {
		t.Run(row.name, func(t *testing.T) {
			task := taskFor()
			row.change(task)
			if occasionOf(holding(t, task, row.token)) == usual {
				t.Error("it does not count as a change")
			}
		})
	}
	t.Run("another key or an annotation of the ConfigMap", func(t *testing.T) {
		task := taskFor()
		task.Config.ResourceVersion = "7"
		if occasionOf(holding(t, task, "a-token-of-the-project")) != usual {
			t.Error("it counts as a change")
		}
	})
}

// An agent that still exists after an interval was no invention.
func TestLasts_OnlyAfterAnInterval_EndsTheRow(t *testing.T) {
	for _, row := range []struct {
		age  time.Duration
		want int
	}{{9 * time.Minute, 5}, {10 * time.Minute, 0}} {
		task := holding(t, taskFor(), "a-token-of-the-project")
		closed, err := registration.NewIntent(noon.Add(-row.age), registration.Attempt{}, registration.Intent{}, registration.Subject{}, task.Project.Sign)
		if err != nil {
			t.Fatal(err)
		}
		task.Agent.Status.RegistrationIntent = closed.String()
		task.Known.fruitless.times = 5
		task.Known.fruitless.lasts(ClosedIntent(task.Agent), noon, 10*time.Minute)
		if got := task.Known.fruitless.times; got != row.want {
			t.Errorf("%d in a row after %s, want %d", got, row.age, row.want)
		}
	}
}

// A refusal counts only where no list shows whether it is true, and only if something was sent.
func TestNotRegistered_RefusalsThatCount(t *testing.T) {
	for _, row := range []struct {
		name    string
		listing registration.Listing
		err     *cloud.Error
		want    int
	}{
		{"the API's form, without a list", registration.ListingNo, &cloud.Error{Status: 400, API: true, Reason: cloud.ReasonInvalid}, 1},
		{"to wait, without a list", registration.ListingNo, &cloud.Error{Status: 429, API: true, Reason: cloud.ReasonRateLimited}, 1},
		{"the API's form, with a list", registration.ListingYes, &cloud.Error{Status: 400, API: true, Reason: cloud.ReasonInvalid}, 0},
		{"not sent", registration.ListingNo, &cloud.Error{NotSent: true, Reason: cloud.ReasonNetwork}, 0},
		{"a conflict", registration.ListingNo, &cloud.Error{Status: 409, API: true, Reason: cloud.ReasonConflict}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRegistrar(holding(t, taskFor(), "a-token-of-the-project"), false)
			r.facts.Listing = row.listing
			_ = creation{r}.notRegistered(t.Context(), row.err)
			if got := r.Known.fruitless.times; got != row.want {
				t.Errorf("counted %d times, want %d", got, row.want)
			}
		})
	}
}

// The snapshot that allows a registration is newer than the first sight of an absence, or is the one that showed it.
func TestLooksFrom_IsTheLatestDoubt(t *testing.T) {
	before, long := noon.Add(-time.Minute), noon.Add(-time.Hour)
	for _, row := range []struct {
		name                             string
		started, refused, absent, listed time.Time
		want                             time.Time
	}{
		{name: "the start", started: noon, refused: long, absent: before, want: noon},
		{name: "a refusal", started: long, refused: noon, absent: before, want: noon},
		{name: "an absence", started: long, refused: before, absent: noon, want: noon},
		{name: "an absence that a snapshot showed", started: long, absent: noon, listed: before, want: before.Add(-1)},
	} {
		t.Run(row.name, func(t *testing.T) {
			task := holding(t, taskFor(), "a-token-of-the-project")
			task.started, task.Known.attempt.refused = row.started, row.refused
			task.Known.Absence.firstAt, task.Known.Absence.unlistedAt = row.absent, row.listed
			if got := newRegistrar(task, false).looksFrom(); !got.Equal(row.want) {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
}

// A tenant may write a request of any length: what is kept of it beside the Agent is short.
func TestRequest_OfAnyLength_IsKeptShort(t *testing.T) {
	const most = 64
	long := taskFor(annotated(v1alpha1.AnnotationReconcileAt, strings.Repeat("now ", 60_000)))
	for what, kept := range map[string]string{
		"request": long.Known.requested(long.Agent, noon).value, "turn": long.Caller().Requested,
		"occasion": occasionOf(holding(t, long, "a-token-of-the-project")),
	} {
		if kept == "" || len(kept) > most {
			t.Errorf("%s: %d bytes are kept", what, len(kept))
		}
	}
	none := taskFor()
	if asked := none.Known.requested(none.Agent, noon).value; asked != "" {
		t.Errorf("%q is a request", asked)
	}
}

// What one service refused says nothing of another: the row begins again there.
func TestFruitless_AtAnotherEndpoint_BeginsAgain(t *testing.T) {
	task := taskFor()
	task.Endpoint = connection.Endpoint{URL: "https://one.example"}
	for range 11 {
		triesOf(task).add(noon, "web")
	}
	triesOf(task).shown = "machine-2"
	if again := triesOf(task); again.times != 11 || again.until("web").Before(noon.Add(time.Hour)) {
		t.Errorf("%d tries, and a pause until %s", again.times, again.until("web"))
	}
	task.Endpoint = connection.Endpoint{URL: "https://two.example"}
	triesOf(task).add(noon, "web")
	if there := triesOf(task); there.times != 1 || !there.until("web").IsZero() || there.shown != "" {
		t.Errorf("elsewhere there are %d tries, a pause until %s, and %q", there.times, there.until("web"), there.shown)
	}
}
