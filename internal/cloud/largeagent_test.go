/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Whoever has an agent's token may fill its members with whatever the API accepts. The agent can be read, and the others of the page, too.
func TestLargeAgent_OfAnyContent_IsRead(t *testing.T) {
	t.Parallel()
	const most = 1 << 20 // bytes of a response
	const size = most * 3 / 4
	numbers, texts := `[`+strings.Repeat("1,", size)+`1]`, `[`+strings.Repeat(`"a",`, size/2)+`"a"]`
	deep := func(depth int) string { return strings.Repeat(`{"a":[`, depth/2) + strings.Repeat("]}", depth/2) }
	for name, row := range map[string]struct {
		members string
		alone   bool // the page is too large for others
	}{
		"metadata of numbers":           {`"metadata":{"a":` + numbers + `}`, true},
		"metadata that is an array":     {`"metadata":` + numbers, true},
		"metadata of keys":              {`"metadata":{` + strings.Repeat(`"a":0,`, size/2) + `"a":0}`, true},
		"metadata of brackets in texts": {`"metadata":["` + strings.Repeat(`]}\"\\`, size/3) + `"]`, true},
		"metadata of spaces":            {`"metadata":{` + strings.Repeat(" ", 2*size) + `}`, true},
		"flags of short texts":          {`"flags":` + texts, true},
		"tags of short texts":           {`"tags":` + texts, true},
		"flags, tags, metadata, config": {
			`"flags":` + texts + `,"tags":` + texts + `,"metadata":` + numbers + `,"rawConfig":"` + strings.Repeat("x", 2*size) + `"`, true,
		},
		"deep metadata":             {`"metadata":` + deep(9_998), false},
		"deeper metadata":           {`"metadata":` + deep(100_000), false},
		"deep flags":                {`"flags":` + deep(100_000), false},
		"a deep member of any name": {`"other":` + deep(100_000), false},
		"flags that are an object":  {`"flags":{"a":1}`, false},
		"flags of numbers":          {`"flags":[1]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			large := `{"id":"` + nilID + `",` + row.members + `,"machineID":"large","type":"fluentbit"}`
			other := `{"id":"` + fleetID + `","machineID":"other","type":"fluentbit","flags":["a"],"metadata":{"a":[{}]},"rawConfig":"<a>"}`
			page, last := `[`+other+`,`+large+`,`+other+`]`, 100
			if row.alone {
				page, last = `[`+large+`]`, 1
			}
			client := newClient(t, serves(t, map[string]string{"/v1/agents/" + nilID: large, "/v1/projects/" + projectID + "/agents": page}), cloud.Config{MaxBody: most})
			got, err := client.Get(t.Context(), nilID)
			if err != nil || got.MachineID != "large" {
				t.Fatalf("read: %v, %.100v", err, got)
			}
			if strings.Contains(row.members, `"flags":`) && (len(got.Flags) == 0 || cmp.Equal(got.Flags, cloud.Texts{"a"})) {
				t.Errorf("it has the flags %.100v, which can be declared", got.Flags)
			}
			if strings.Contains(row.members, `"metadata":`) && (len(got.Metadata) == 0 || got.Metadata[0] == '{' && len(got.Metadata) < 1<<10) {
				t.Errorf("it has the metadata %.100s, which can be declared", got.Metadata)
			}
			listed, err := client.List(t.Context(), projectID, cloud.ListOptions{Last: last})
			if err != nil {
				t.Fatalf("list: %v", err)
			}
			var machines []string
			for _, agent := range listed.Agents {
				if machines = append(machines, agent.MachineID); agent.MachineID == "other" &&
					(string(agent.Metadata) != `{"a":[{}]}` || agent.RawConfig != "<a>" || !cmp.Equal(agent.Flags, cloud.Texts{"a"})) {
					t.Errorf("the other is %+v", agent)
				}
			}
			want := []string{"other", "large", "other"}
			if row.alone {
				want = []string{"large"}
			}
			if diff := cmp.Diff(want, machines); diff != "" {
				t.Errorf("the page (-want +got):\n%s", diff)
			}
			raw, err := client.Fetch(t.Context(), projectID, cloud.ListOptions{Last: last})
			if err != nil {
				t.Fatal(err)
			}
			if digests, err := pageOfDigests(raw); err != nil || len(digests.Agents) != len(want) || digests.Agents[0].MachineID != want[0] {
				t.Errorf("with hashes: %v", err)
			}
		})
	}
}

// Depth without end costs no more than its bytes, and is no list.
func TestList_OnlyBrackets_IsRefused(t *testing.T) {
	url := serves(t, map[string]string{"/v1/projects/" + projectID + "/agents": strings.Repeat("[", 8<<20)})
	client := newClient(t, url, cloud.Config{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := client.List(t.Context(), projectID, cloud.ListOptions{Last: 100})
	runtime.ReadMemStats(&after)
	if e := failure(t, err); e.Reason != cloud.ReasonInvalidResponse {
		t.Errorf("error %v", err)
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 80 {
		t.Errorf("it took %d MiB", took)
	}
}

// serves starts a server with these responses, by path.
func serves(t *testing.T, bodies map[string]string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, bodies[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	return server.URL
}
