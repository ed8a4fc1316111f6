/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// longestName leaves room for an ID, and for what is appended in the names of ConfigMaps and Secrets.
const longestName = 180

// named is a remote agent and the name of the object that declares it.
type named struct {
	cloud.Agent
	object string
	key    string // the node or replica, if the object is for an AgentSet
}

// inOrder names all agents of a project and sorts them by that. The names depend on no filter, and a new agent
// changes none: of agents with one name the oldest has it, the others get their ID appended.
func (o *options) inOrder(agents []cloud.Agent) []named {
	o.others = hider(agents)
	byAge := slices.SortedFunc(slices.Values(agents), func(a, b cloud.Agent) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	taken := sets.New[string]()
	all := make([]named, 0, len(agents))
	for _, a := range byAge {
		base := "agent"
		if !o.holdsToken(&a, a.Name) {
			base = objectName(a.Name)
		}
		id := strings.ToLower(a.ID)
		is := o.forSet(named{a, base, base})
		for n := 1; taken.Has(is.object); n++ {
			suffix := id
			if n == 1 {
				suffix = id[:8]
			} else if n > 2 {
				suffix = id + "-" + strconv.Itoa(n)
			}
			is = o.forSet(named{a, base + "-" + suffix, base})
		}
		taken.Insert(is.object)
		all = append(all, is)
	}
	slices.SortFunc(all, func(a, b named) int { return cmp.Compare(a.object, b.object) })
	return all
}

// forSet names an object as an AgentSet would, if it is for one. Only the first of several agents of a node is.
func (o *options) forSet(n named) named {
	if o.agentSet == "" {
		n.key = ""
		return n
	}
	if n.object != n.key {
		n.key = ""
	}
	n.object = o.naming.Agent(o.agentSet, n.object)
	return n
}

// objectName makes a DNS subdomain of any text, of a host name the host name itself.
func objectName(text string) string {
	var labels []string
	for label := range strings.SplitSeq(strings.ToLower(text), ".") {
		if label = strings.Trim(strings.Map(nameRune, label), "-"); label != "" {
			labels = append(labels, label)
		}
	}
	name := strings.Join(labels, ".")
	name = strings.TrimRight(name[:min(len(name), longestName)], "-.")
	return cmp.Or(name, "agent")
}

// nameRune replaces a character that a name cannot contain.
func nameRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

// chosen reports whether the filters let an agent through. Of several values of one filter any will do.
func (o *options) chosen(a *cloud.Agent) bool {
	is := func(value string) func(string) bool {
		return func(wanted string) bool { return strings.EqualFold(wanted, value) }
	}
	matches := func(pattern string) bool {
		ok, _ := path.Match(pattern, a.Name) // checkFilters saw that the pattern is well formed.
		return ok
	}
	for _, filter := range []struct {
		wanted []string
		fits   func(string) bool
	}{{o.names, matches}, {o.fleets, is(a.Fleet())}, {o.environments, is(a.EnvironmentName)}, {o.types, is(a.Type)}} {
		if len(filter.wanted) > 0 && !slices.ContainsFunc(filter.wanted, filter.fits) {
			return false
		}
	}
	return !slices.ContainsFunc(o.except, is(a.ID))
}
