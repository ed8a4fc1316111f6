/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// list returns a page, newest first, and the next page's cursor if there are more agents that match the filters.
func (s *Server) list(c *incoming, who caller) response {
	switch {
	case who.agent == nil && who.project.id == c.id:
	case who.agent == nil && s.settings.EmptyForOthers:
		return reply(http.StatusOK, []shownAgent{})
	default:
		return refuse(http.StatusForbidden, "permission denied")
	}
	size := s.settings.PageSize
	if size <= 0 {
		size = defaultPageSize
	}
	if last := c.query.Get("last"); last != "" {
		asked, err := strconv.Atoi(last)
		if err != nil || asked <= 0 {
			return refuse(http.StatusUnprocessableEntity, "invalid last")
		}
		size = min(size, asked)
	}
	end := len(who.project.order)
	if before := c.query.Get("before"); before != "" {
		seq, ok := readCursor(before)
		if !ok {
			return refuse(http.StatusUnprocessableEntity, "invalid before")
		}
		end, _ = who.project.find(seq)
	}
	page := make([]shownAgent, 0, min(size, end))
	header := http.Header{}
	var oldest uint64
	for i := end - 1; i >= 0; i-- {
		r := who.project.order[i]
		if !r.matches(c.query) {
			continue
		}
		if len(page) == size {
			header.Set("Link", nextLink(c, oldest))
			break
		}
		page, oldest = append(page, s.show(r)), r.seq
	}
	a := reply(http.StatusOK, page)
	for name, values := range header {
		a.header[name] = values
	}
	return a
}

func (r *record) matches(query url.Values) bool {
	name, fleet, environment := query.Get("name"), query.Get("fleet_id"), query.Get("environment_id")
	return (name == "" || name == r.agent.Name) &&
		(fleet == "" || (r.agent.FleetID != nil && *r.agent.FleetID == fleet)) &&
		(environment == "" || environment == r.environmentID)
}

// nextLink keeps the query's filters, as the API does.
func nextLink(c *incoming, oldest uint64) string {
	query := url.Values{}
	for name, values := range c.query {
		query[name] = values
	}
	query.Set("before", writeCursor(oldest))
	return "</v1/projects/" + url.PathEscape(c.id) + "/" + c.route.items() + "?" + query.Encode() + `>; rel="next"`
}

const cursorPrefix = "seq:"

func writeCursor(seq uint64) string {
	return base64.URLEncoding.EncodeToString([]byte(cursorPrefix + strconv.FormatUint(seq, 10)))
}

func readCursor(cursor string) (uint64, bool) {
	raw, err := base64.URLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, false
	}
	digits, ok := strings.CutPrefix(string(raw), cursorPrefix)
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil
}
