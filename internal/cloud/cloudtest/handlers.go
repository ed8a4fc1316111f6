/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"cmp"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// shownAgent is an agent with its token as text: cloud.Token never shows it.
type shownAgent struct {
	cloud.Agent
	Token string `json:"token"`
}

func (s *Server) show(r *record) shownAgent {
	shown := shownAgent{Agent: r.clone(), Token: s.settings.shown(r.agent.Token.Reveal(), s.settings.MaskTokens)}
	shown.ID = s.settings.shownID(shown.ID)
	if shown.FleetID != nil {
		shown.FleetID = new(s.settings.shownID(*shown.FleetID))
	}
	return shown
}

func (s *Server) register(c *incoming, who caller) response {
	if who.agent != nil {
		return refuse(http.StatusForbidden, "permission denied")
	}
	f, refusal := readFields(c.body, true)
	if refusal == nil {
		refusal = s.references(who.project, f)
	}
	if refusal != nil {
		return *refusal
	}
	p := who.project
	if taken := p.machines[*f.MachineID]; len(taken) > 0 {
		switch s.settings.UniqueMachineIDs {
		case MachineIDUpsert:
			r := taken[len(taken)-1]
			r.agent.Type = *f.Type
			s.apply(r, f)
			return s.registered(c, r)
		case MachineIDConflict:
			return refuse(http.StatusConflict, "machine ID conflict")
		case MachineIDDouble:
		}
	}
	if quota := s.settings.Quota; quota > 0 && len(p.order) >= quota {
		return reply(http.StatusForbidden, map[string]any{
			"error":      "agents quota exceeded",
			"quotaLimit": quota, "quotaRemaining": 0,
		})
	}
	r := s.store.add(p, cloud.Agent{
		ID: uuid.NewString(), Token: cloud.NewToken(agentToken()),
		MachineID: *f.MachineID, Type: *f.Type,
		Status: "unhealthy", OS: "unknown", Arch: "unknown",
		EnvironmentName: "default", CreatedAt: s.settings.now(),
	}, "")
	s.apply(r, f)
	return s.registered(c, r)
}

func (s *Server) registered(c *incoming, r *record) response {
	c.record.AgentID = r.agent.ID
	return reply(http.StatusCreated, struct {
		ID              string    `json:"id"`
		Token           string    `json:"token"`
		Name            string    `json:"name"`
		CreatedAt       time.Time `json:"createdAt"`
		EnvironmentName string    `json:"environmentName"`
	}{
		s.settings.shownID(r.agent.ID), s.settings.shown(r.agent.Token.Reveal(), s.settings.MaskRegister),
		r.agent.Name, r.agent.CreatedAt, r.agent.EnvironmentName,
	})
}

func (s *Server) read(c *incoming, who caller) response {
	r, refusal := s.find(c.id, who)
	if refusal != nil {
		return *refusal
	}
	return reply(http.StatusOK, s.show(r))
}

func (s *Server) update(c *incoming, who caller) response {
	r, refusal := s.find(c.id, who)
	if refusal != nil {
		return *refusal
	}
	f, refusal := readFields(c.body, false)
	if refusal == nil && s.settings.OnlyAgentPatches && who.agent == nil {
		refusal = agentsOwn(f)
	}
	if refusal == nil {
		refusal = s.references(who.project, f)
	}
	if refusal != nil {
		return *refusal
	}
	s.apply(r, f)
	return response{status: http.StatusNoContent, header: http.Header{}}
}

func (s *Server) delete(c *incoming, who caller) response {
	r, refusal := s.find(c.id, who)
	if refusal != nil {
		return *refusal
	}
	if who.agent != nil {
		return refuse(http.StatusForbidden, "permission denied")
	}
	s.store.remove(r)
	return response{status: http.StatusNoContent, header: http.Header{}}
}

// addMetrics accepts any body: it only records that the agent reports.
func (s *Server) addMetrics(c *incoming, who caller) response {
	r, refusal := s.find(c.id, who)
	if refusal != nil {
		return *refusal
	}
	if who.agent == nil {
		return refuse(http.StatusForbidden, "permission denied")
	}
	now := s.settings.now()
	r.agent.Status = "healthy"
	r.agent.MetricsCount++
	r.agent.FirstMetricsAddedAt = cmp.Or(r.agent.FirstMetricsAddedAt, &now)
	r.agent.LastMetricsAddedAt = &now
	return reply(http.StatusCreated, map[string]int64{"totalInserted": 1})
}

// find returns the agent of the path, if the caller may see it.
func (s *Server) find(id string, who caller) (*record, *response) {
	r, ok := s.store.agents[id]
	switch {
	case ok && r.project == who.project && (who.agent == nil || who.agent == r):
		return r, nil
	case ok && r.project == who.project:
		return nil, new(refuse(http.StatusForbidden, "permission denied"))
	case !ok && s.settings.GoneAfterDelete && s.store.deleted[id] == who.project:
		return nil, new(refuse(http.StatusGone, "agent gone"))
	}
	return nil, new(refuse(http.StatusNotFound, "agent not found"))
}

// references rejects IDs of fleets and environments that the project does not have.
func (s *Server) references(p *project, f fields) *response {
	if known := s.namesOf(p, cloud.Fleets); f.FleetID != nil && len(known) > 0 && nameOf(known, *f.FleetID) == "" {
		return new(refuse(http.StatusNotFound, "fleet not found"))
	}
	if known := s.namesOf(p, cloud.Environments); f.EnvironmentID != nil && len(known) > 0 && nameOf(known, *f.EnvironmentID) == "" {
		return new(refuse(http.StatusNotFound, "environment not found"))
	}
	return nil
}

// agentsOwn rejects the fields that only the agent itself may update.
func agentsOwn(f fields) *response {
	for _, own := range []struct {
		words string
		set   bool
	}{
		{"raw config", f.RawConfig != nil}, {"version", f.Version != nil}, {"edition", f.Edition != nil},
		{"flags", f.Flags != nil}, {"metadata", f.Metadata != nil},
	} {
		if own.set {
			return new(refuse(http.StatusForbidden, "update agent "+own.words+" forbidden"))
		}
	}
	return nil
}

// apply writes the fields that are set. The type and the machine ID of an agent
// never change, even if a Fluent Bit sends them.
func (s *Server) apply(r *record, f fields) {
	a := &r.agent
	for _, field := range []struct {
		into *string
		from *string
	}{
		{&a.Name, f.Name}, {&a.Version, f.Version}, {&a.Edition, f.Edition},
		{&a.RawConfig, f.RawConfig}, {&a.OS, f.OS}, {&a.Arch, f.Arch},
	} {
		if field.from != nil {
			*field.into = *field.from
		}
	}
	if f.FleetID != nil {
		a.FleetID = f.FleetID
	}
	if f.EnvironmentID != nil {
		r.environmentID = *f.EnvironmentID
		a.EnvironmentName = cmp.Or(nameOf(s.namesOf(r.project, cloud.Environments), *f.EnvironmentID), *f.EnvironmentID)
	}
	if f.Flags != nil {
		a.Flags = *f.Flags
	}
	if f.Metadata != nil {
		a.Metadata = f.Metadata
	}
	a.UpdatedAt = s.settings.now()
}
