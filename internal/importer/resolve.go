/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// maxNamedPages bounds a list of fleets or environments.
const maxNamedPages = 100

// resolve turns what --fleet and --environment name into what an agent shows: the ID of its fleet, and the name of its
// environment. A value in that form needs no list, so an API without lists works, too.
func (r *reader) resolve(ctx context.Context) error {
	fleets, err := r.each(ctx, "--fleet", cloud.Fleets, r.fleets, func(wanted string) bool { return !isUUID(wanted) },
		func(wanted string, n cloud.Named) (string, bool) { return n.ID, n.Name == wanted })
	if err != nil {
		return err
	}
	environments, err := r.each(ctx, "--environment", cloud.Environments, r.environments, isUUID,
		func(wanted string, n cloud.Named) (string, bool) { return n.Name, strings.EqualFold(n.ID, wanted) })
	if err != nil {
		return err
	}
	r.fleets, r.environments = fleets, environments
	return nil
}

func isUUID(text string) bool { return uuidPattern.MatchString(strings.ToLower(text)) }

// each resolves the values that have to be.
func (r *reader) each(ctx context.Context, flag string, kind cloud.NamedKind, values []string, needed func(string) bool,
	match func(string, cloud.Named) (string, bool)) (resolved []string, err error) {
	var all []cloud.Named
	for _, value := range values {
		if !needed(value) {
			resolved = append(resolved, value)
			continue
		}
		if all == nil {
			if all, err = r.named(ctx, flag, kind); err != nil {
				return nil, err
			}
		}
		var found []string
		for _, item := range all {
			if is, ok := match(value, item); ok {
				found = append(found, is)
			}
		}
		switch len(found) {
		case 0:
			return nil, fmt.Errorf("%s: the project has no %s%s: correct it, or leave it out",
				flag, strings.TrimSuffix(string(kind), "s"), shown(value))
		case 1:
			resolved = append(resolved, found[0])
		default:
			return nil, fmt.Errorf("%s: the project has %d %s%s: give one of the IDs %s",
				flag, len(found), kind, shown(value), some(found))
		}
	}
	return resolved, nil
}

// some are the first IDs of many.
func some(ids []string) string {
	const most = 10
	if len(ids) <= most {
		return strings.Join(ids, ", ")
	}
	return strings.Join(ids[:most], ", ") + ", ..."
}

// shown repeats a value, unless it is as long as a token, which may be there by mistake.
func shown(value string) string {
	if len(value) > 40 {
		return " of this name"
	}
	return fmt.Sprintf(" %q", value)
}

// named lists all fleets or environments for a flag.
func (r *reader) named(ctx context.Context, flag string, kind cloud.NamedKind) ([]cloud.Named, error) {
	all, err := r.list(ctx, kind)
	if err != nil {
		return nil, fmt.Errorf("%s: the %s cannot be listed: %w: give the ID of a fleet, or the name of an environment", flag, kind, err)
	}
	return all, nil
}

var errEndless = errors.New("the list does not end")

// list reads all fleets or environments once, with each authentication scheme that may be right.
func (r *reader) list(ctx context.Context, kind cloud.NamedKind) ([]cloud.Named, error) {
	if all, known := r.lists[kind]; known {
		return all, nil
	}
	all, before := []cloud.Named{}, ""
	for range maxNamedPages {
		page, err := retried(ctx, r, func() (*cloud.NamedPage, error) {
			return asked(r, func(c *cloud.Client) (*cloud.NamedPage, error) {
				return c.ListNamed(ctx, kind, r.projectID, cloud.NamedOptions{Before: before})
			})
		})
		if err != nil {
			return nil, err
		}
		if all = append(all, page.Items...); page.Before == "" {
			r.lists[kind] = all
			return all, nil
		}
		before = page.Before
	}
	return nil, errEndless
}

// targets are what the manifests name instead of an ID.
type targets struct {
	fleets       map[string]string // names, by ID
	environments map[string]bool
}

const (
	maxFleetName       = 32
	maxEnvironmentName = 128
)

// nameTargets finds the names of fleets and environments that only one has. If the API does not list them, or not
// for this token, the manifests use IDs.
func (r *reader) nameTargets(ctx context.Context, agents []cloud.Agent) error {
	r.targets = targets{fleets: map[string]string{}, environments: map[string]bool{}}
	for _, kind := range []struct {
		kind cloud.NamedKind
		used func(cloud.Agent) bool
		most int
		take func(cloud.Named)
	}{
		{cloud.Fleets, func(a cloud.Agent) bool { return a.FleetID != nil }, maxFleetName,
			func(n cloud.Named) { r.targets.fleets[n.ID] = n.Name }},
		{cloud.Environments, func(a cloud.Agent) bool { return a.EnvironmentName != "" }, maxEnvironmentName,
			func(n cloud.Named) { r.targets.environments[n.Name] = true }},
	} {
		if !slices.ContainsFunc(agents, kind.used) {
			continue
		}
		all, err := r.list(ctx, kind.kind)
		if e, failed := cloud.AsError(err); cloud.LacksRoute(err) || failed && e.Reason == cloud.ReasonForbidden {
			continue
		} else if err != nil {
			return fmt.Errorf("the %s cannot be listed: %w%s", kind.kind, err, remedy(err))
		}
		ids := map[string][]cloud.Named{}
		for _, n := range all {
			ids[n.Name] = append(ids[n.Name], n)
		}
		for name, having := range ids {
			if name != "" && utf8.RuneCountInString(name) <= kind.most && len(having) == 1 {
				kind.take(having[0])
			}
		}
	}
	return nil
}
