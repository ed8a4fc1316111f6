/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"context"
	"fmt"
	"strings"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// maxNamedPages bounds a list of fleets or environments.
const maxNamedPages = 100

// resolve turns what --fleet and --environment name into what an agent shows: the ID of its fleet, and the name of its
// environment. What is in that form already needs no list, so a service without one will do.
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
				flag, len(found), kind, shown(value), strings.Join(found, ", "))
		}
	}
	return resolved, nil
}

// shown repeats a value, unless it is as long as a token, which may be there by mistake.
func shown(value string) string {
	if len(value) > 40 {
		return " of this name"
	}
	return fmt.Sprintf(" %q", value)
}

// named lists all fleets or environments, in each way to show the token that may be the right one.
func (r *reader) named(ctx context.Context, flag string, kind cloud.NamedKind) ([]cloud.Named, error) {
	all, before := []cloud.Named{}, ""
	for range maxNamedPages {
		page, err := asked(r, func(c *cloud.Client) (*cloud.NamedPage, error) {
			return c.ListNamed(ctx, kind, r.projectID, cloud.NamedOptions{Before: before})
		})
		if err != nil {
			return nil, fmt.Errorf("%s: the %s cannot be listed: %w: give the ID of a fleet, or the name of an environment", flag, kind, err)
		}
		if all = append(all, page.Items...); page.Before == "" {
			return all, nil
		}
		before = page.Before
	}
	return nil, fmt.Errorf("%s: the list of %s does not end: give the ID of a fleet, or the name of an environment", flag, kind)
}
