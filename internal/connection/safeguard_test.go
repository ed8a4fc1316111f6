/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

func uid(prefix string, i int) types.UID { return types.UID(fmt.Sprint(prefix, "-", i)) }

func agentOf(prefix string, i int) ratelimit.Caller { return ratelimit.Caller{UID: uid(prefix, i)} }

// A reset lasts to the last agent, even if the rate limit spreads them over longer than the window.
func TestAResetLastsWhileDeletionsContinue(t *testing.T) {
	w := verified(t, cloudtest.Settings{NoList: true})
	for i := range 10 {
		_ = w.Gone(agentOf("gone", i), w.clock.Now())
	}
	if w.Tripped() == nil {
		t.Fatal("no mass deletion is detected")
	}
	w.Reset()
	for i := range 1000 {
		noError(t, w.Gone(agentOf("gone", i), w.clock.Now()))
		w.clock.Step(40 * time.Minute / 1000)
	}
	w.clock.Step(15 * time.Minute)
	for i := range 9 {
		noError(t, w.Gone(agentOf("later", i), w.clock.Now()))
	}
	w.refused(w.Gone(ratelimit.Caller{UID: "last"}, w.clock.Now()), v1alpha1.ReasonMassDeletionDetected) // That is another loss.
}

func TestHowManyMissingAgentsAreAMassDeletion(t *testing.T) {
	for _, row := range []struct {
		name       string
		seen, gone int
		sight      time.Duration // when the others were seen, after the first was missed
		lost       bool
	}{
		{"a few", 0, 9, 0, false},
		{"ten, and nothing else is there", 0, 10, 0, true},
		{"ten, and the others were seen before", 1000, 10, -time.Second, true},
		{"ten, and the others are in the same list", 1000, 10, 0, false},
		{"ten, and others were seen later", 10, 10, time.Second, false},
		{"more than there are in the same list", 11, 12, 0, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{NoList: true})
			missed := w.clock.Now().Add(-time.Minute)
			for i := range row.seen {
				w.SeenAt(uid("seen", i), string(uid("seen", i)), missed.Add(row.sight))
			}
			for i := range row.gone {
				_ = w.Gone(agentOf("gone", i), missed)
			}
			if lost := w.Tripped() != nil; lost != row.lost {
				t.Errorf("lost is %v", lost)
			}
		})
	}
}

// A list stays young for as long as the interval of the Agents that are compared with it.
func TestALongIntervalIsNoMassDeletion(t *testing.T) {
	w := verified(t, cloudtest.Settings{NoList: true})
	listed := w.clock.Now()
	for i := range 100 {
		w.SeenAt(uid("seen", i), string(uid("seen", i)), listed)
	}
	w.clock.Step(2 * time.Hour)
	for i := range 12 {
		noError(t, w.Gone(agentOf("gone", i), listed))
	}
}

// A single deletion does not make older snapshots count against a later mass deletion.
func TestAMassDeletionAfterADeletionIsNoticedAsSoon(t *testing.T) {
	w := verified(t, cloudtest.Settings{NoList: true})
	listed := w.clock.Now()
	for i := range 99 {
		w.SeenAt(uid("seen", i), string(uid("seen", i)), listed)
	}
	noError(t, w.Gone(ratelimit.Caller{UID: "deleted"}, listed))
	w.clock.Step(10 * time.Minute)
	next := w.clock.Now()
	for i := range 9 {
		noError(t, w.Gone(agentOf("seen", i), next))
	}
	w.refused(w.Gone(agentOf("seen", 9), next), v1alpha1.ReasonMassDeletionDetected)
}

// crew registers agents, waits for a list with them, and returns their IDs.
func (w *world) crew(n int) []string {
	w.Helper()
	var ids []string
	for i := range n {
		ids = append(ids, w.register(fmt.Sprint("crew-", i)))
	}
	w.clock.Step(time.Second)
	w.find("any", w.clock.Now().Add(-1))
	for i, id := range ids {
		w.SeenAt(uid("crew", i), id, w.clock.Now())
	}
	w.clock.Step(time.Minute)
	return ids
}

// miss reports a missing remote agent of an Agent. undecided counts the failures that wait for a list.
func (w *world) miss(i int, id string) (lost bool, undecided int) {
	w.Helper()
	if _, err := w.Get(w.Context(), ratelimit.Caller{UID: uid("crew", i)}, id); !cloud.IsGone(err) {
		w.Fatalf("%s is there: %v", id, err)
	}
	since := w.clock.Now()
	for {
		w.clock.Step(time.Second)
		err := w.Gone(agentOf("crew", i), since)
		f, _ := fault.As(err)
		switch {
		case err == nil || f.Reason == v1alpha1.ReasonMassDeletionDetected:
			return err != nil, undecided
		case f.Reason == v1alpha1.ReasonProgressing && f.Quiet && undecided == 0:
			undecided++
			w.find("any", since) // It comes back with the list.
		default:
			w.Fatal(err)
		}
	}
}

