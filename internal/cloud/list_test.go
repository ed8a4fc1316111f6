/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

func TestAPageIsTakenWholeOrNotAtAll(t *testing.T) {
	whole := `[{"id":"` + fleetID + `","machineID":"m","type":"fluentbit"}]`
	link := func(value string) http.Header { return http.Header{"Link": {value}} }
	for name, row := range map[string]struct {
		body   string
		header http.Header
		before string // of the page that is asked
		want   string // cursor, when the page is taken
		taken  bool
	}{
		"the last page":                   {whole, nil, "", "", true},
		"an empty page":                   {`[]`, nil, "", "", true},
		"a link to another host":          {whole, link(`<https://evil.test/v1?before=next>; rel="next"`), "", "next", true},
		"null is no empty list":           {`null`, nil, "", "", false},
		"an object":                       {`{"agents":[]}`, nil, "", "", false},
		"an empty body":                   {``, nil, "", "", false},
		"one agent without an ID":         {`[{"id":"` + fleetID + `","machineID":"m","type":"fluentbit"},{"machineID":"m","type":"fluentbit"}]`, nil, "", "", false},
		"other things than agents":        {`[{"id":"` + fleetID + `","name":"fleet-1"}]`, nil, "", "", false},
		"one agent without machine ID":    {`[{"id":"` + fleetID + `","type":"fluentbit"}]`, nil, "", "", false},
		"one agent without a type":        {`[{"id":"` + fleetID + `","machineID":"m"}]`, nil, "", "", false},
		"one agent that is null":          {`[null]`, nil, "", "", false},
		"a next page without a cursor":    {whole, link(`</agents>; rel="next"`), "", "", false},
		"a link that is cut short":        {whole, link(`</agents?before=ne`), "", "", false},
		"a next page that is the same":    {whole, link(`</agents?before=again>; rel="next"`), "again", "", false},
		"a next page that is another one": {whole, link(`</agents?before=next>; rel="next"`), "again", "next", true},
	} {
		t.Run(name, func(t *testing.T) {
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			server.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: 200, Body: row.body, Header: row.header})
			page, err := newClient(t, web.URL, cloud.Config{}).List(t.Context(), projectID, cloud.ListOptions{Before: row.before})
			if !row.taken {
				if failed := failure(t, err); failed.Reason != cloud.ReasonInvalidResponse || page != nil {
					t.Errorf("got %v, %v", page, err)
				}
				return
			}
			if err != nil || page.Before != row.want {
				t.Errorf("got %v, %v, want the cursor %q", page, err, row.want)
			}
		})
	}
}

func TestAServiceWithoutAList(t *testing.T) {
	s := newService(t, cloudtest.Settings{NoList: true})
	_, err := s.client.List(t.Context(), projectID, cloud.ListOptions{})
	if failed := failure(t, err); failed.Status != http.StatusNotFound || failed.API || cloud.IsGone(err) {
		t.Errorf("got %v", err)
	}
}

func TestUpdateNamesItsFields(t *testing.T) {
	s := newService(t, cloudtest.Settings{})
	id := s.register(t, "machine-1").ID
	if err := s.client.Update(t.Context(), id, cloud.Update{Flags: &[]string{}, FleetID: new(fleetID)}); err != nil {
		t.Fatal(err)
	}
	requests := s.Requests()
	if got := string(requests[len(requests)-1].Body); got != `{"fleetID":"`+fleetID+`","flags":[]}` {
		t.Errorf("sent %s", got)
	}
	if got := string(requests[0].Body); !contains(got, `"flags":null`) || contains(got, "metadata", "fleetID", "environmentID") {
		t.Errorf("registered with %s", got)
	}
}
