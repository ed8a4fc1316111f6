/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// mostForgotten bounds how often the one exception of the promise may occur in a run.
const mostForgotten = 3

// said is a log line of the operator that concerns an Agent.
type said struct {
	Msg             string
	Namespace, Name string
}

// forgotten are the Agents that the API server removed during their first registration, in processes that were killed
// before they deleted what they had registered: docs/reliability.md names this exception.
func forgotten(log []byte) sets.Set[types.NamespacedName] {
	all, open := sets.New[types.NamespacedName](), sets.New[types.NamespacedName]()
	for line := range bytes.Lines(log) {
		var s said
		if json.Unmarshal(line, &s) != nil {
			continue
		}
		key := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
		switch s.Msg {
		case "The Agent was removed while it was being registered":
			open.Insert(key)
		case "Deleted", "Orphaned":
			open.Delete(key)
		case "Starting": // The process before was killed.
			all, open = all.Union(open), sets.New[types.NamespacedName]()
		}
	}
	return all.Union(open)
}

// deleteForgotten deletes by hand what forgotten Agents left in the clouds, as a user has to.
func (w *world) deleteForgotten() {
	w.t.Helper()
	log, err := os.ReadFile(filepath.Join(w.logs, "operator.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	all := forgotten(log)
	if len(all) > mostForgotten {
		w.t.Errorf("%d Agents were removed during their first registration and forgotten: %v", len(all), sorted(all))
	}
	for _, p := range w.places {
		a := &account{world: w, place: p}
		if err := a.load(context.Background()); err != nil {
			w.t.Fatal(err)
		}
		recorded := sets.New[string]()
		for _, agent := range a.agents {
			recorded.Insert(agent.Status.ID)
		}
		for id, remote := range a.remote {
			for _, namespace := range p.namespaces() {
				if key := (types.NamespacedName{Namespace: namespace, Name: remote.Name}); all.Has(key) && !recorded.Has(id) {
					w.t.Logf("Agent %s was removed during its first registration, and the operator was killed: %s is deleted by hand", key, id)
					p.cloud.Remove(id)
				}
			}
		}
	}
}

func TestForgotten_OnlyWithoutADeletionByTheSameProcess(t *testing.T) {
	const (
		start   = `{"msg":"Starting","version":"v1"}` + "\n"
		removed = `{"msg":"The Agent was removed while it was being registered","namespace":"a","name":"web"}` + "\n"
		deleted = `{"msg":"Deleted","namespace":"a","name":"web"}` + "\n"
		other   = `{"msg":"Deleted","namespace":"b","name":"web"}` + "\n"
	)
	for _, row := range []struct {
		name, log string
		want      int
	}{
		{"nothing", start + deleted, 0},
		{"deleted by the same process", start + removed + deleted, 0},
		{"killed before", start + removed + start + deleted, 1},
		{"killed at last", start + removed + other, 1},
	} {
		if got := forgotten([]byte(row.log)); len(got) != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}
