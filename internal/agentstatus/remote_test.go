/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentstatus

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

const fleetA = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"

func TestRemoteStatusIsWhatTheServiceSays(t *testing.T) {
	created, updated := noon.Add(-time.Hour), noon.Add(123456789*time.Nanosecond)
	remote := &cloud.Agent{
		ID: "id", Name: "web-logs", MachineID: "machine", Type: "fluentbit", Version: "v4.0.0", Edition: "community",
		FleetID: ptr.To(fleetA), EnvironmentName: "Staging",
		Status: "healthy", OS: "linux", Arch: "x86_64", Tags: []string{"one", "two"},
		MetricsCount: 42, CreatedAt: created, UpdatedAt: updated, FirstMetricsAddedAt: &created, LastMetricsAddedAt: &updated,
	}
	second := func(t time.Time) *metav1.Time { return &metav1.Time{Time: t.Truncate(time.Second)} }
	want := &v1alpha1.RemoteAgent{
		Name: "web-logs", Version: "v4.0.0", Status: "healthy", OS: "linux", Arch: "x86_64", Tags: []string{"one", "two"},
		EnvironmentName: "Staging", FleetID: fleetA, MetricsCount: 42,
		FirstMetricsAddedAt: second(created), LastMetricsAddedAt: second(updated), CreatedAt: second(created), UpdatedAt: second(updated),
	}
	if diff := cmp.Diff(want, Remote(remote, nil)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(&v1alpha1.RemoteAgent{}, Remote(&cloud.Agent{}, nil)); diff != "" {
		t.Errorf("of nothing, -want +got:\n%s", diff)
	}
}

func TestRemoteStatusIsBounded(t *testing.T) {
	huge := strings.Repeat("\x00✓\n", 1<<16)
	tags := make([]string, 10000)
	for i := range tags {
		tags[i] = huge
	}
	got := Remote(&cloud.Agent{
		Name: huge, Version: huge, Status: huge, OS: huge, Arch: huge, EnvironmentName: huge, FleetID: &huge, Tags: tags,
		MetricsCount: 1 << 62,
	}, nil)
	if len(got.Tags) != 64 {
		t.Errorf("%d tags", len(got.Tags))
	}
	raw, err := json.Marshal(got)
	if err != nil || len(raw) > 64<<10 || strings.ContainsAny(string(raw), "\x00\n") {
		t.Errorf("%d bytes, error %v", len(raw), err)
	}
}

func TestTimesHaveThePrecisionOfTheAPIServer(t *testing.T) {
	zone := time.FixedZone("east", 3600)
	for _, row := range []struct {
		name string
		at   *time.Time
		want *metav1.Time
	}{
		{"none", nil, nil},
		{"the zero time is none", &time.Time{}, nil},
		{"fractions are dropped", ptr.To(noon.Add(999 * time.Millisecond)), &metav1.Time{Time: noon}},
		{"zones do not count", ptr.To(noon.In(zone)), &metav1.Time{Time: noon}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := timestamp(row.at)
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Fatalf("-want +got:\n%s", diff)
			}
			raw, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			var back *metav1.Time
			if err := json.Unmarshal(raw, &back); err != nil || !back.Equal(got) {
				t.Errorf("the API server gives back %v, error %v", back, err)
			}
		})
	}
}

func TestRegisteredStatusIsWhatIsKnownWithoutARead(t *testing.T) {
	sent := cloud.Registration{Name: "web-logs", Version: "v4.0.0", FleetID: fleetA}
	made := &cloud.Registered{ID: "id", Token: cloud.NewToken("secret"), CreatedAt: noon, EnvironmentName: "Staging"}
	want := &v1alpha1.RemoteAgent{
		Name: "web-logs", Version: "v4.0.0", FleetID: fleetA, EnvironmentName: "Staging", CreatedAt: &metav1.Time{Time: noon},
	}
	if diff := cmp.Diff(want, Registered(made, sent, nil)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNumbersThatAlwaysChangeAreWrittenNowAndThen(t *testing.T) {
	before := v1alpha1.RemoteAgent{
		Status: "healthy", MetricsCount: 1, LastMetricsAddedAt: &metav1.Time{Time: noon.Add(-time.Hour)}, UpdatedAt: &metav1.Time{Time: noon.Add(-time.Hour)},
	}
	after := v1alpha1.RemoteAgent{
		Status: "healthy", MetricsCount: 2, LastMetricsAddedAt: &metav1.Time{Time: noon}, UpdatedAt: &metav1.Time{Time: noon},
	}
	unhealthy := after
	unhealthy.Status = "unhealthy"
	for _, row := range []struct {
		name          string
		before, after *v1alpha1.RemoteAgent
		want          *v1alpha1.RemoteAgent
	}{
		{"numbers alone", &before, &after, &before},
		{"with what else changed", &before, &unhealthy, &unhealthy},
		{"what appears is written at once", nil, &after, &after},
		{"a reference that was removed stays removed", &before, nil, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := v1alpha1.AgentStatus{Agent: row.before.DeepCopy()}
			after := v1alpha1.AgentStatus{Agent: row.after.DeepCopy()}
			DelayVolatile(&before, &after)
			if diff := cmp.Diff(row.want, after.Agent); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A changed version of a Secret waits for the next write; a version that became invalid does not.
func TestVersionsOfSecretsAreWrittenWithSomethingElse(t *testing.T) {
	for _, row := range []struct {
		name, before, after string
		more                bool // something else changed
		want                string
	}{
		{"touched", "7", "8", false, "7"},
		{"touched, and something else changed", "7", "8", true, "8"},
		{"found right for the first time", "", "8", false, "8"},
		{"no longer right", "7", "", false, ""},
	} {
		for _, session := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, session %v", row.name, session), func(t *testing.T) {
				version := func(a *v1alpha1.Agent) *string {
					if session {
						return &a.Status.Applied.SessionSecretResourceVersion
					}
					return &a.Status.Applied.TokenSecretResourceVersion
				}
				before := agentOf(func(a *v1alpha1.Agent) { *version(a) = row.before })
				after := before.DeepCopy()
				*version(after) = row.after
				if row.more {
					after.Status.ObservedGeneration = 77
				}
				DelayVolatile(&before.Status, &after.Status)
				if got := *version(after); got != row.want {
					t.Errorf("%q is written, want %q", got, row.want)
				}
			})
		}
	}
}

func TestTimesThatTheStatusCannotHaveAreLeftOut(t *testing.T) {
	zone := time.FixedZone("", -3600)
	for _, row := range []struct {
		at   time.Time
		want bool
	}{
		{noon, true}, {time.Time{}, false},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), true}, {time.Date(9999, 12, 31, 23, 59, 59, 0, zone), false},
	} {
		if got := timestamp(&row.at); (got != nil) != row.want {
			t.Errorf("%s becomes %v", row.at, got)
		}
	}
}
