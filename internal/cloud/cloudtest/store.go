/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// record is a stored agent.
type record struct {
	agent         cloud.Agent
	environmentID string
	seq           uint64 // order of creation; cursors refer to it
	project       *project
}

// project has its agents by age, so that a page is found by bisection.
type project struct {
	id        string
	createdAt time.Time
	order     []*record
	machines  map[string][]*record
	named     map[cloud.NamedKind][]cloud.Named // oldest first
}

// store is the state of the server, whose lock guards it.
type store struct {
	projects map[string]*project
	tokens   map[string]*project
	agents   map[string]*record
	byToken  map[string]*record
	deleted  map[string]*project // project of each deleted ID, for 410
	seq      uint64
}

func newStore() store {
	return store{
		projects: map[string]*project{}, tokens: map[string]*project{},
		agents: map[string]*record{}, byToken: map[string]*record{}, deleted: map[string]*project{},
	}
}

func (s *store) project(id string, now time.Time) *project {
	id = cloud.NormalID(id)
	p, ok := s.projects[id]
	if !ok {
		p = &project{id: id, createdAt: now, machines: map[string][]*record{}, named: map[cloud.NamedKind][]cloud.Named{}}
		s.projects[id] = p
	}
	return p
}

func (s *store) add(p *project, agent cloud.Agent, environmentID string) *record {
	s.seq++
	r := &record{agent: agent, environmentID: environmentID, seq: s.seq, project: p}
	p.order = append(p.order, r)
	p.machines[agent.MachineID] = append(p.machines[agent.MachineID], r)
	s.agents[agent.ID] = r
	s.byToken[agent.Token.Reveal()] = r
	return r
}

func (s *store) remove(r *record) {
	p, machine := r.project, r.agent.MachineID
	if i, found := p.find(r.seq); found {
		p.order = slices.Delete(p.order, i, i+1)
	}
	p.machines[machine] = slices.DeleteFunc(p.machines[machine], func(other *record) bool { return other == r })
	if len(p.machines[machine]) == 0 {
		delete(p.machines, machine)
	}
	delete(s.agents, r.agent.ID)
	delete(s.byToken, r.agent.Token.Reveal())
	s.deleted[r.agent.ID] = p
}

// change applies f and updates the indexes. The ID stays.
func (s *store) change(r *record, f func(*cloud.Agent)) {
	id, token, machine := r.agent.ID, r.agent.Token.Reveal(), r.agent.MachineID
	f(&r.agent)
	r.agent.ID = id
	if now := r.agent.Token.Reveal(); now != token {
		delete(s.byToken, token)
		s.byToken[now] = r
	}
	if now := r.agent.MachineID; now != machine {
		p := r.project
		p.machines[machine] = slices.DeleteFunc(p.machines[machine], func(other *record) bool { return other == r })
		p.machines[now] = append(p.machines[now], r)
	}
}

// find returns the index of the first agent that is not older than seq.
func (p *project) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(p.order, seq, func(r *record, seq uint64) int {
		switch {
		case r.seq < seq:
			return -1
		case r.seq > seq:
			return 1
		}
		return 0
	})
}

// clone returns a copy that shares nothing with the store.
func (r *record) clone() cloud.Agent {
	a := r.agent
	a.FleetID = clonePointer(a.FleetID)
	a.FirstMetricsAddedAt, a.LastMetricsAddedAt = clonePointer(a.FirstMetricsAddedAt), clonePointer(a.LastMetricsAddedAt)
	a.Flags, a.Tags, a.Metadata = slices.Clone(a.Flags), slices.Clone(a.Tags), slices.Clone(a.Metadata)
	return a
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// projectToken returns a token of the documented form.
func projectToken(projectID string) string {
	claims, _ := json.Marshal(map[string]string{"ProjectID": projectID})
	return base64.RawURLEncoding.EncodeToString(claims) + "." + signature()
}

// agentToken returns an opaque token.
func agentToken() string {
	return base64.RawURLEncoding.EncodeToString([]byte(uuid.NewString())) + "." + signature()
}

func signature() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}
