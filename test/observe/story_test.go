/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// journal is the log of the operator at its default level, as JSON lines.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// kept has the operators of a World write to a journal, in the format of the real one.
func kept(j *journal) harness.Option {
	return func(w *harness.World, _ *v1alpha1.CloudProject) { w.Logger = zap.New(zap.WriteTo(j)) }
}

// ids are the parts that differ from run to run.
var ids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// lines are the log lines about an object: level, message, and the sentence for users.
func (j *journal) lines(t testing.TB, kind, name string) (all []string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range bytes.Lines(j.text.Bytes()) {
		var entry map[string]any
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		object, _ := entry[kind].(map[string]any)
		if whose := entry["controllerKind"]; object["name"] == name || entry["name"] == name && (whose == kind || whose == nil) {
			var text []string
			for _, key := range []string{"level", "msg", "reason", "message"} {
				if part, _ := entry[key].(string); part != "" {
					text = append(text, part)
				}
			}
			all = append(all, ids.ReplaceAllString(strings.Join(text, " | "), "ID"))
		}
	}
	return all
}

// recorded are the events of an Agent in the order in which they were created, each with its count if that is more
// than one.
func recorded(w *harness.World, name string) (all []string) {
	w.Helper()
	var list eventsv1.EventList
	if err := w.Client.List(context.Background(), &list, client.InNamespace(w.Namespace)); err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b eventsv1.Event) int {
		return cmp.Or(a.EventTime.Compare(b.EventTime.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, e := range list.Items {
		if e.Regarding.Kind != "Agent" || e.Regarding.Name != name {
			continue
		}
		text := e.Type + " " + e.Reason + ": " + ids.ReplaceAllString(e.Note, "ID")
		if e.Series != nil {
			text += fmt.Sprintf(" (%d times)", e.Series.Count)
		}
		all = append(all, text)
	}
	return all
}

// syncs triggers a number of syncs of the Agent with nothing changed in between.
func syncs(w *harness.World, name string) {
	w.Helper()
	for range 3 {
		w.Poke(name)
		w.Eventually("the Agent is synced", func() error {
			a := w.Get(name)
			if a.Status.LastHandledReconcileAt != a.Annotations[v1alpha1.AnnotationReconcileAt] {
				return fmt.Errorf("conditions are %s", harness.Describe(a))
			}
			return nil
		})
	}
}

// remotely changes the only remote agent externally and requests a sync.
func remotely(w *harness.World, change func(*cloud.Agent)) {
	w.Helper()
	w.Cloud.Mutate(w.Remote()[0].ID, change)
	syncs(w, "web")
}

const (
	registered = "Normal Registered: *ID"
	deleted    = "Normal Deleted: *ID"
)

func renamed(name string) func(*cloud.Agent) { return func(a *cloud.Agent) { a.Name = name } }

func gone(w *harness.World) {
	w.Helper()
	w.Delete("web")
	w.Gone("web")
}

// stories are lives of the Agent "web", each with the events that are recorded, which are also the messages of the log
// in the same order. Between any two changes the operator syncs an unchanged Agent three times.
var stories = []struct {
	name   string
	live   func(*harness.World)
	events []string
	// extra are log lines without an event, by the index of the line that they precede.
	extra map[int]string
}{
	{"registered, synced and deleted", func(w *harness.World) {
		w.Ready(w.Apply("web"))
		syncs(w, "web")
		gone(w)
	}, []string{registered, deleted}, nil},
	{"updated", func(w *harness.World) {
		w.Ready(w.Apply("web"))
		w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version, a.Spec.RawConfig = "v4.1.0", "[INPUT]\n    name cpu\n" })
		w.Ready("web")
		syncs(w, "web")
	}, []string{registered, "Normal Updated: *rawConfig, version"}, nil},
	{"drift that is corrected", func(w *harness.World) {
		w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Name = "web" }))
		remotely(w, renamed("other"))
	}, []string{registered, "Normal DriftCorrected: *name"}, nil},
	{"drift that is only reported", func(w *harness.World) {
		w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Name, a.Spec.SyncPolicy = "web", v1alpha1.SyncOnChange }))
		remotely(w, renamed("other"))
		remotely(w, func(a *cloud.Agent) { a.Version = "v9.0.0" })
	}, []string{
		registered,
		"Normal Drifted: *name*",
		"Normal Drifted: *name, version*",
	}, nil},
	{"deleted by somebody else, and registered again", func(w *harness.World) {
		before := w.Ready(w.Apply("web")).Status.ID
		w.Cloud.Remove(before)
		w.Poke("web")
		w.Eventually("another remote agent", func() error {
			if id := w.Ready("web").Status.ID; id == before {
				return fmt.Errorf("it is still %s", id)
			}
			return nil
		})
		syncs(w, "web")
	}, []string{registered, "Warning Reregistered: *ID"}, nil},
	{"adopted, and left when deleted", func(w *harness.World) {
		id := w.Ready(w.Apply("former", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })).Status.ID
		w.Delete("former")
		w.Gone("former")
		w.Ready(w.Apply("web", func(a *v1alpha1.Agent) {
			a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: id}
		}))
		syncs(w, "web")
		gone(w)
	}, []string{
		"Normal Adopted: *ID",
		"Normal Retained: * ID *",
	}, nil},
	{"orphaned", func(w *harness.World) {
		w.Ready(w.Apply("web"))
		w.Change("web", func(a *v1alpha1.Agent) {
			metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationOrphan, "true")
		})
		gone(w)
	}, []string{registered, "Warning Orphaned: * ID *"}, nil},
	{"gone before it was deleted", func(w *harness.World) {
		w.Cloud.Remove(w.Ready(w.Apply("web")).Status.ID)
		gone(w)
	}, []string{registered, "Normal Deleted: * ID *"}, nil},
	{"refused by Calyptia Cloud, then corrected", func(w *harness.World) {
		free := w.Cloud.Inject(cloudtest.Fault{
			Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusBadRequest, Body: `{"error":"unsupported agent version"}`,
		})
		w.Stalled(w.Apply("web"), v1alpha1.ReasonInvalid)
		syncs(w, "web")
		free()
		w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
		w.Ready("web")
		syncs(w, "web")
	}, []string{"Warning Invalid: *400*unsupported agent version*spec.version*", registered}, nil},
	{"refused by the operator", func(w *harness.World) {
		w.SetSecret("web-token", map[string]string{"somebody": "else's"})
		w.Stalled(w.Apply("web"), v1alpha1.ReasonSecretConflict)
		syncs(w, "web")
	}, []string{"Warning SecretConflict: *web-token*spec.tokenSecretRef*"}, nil},
	{"a response that was lost", func(w *harness.World) {
		w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Cut: cloudtest.CutAfter, Times: 1})
		w.Ready(w.Apply("web"))
		syncs(w, "web")
	}, []string{"Normal Recovered: * ID*"}, map[int]string{0: "info | Not reconciled yet | RegistrationOutcomeUnknown | *"}},
}

