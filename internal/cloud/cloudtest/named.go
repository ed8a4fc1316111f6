/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// items names what a list route lists, as its path does.
func (r Route) items() string {
	if r == RouteList {
		return "agents"
	}
	return string(r)
}

// AddNamed makes a fleet or environment of a project, and returns its ID.
func (s *Server) AddNamed(projectID string, kind cloud.NamedKind, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.store.project(projectID, s.settings.now())
	id := uuid.NewString()
	p.named[kind] = append(p.named[kind], cloud.Named{ID: id, Name: name})
	return id
}

// RenameNamed renames a fleet or environment of a project. Agents show the new name of their environment.
func (s *Server) RenameNamed(projectID string, kind cloud.NamedKind, id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.store.project(projectID, s.settings.now())
	for i := range p.named[kind] {
		if p.named[kind][i].ID == id {
			p.named[kind][i].Name = name
		}
	}
	for _, r := range p.order {
		if kind == cloud.Environments && r.environmentID == id {
			r.agent.EnvironmentName = name
		}
	}
}

// RemoveNamed deletes a fleet or environment of a project.
func (s *Server) RemoveNamed(projectID string, kind cloud.NamedKind, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.store.project(projectID, s.settings.now())
	p.named[kind] = slices.DeleteFunc(p.named[kind], func(n cloud.Named) bool { return n.ID == id })
}

// namesOf are the fleets or environments that a project has, oldest first.
func (s *Server) namesOf(p *project, kind cloud.NamedKind) []cloud.Named {
	everywhere := s.settings.Fleets
	if kind == cloud.Environments {
		everywhere = s.settings.Environments
	}
	var all []cloud.Named
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(everywhere))) {
		all = append(all, cloud.Named{ID: id, Name: everywhere[id]})
	}
	return append(all, p.named[kind]...)
}

// nameOf is the name of the thing with an ID; empty if there is none.
func nameOf(known []cloud.Named, id string) string {
	for _, n := range known {
		if n.ID == id {
			return cmp.Or(n.Name, id)
		}
	}
	return ""
}

// shownNamed has more than the client reads, as the API does.
type shownNamed struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	AgentsCount *int      `json:"agentsCount,omitempty"` // of fleets
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
}

// named lists fleets or environments, newest first.
func (s *Server) named(c *incoming, who caller) response {
	if who.agent != nil || who.project.id != c.id {
		return refuse(http.StatusForbidden, "permission denied")
	}
	kind := cloud.NamedKind(c.route.items())
	known, end := s.namesOf(who.project, kind), 0
	size := cmp.Or(max(s.settings.PageSize, 0), defaultPageSize)
	if asked, err := strconv.Atoi(c.query.Get("last")); err == nil && asked > 0 {
		size = min(size, asked)
	}
	end = len(known)
	if before := c.query.Get("before"); before != "" {
		seq, ok := readCursor(before)
		if !ok || seq > uint64(len(known)) {
			return refuse(http.StatusUnprocessableEntity, "invalid before")
		}
		end = int(seq)
	}
	page, header, oldest := []shownNamed{}, http.Header{}, 0
	for i := end - 1; i >= 0; i-- {
		if wanted := c.query.Get("name"); wanted != "" && wanted != known[i].Name {
			continue
		}
		if len(page) == size {
			header.Set("Link", nextLink(c, uint64(oldest)))
			break
		}
		page, oldest = append(page, s.showNamed(who.project, kind, known[i])), i
	}
	a := reply(http.StatusOK, page)
	maps.Copy(a.header, header)
	return a
}

func (s *Server) showNamed(p *project, kind cloud.NamedKind, n cloud.Named) shownNamed {
	shown := shownNamed{ID: n.ID, Name: n.Name, CreatedAt: p.createdAt, UpdatedAt: p.createdAt}
	if kind != cloud.Fleets {
		return shown
	}
	count := 0
	for _, r := range p.order {
		if r.agent.FleetID != nil && *r.agent.FleetID == n.ID {
			count++
		}
	}
	shown.ID, shown.AgentsCount = s.settings.shownID(n.ID), &count
	return shown
}