// Agents that reads find missing are compared with a new list, not with an older one.
func TestAFewMissingAgentsAreNoMassDeletionIfAListShowsTheOthers(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	lists := 0
	for i, id := range w.crew(100)[:19] {
		w.cloud.Remove(id)
		lost, undecided := w.miss(i, id)
		if lost {
			t.Fatalf("the %dth is a mass deletion", i+1)
		}
		lists += undecided
	}
	if lists != 1 {
		t.Errorf("%d lists were waited for, want one for the first ten", lists)
	}
}

func TestAMassDeletionFoundByReadsIsDetectedAtTheTenth(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	ids := w.crew(100)
	for i, id := range ids { // They were all read since the list.
		w.Seen(uid("crew", i), id)
		w.cloud.Remove(id)
	}
	w.clock.Step(time.Second)
	for i, id := range ids[:10] {
		lost, undecided := w.miss(i, id)
		if last := i == 9; lost != last || (undecided > 0) != last {
			t.Fatalf("the %dth: lost is %v, waited for %d lists", i+1, lost, undecided)
		}
	}
}

func TestAMassDeletionInAListNeedsNoOtherList(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	ids := w.crew(100)
	for _, id := range ids {
		w.cloud.Remove(id)
	}
	listed := w.clock.Now()
	w.find("any", listed.Add(-1))
	w.forget()
	for i := range 9 {
		noError(t, w.Gone(agentOf("crew", i), listed))
	}
	w.refused(w.Gone(agentOf("crew", 9), listed), v1alpha1.ReasonMassDeletionDetected)
	w.requests(0)
}

// After a restart most agents were not checked yet: the snapshot shows which of the recorded ones exist.
func TestAfterARestart_TheSnapshotShowsTheOthers(t *testing.T) {
	for _, row := range []struct {
		removed int
		want    bool
	}{{12, false}, {20, false}, {21, true}, {40, true}} {
		t.Run(fmt.Sprint(row.removed), func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			recorded := map[types.UID]string{}
			for i, id := range w.crew(40) {
				recorded[uid("crew", i)] = id
				if i < row.removed {
					w.cloud.Remove(id)
				}
			}
			w.renew()
			w.SetRecorded(recorded)
			noError(t, w.Verify(t.Context()))
			listed := w.clock.Now()
			w.find("any", listed.Add(-1))
			for i := range row.removed {
				if err := w.Gone(agentOf("crew", i), listed); (err != nil) != (row.want && i >= 9) {
					t.Fatalf("the %dth: %v", i+1, err)
				}
			}
		})
	}
}

// The Agents whose remote agents exist are checked first, as after the restore of a backup, which has the older agents. The snapshot shows
// from the start that most are missing.
func TestAMassDeletionIsDetectedAtTheTenth_InWhateverOrderTheAgentsAreChecked(t *testing.T) {
	for _, row := range []struct {
		name             string
		restarted, reads bool // after a restart; the others are read after the first were missed
	}{{"one process", false, false}, {"a restart", true, false}, {"the others are read later", false, true}} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			const there, all = 25, 60
			ids, recorded := w.crew(all), map[types.UID]string{}
			for i, id := range ids {
				recorded[uid("crew", i)] = id
				if i >= there {
					w.cloud.Remove(id)
				}
			}
			if row.restarted {
				w.renew()
				noError(t, w.Verify(t.Context()))
			}
			w.SetRecorded(recorded)
			listed := w.clock.Now()
			w.find("any", listed.Add(-1))
			seenAt := listed
			if row.reads {
				seenAt = listed.Add(time.Second)
			}
			for i, id := range ids[:there] {
				w.SeenAt(uid("crew", i), id, seenAt)
			}
			for i := range 9 {
				noError(t, w.Gone(agentOf("crew", there+i), listed))
			}
			w.refused(w.Gone(agentOf("crew", there+9), listed), v1alpha1.ReasonMassDeletionDetected)
		})
	}
}

// An Agent that was registered just now counts, too.
func TestAMassDeletionOfNewAgentsIsDetectedAtTheTenth(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	for i, id := range w.crew(30) {
		if w.Recorded(uid("new", i), id); i >= 12 {
			w.cloud.Remove(id)
		}
		w.Forget(uid("crew", i))
	}
	listed := w.clock.Now()
	w.find("any", listed.Add(-1))
	for i := range 9 {
		noError(t, w.Gone(agentOf("new", 12+i), listed))
	}
	w.refused(w.Gone(agentOf("new", 21), listed), v1alpha1.ReasonMassDeletionDetected)
}