func TestEachChangeIsRecordedOnceAndNothingElse(t *testing.T) {
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			t.Parallel()
			j := &journal{}
			w := harness.New(t, cloudtest.Settings{}, kept(j))
			story.live(w)
			expected := func() error {
				if diff := gocmp.Diff(story.events, recorded(w, "web"), gocmp.Comparer(like)); diff != "" {
					return fmt.Errorf("(-want +got):\n%s", diff)
				}
				return nil
			}
			w.Eventually("the events are as expected", expected) // They are sent asynchronously, and an exit loses them.
			w.Restart()                                          // A new process does not record old changes again.
			w.Ready(w.Apply("last"))
			w.Events("last", 1)
			w.Stop()
			if err := expected(); err != nil {
				t.Errorf("events after a restart: %v", err)
			}
			var want []string
			for i, event := range story.events {
				if line, more := story.extra[i]; more {
					want = append(want, line)
				}
				want = append(want, asLine(event))
			}
			if diff := gocmp.Diff(want, j.lines(t, "Agent", "web"), gocmp.Comparer(like)); diff != "" {
				t.Errorf("lines of the log (-want +got):\n%s", diff)
			}
		})
	}
}

// asLine is an event in the format of the log.
func asLine(event string) string {
	kind, text, _ := strings.Cut(event, " ")
	reason, note, _ := strings.Cut(text, ": ")
	if kind == "Warning" && v1alpha1.IsReason(reason) {
		return "info | Not reconciled yet | " + reason + " | " + note
	}
	return "info | " + reason + " | " + note
}

// like compares lines; a star in one of them matches anything.
func like(a, b string) bool {
	matches := func(pattern, line string) bool {
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(line)
	}
	return matches(a, b) || matches(b, a)
}

// One log line for all Agents: an outage belongs to the CloudProject.
func TestAnOutageIsRecordedOnceForAllAgents(t *testing.T) {
	t.Parallel()
	j := &journal{}
	w := harness.New(t, cloudtest.Settings{}, kept(j))
	names := []string{"one", "two", "three"}
	for _, name := range names {
		w.Ready(w.Apply(name))
	}
	ready := func(want metav1.ConditionStatus) {
		t.Helper()
		w.ProjectBecomes(want, "")
	}
	ready(metav1.ConditionTrue)
	up := w.Cloud.Inject(cloudtest.Fault{Status: http.StatusBadGateway, Body: "<html>"})
	for _, name := range names {
		w.Poke(name)
	}
	ready(metav1.ConditionFalse)
	up()
	ready(metav1.ConditionTrue)
	for _, name := range names {
		syncs(w, name)
	}
	w.Stop()
	for _, name := range names {
		if diff := gocmp.Diff([]string{asLine(registered)}, j.lines(t, "Agent", name), gocmp.Comparer(like)); diff != "" {
			t.Errorf("lines of the log (-want +got):\n%s", diff)
		}
	}
	const good = "info | Ready changed | CredentialsVerified | *"
	want := []string{good, "info | Ready changed | Unavailable | *", good}
	if diff := gocmp.Diff(want, j.lines(t, "CloudProject", "calyptia"), gocmp.Comparer(like)); diff != "" {
		t.Errorf("lines of the CloudProject (-want +got):\n%s", diff)
	}
}
