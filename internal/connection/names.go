/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"context"
	"sync"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/catalog"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/names"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	"github.com/calyptia-agent-operator/operator/internal/verification"
)

// catalogs are the fleets and environments of the project. They are of one version of the session: with other
// credentials, or at another endpoint, the same name means something else.
type catalogs struct {
	connection *Connection

	mu      sync.Mutex
	version int
	project *catalog.Project
	charge  *inventory.Charge // of the project
}

// at returns the catalogs of a version. Those of an earlier one are gone.
func (c *catalogs) at(version int) *catalog.Project {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.project != nil && c.version == version {
		return c.project
	}
	shared := c.connection.shared
	if c.project != nil && version < c.version { // Whoever asks is about to learn that it is outdated.
		return catalog.New(shared.registry.opts.Clock, (*inventory.Charge)(nil).Add)
	}
	c.charge.End()
	c.version, c.charge = version, shared.registry.memory.Charge(shared.key.Namespace)
	c.project = catalog.New(shared.registry.opts.Clock, c.charge.Add)
	return c.project
}

// close drops all catalogs.
func (c *catalogs) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.charge.End()
}

// Catalog is what is known of the fleets or environments of this version; its At is zero before the first list.
func (c *catalogs) Catalog(version int, kind names.Kind) names.Catalog {
	return c.at(version).Get(kind)
}

// RefuseName notes that the API does not know an ID that it listed.
func (c *catalogs) RefuseName(version int, kind names.Kind, id string) {
	c.at(version).Refuse(kind, id)
}

// ReadCatalog lists the fleets or environments on behalf of an Agent, unless a list was begun after notBefore. Each page
// is a request within the rate limit.
func (c *catalogs) ReadCatalog(ctx context.Context, who ratelimit.Caller, version int, kind names.Kind, notBefore time.Time) error {
	return c.at(version).Read(ctx, kind, notBefore,
		func(ctx context.Context, kind cloud.NamedKind, o cloud.NamedOptions) (*cloud.NamedPage, error) {
			p, err := acquire(c.connection, who, verification.Named)
			if err != nil {
				return nil, err
			}
			to, now := c.connection.At()
			if now != version || p.Version() != version {
				p.Release()
				return nil, p.outdated()
			}
			page, err := p.client.ListNamed(ctx, kind, to.ProjectID, o)
			switch {
			case cloud.LacksRoute(err): // An API may have neither list.
				p.Release()
			case err == nil: // Any list has IDs and names: it shows nothing of the credentials.
				p.settle(nil)
			default:
				err = p.finish(verification.Named, err)
			}
			if !p.current() {
				return nil, p.outdated()
			}
			return page, err
		})
}
