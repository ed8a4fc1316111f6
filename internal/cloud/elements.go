/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
)

// mostListed bounds what is kept of one page: as many documented agents as fit into a response. Millions of tiny elements would take
// many times their bytes.
const mostListed = 25_000

var errTooMany = errors.New("a page of the list has more than 25,000 elements")

// each calls read with a decoder before each element of a JSON array, and with what is left of the array. It ends at the first
// error: else millions of elements like {} would take a hundred times the memory of their bytes.
func each(raw []byte, read func(decoder *json.Decoder) error) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if open, err := decoder.Token(); err != nil || open != json.Delim('[') {
		return errNotAPI
	}
	for decoder.More() {
		if err := read(decoder); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return errNotAPI
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errNotAPI
	}
	return nil
}

// agentsOf reads the agents of a page. W is how an agent is usually written; agent reads it, or one that is written
// otherwise from its bytes. visit takes it. From an agent that is too deep on, the page is read without what is too deep.
func agentsOf[W any](raw []byte, usual func(*W) Agent, other func(*Agent), visit func(*Agent) error) error {
	visited, before := 0, 0
	read := func(decoder *json.Decoder) error {
		var wire W
		var agent Agent
		from := decoder.InputOffset()
		if err := decoder.Decode(&wire); err == nil {
			agent = usual(&wire)
		} else {
			if isSyntax(err) {
				return err
			}
			if json.Unmarshal(bytes.TrimLeft(raw[from:decoder.InputOffset()], ", \t\r\n"), &agent) != nil {
				return errNotAPI
			}
			other(&agent)
		}
		if err := agent.complete(); err != nil {
			return err
		}
		if visited++; visited <= before {
			return nil
		}
		return visit(&agent)
	}
	err := each(raw, read)
	if isSyntax(err) {
		raw, before, visited = shallow(raw), visited, 0
		err = each(raw, read)
	}
	if isSyntax(err) {
		return errNotAPI
	}
	return err
}

// isSyntax reports whether a text is not JSON, or is too deep for encoding/json.
func isSyntax(err error) bool {
	_, ok := errors.AsType[*json.SyntaxError](err)
	return ok
}

// readAgent reads an agent, or what is left of it without what is too deep.
func readAgent(raw []byte, agent *Agent) error {
	err := json.Unmarshal(raw, agent)
	if isSyntax(err) {
		err = json.Unmarshal(shallow(raw), agent)
	}
	return err
}

// UnmarshalJSON reads the agents of a page, each as an Agent is read.
func (p *Page) UnmarshalJSON(raw []byte) error {
	page, err := whole(raw)
	p.Agents = page.Agents
	return err
}

// whole reads a page, each agent as an Agent is read.
func whole(raw []byte) (Page, error) {
	page := Page{Agents: []Agent{}}
	err := agentsOf(raw, (*strictAgent).agent, func(*Agent) {}, func(agent *Agent) error {
		if len(page.Agents) == mostListed {
			return errTooMany
		}
		page.Agents = append(page.Agents, *agent)
		return nil
	})
	return page, err
}

// digested is an agent with a hash in place of its configuration.
type digested struct {
	strictAgent
	RawConfig hashed `json:"rawConfig"`
}

// digests reads a page with hashes in place of configurations.
func digests(raw []byte, visit func(*Agent) error) error {
	return agentsOf(raw, func(wire *digested) Agent {
		agent := wire.agent()
		agent.RawConfigHash = cmp.Or(string(wire.RawConfig), hashOfNone)
		return agent
	}, func(agent *Agent) {
		agent.RawConfig, agent.RawConfigHash = "", Hash(agent.RawConfig)
	}, visit)
}

var hashOfNone = Hash("")
