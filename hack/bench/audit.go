/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// auditLog reads what the API server notes of each request. It is read between the phases, not during them.
type auditLog struct {
	file   *os.File
	reader *bufio.Reader
	rest   []byte // a line that is not complete yet
}

// request is one that got a response. Watches are left out: their number depends on how often they are cut.
type request struct {
	At        time.Time
	Agent     string // user agent, without its version
	Verb      string
	Resource  string // with the subresource, as in agents/status
	Namespace string
	Name      string
	Code      int
}

func openAudit(path string) (*auditLog, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &auditLog{file: file, reader: bufio.NewReaderSize(file, 1<<20)}, nil
}

func (a *auditLog) close() error {
	if a == nil {
		return nil
	}
	return a.file.Close()
}

// line holds the fields in use of one audit event of the API server.
type line struct {
	Stage          string
	Verb           string
	UserAgent      string
	RequestURI     string
	StageTimestamp time.Time
	ObjectRef      struct{ Resource, Subresource, Namespace, Name string }
	ResponseStatus struct{ Code int }
}

func (a *auditLog) each(f func(*line)) error {
	for {
		part, err := a.reader.ReadBytes('\n')
		a.rest = append(a.rest, part...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var l line
		if err := json.Unmarshal(a.rest, &l); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		a.rest = a.rest[:0]
		f(&l)
	}
}

func (l *line) request() (request, bool) {
	switch l.Verb {
	case "create", "update", "patch", "delete", "deletecollection", "get", "list":
	default:
		return request{}, false
	}
	if l.Stage != "ResponseComplete" {
		return request{}, false
	}
	agent, _, _ := strings.Cut(l.UserAgent, "/")
	resource := l.ObjectRef.Resource
	if l.ObjectRef.Subresource != "" {
		resource += "/" + l.ObjectRef.Subresource
	}
	return request{
		At: l.StageTimestamp, Agent: agent, Verb: l.Verb, Resource: resource,
		Namespace: l.ObjectRef.Namespace, Name: l.ObjectRef.Name, Code: l.ResponseStatus.Code,
	}, true
}

// fence reads on until its own request is in the log, so that all earlier requests are there, too.
func (s *stage) fence(ctx context.Context) (requests []request, err error) {
	s.fences++
	mark := fmt.Sprintf("/healthz?fence=%d", s.fences)
	if err := s.api.Get().AbsPath("/healthz").Param("fence", fmt.Sprint(s.fences)).Do(ctx).Error(); err != nil {
		return nil, err
	}
	found := false
	err = poll(ctx, time.Minute, "the API server's audit log reaches "+mark, func() (bool, error) {
		err := s.audit.each(func(l *line) {
			found = found || l.RequestURI == mark
			if r, ok := l.request(); ok {
				requests = append(requests, r)
			}
		})
		return found, err
	})
	return requests, err
}

// tally counts the requests of one user agent.
type tally struct {
	// Reads that bypassed the cache, by verb and resource.
	Reads map[string]int
	// Writes that were accepted, by verb and resource. Deletes of objects that did not exist count, too.
	Writes map[string]int
	// Objects is their sum.
	Objects int
	// EventsOf counts the writes of events by the name of their object.
	EventsOf map[string]int
	// Events is their sum. Conflicts are writes that the API server refused with 409, Refused all other refusals.
	Events, Conflicts, Refused int
}

// everybody selects all user agents.
const everybody = ""

func count(requests []request, agent string) tally {
	t := tally{Reads: map[string]int{}, Writes: map[string]int{}, EventsOf: map[string]int{}}
	for _, w := range requests {
		switch {
		case agent != everybody && w.Agent != agent:
		case w.Verb == "get" || w.Verb == "list":
			t.Reads[w.Verb+" "+w.Resource]++
		case w.Resource == "events":
			about := w.Name
			if dot := strings.LastIndexByte(about, '.'); dot >= 0 { // The rest of the event name is generated.
				about = about[:dot]
			}
			t.EventsOf[about]++
			t.Events++
		case w.Code == http.StatusConflict:
			t.Conflicts++
		case w.Code >= http.StatusBadRequest:
			t.Refused++
		default:
			t.Writes[w.Verb+" "+w.Resource]++
			t.Objects++
		}
	}
	return t
}

// reads is the sum of Reads.
func (t *tally) reads() (sum int) {
	for _, n := range t.Reads {
		sum += n
	}
	return sum
}