// Agents that left the project are not counted as missing from it: their remote agents may have been deleted since.
func TestAgentsThatLeftTheProjectAreNotMissing(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	ids, recorded, left := w.crew(60), map[types.UID]string{}, map[types.UID]string{}
	for i, id := range ids {
		recorded[uid("crew", i)] = id
		switch {
		case i >= 30:
			w.cloud.Remove(id)
		case i >= 12:
			left[uid("crew", i)] = id
		default:
			w.cloud.Remove(id)
			left[uid("crew", i)] = id
		}
	}
	w.SetRecorded(recorded)
	w.SetRecorded(left)
	listed := w.clock.Now()
	w.find("any", listed.Add(-1))
	for i := range 12 {
		noError(t, w.Gone(agentOf("crew", i), listed))
	}
}

// Who was missed before a list does not wait for the next one because of those that were missed later.
func TestAMissingAgentWaitsForOneListOnly(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	ids := w.crew(100)
	for _, id := range ids[:20] {
		w.cloud.Remove(id)
	}
	for i := range 9 {
		noError(t, w.Gone(agentOf("crew", i), w.clock.Now()))
	}
	since := w.clock.Now()
	w.refused(w.Gone(agentOf("crew", 9), since), v1alpha1.ReasonProgressing)
	w.clock.Step(time.Second)
	w.find("any", since)
	later := w.clock.Now().Add(time.Second)
	for i := range 9 {
		noError(t, w.Gone(agentOf("crew", 10+i), later))
	}
	w.refused(w.Gone(agentOf("crew", 19), later), v1alpha1.ReasonProgressing)
	noError(t, w.Gone(agentOf("crew", 9), since))
}

// If no list can be read, nothing is registered again on a mere suspicion.
func TestASuspicionWithoutAListRegistersNothing(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	ids := w.crew(20)
	repair := w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: http.StatusInternalServerError})
	for i := range 9 {
		noError(t, w.Gone(agentOf("crew", i), w.clock.Now()))
	}
	since := w.clock.Now()
	w.refused(w.Gone(agentOf("crew", 9), since), v1alpha1.ReasonProgressing)
	_, _, err := w.FindByMachine(t.Context(), "any", since)
	w.refused(err, v1alpha1.ReasonUnavailable)
	w.refused(w.Gone(agentOf("crew", 9), since), v1alpha1.ReasonUnavailable)
	repair()
	w.clock.Step(time.Second)
	w.find("any", since)
	for _, id := range ids[:10] {
		w.cloud.Remove(id)
	}
	noError(t, w.Gone(agentOf("crew", 9), since))
}

// Without a list it is unknown whether the agents of other namespaces still exist. A tenant that deletes
// its own agents must not pause registration for all.
func TestMissingAgents_WithoutAList_AreWeighedByNamespace(t *testing.T) {
	type counts map[string]int
	for _, row := range []struct {
		name   string
		agents counts
		gone   []string // namespaces, one for each loss
		want   bool
	}{
		{"ten of a minority", counts{"a": 20, "b": 80}, times("a", 10), false},
		{"all of a minority", counts{"a": 20, "b": 80}, times("a", 20), false},
		{"ten of a minority, and one of another", counts{"a": 20, "b": 80}, append(times("a", 10), "b"), false},
		{"ten of a minority, and one each of two others", counts{"a": 20, "b": 40, "c": 40}, append(times("a", 10), "b", "c"), false},
		{"ten of one of two halves", counts{"a": 50, "b": 50}, times("a", 10), false},
		{"ten of a majority", counts{"a": 60, "b": 40}, times("a", 10), false},
		{"ten of a majority, and one of another", counts{"a": 60, "b": 40}, append(times("a", 10), "b"), true},
		{"half of all, all of a majority", counts{"a": 60, "b": 2}, times("a", 31), false},
		{"more than half of all, all of a majority", counts{"a": 60, "b": 2}, times("a", 32), true},
		{"ten of each of two minorities", counts{"a": 50, "b": 50, "c": 50}, append(times("a", 10), times("b", 10)...), true},
		{"more than half of small others", counts{"a": 10, "b": 5, "c": 5}, append(times("a", 10), "b", "b", "b", "c", "c", "c"), true},
		{"the only namespace", counts{"a": 100}, times("a", 10), true},
		{"nine of the only namespace", counts{"a": 100}, times("a", 9), false},
		{"nobody was counted yet", nil, times("a", 10), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{NoList: true})
			w.Expect(row.agents)
			missed := w.clock.Now()
			for i, namespace := range row.gone {
				_ = w.Gone(ratelimit.Caller{UID: uid("gone", i), Namespace: namespace}, missed)
			}
			if got := w.Tripped() != nil; got != row.want {
				t.Errorf("the safeguard tripped: %v, want %v", got, row.want)
			}
		})
	}
}

func times(namespace string, n int) []string { return slices.Repeat([]string{namespace}, n) }
