/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"crypto/sha256"
	"slices"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// origin is the version of the Secret that the spec names for the token, and whether the operator's copy is used because that has none.
type origin struct {
	version  string
	borrowed bool
}

// terms are fingerprints of where a CloudProject's requests go, with which token, and for whom. They belong together: a permission for a
// new url is none for the former.
type terms struct{ where, permits string }

func termsOf(cp *v1alpha1.CloudProject) terms {
	spec := &cp.Spec
	return terms{
		where: cloud.Hash(v1alpha1.CloudProjectSpec{
			URL: spec.URL, TokenSecretRef: spec.TokenSecretRef, CABundle: spec.CABundle, ProjectID: spec.ProjectID,
			Authentication: spec.Authentication,
		}),
		permits: cloud.Hash(v1alpha1.CloudProjectSpec{AllowedNamespaces: spec.AllowedNamespaces, Adoption: spec.Adoption}),
	}
}

// Borrow has a Connection serve a CloudProject with the credentials in use, as if they were borrowed, while those that the spec refers
// to, in a version, cannot be read. It is false if they may be for another place.
func Borrow(c *Connection, cp *v1alpha1.CloudProject, version string) bool {
	next, s := termsOf(cp), c.shared
	s.mu.Lock()
	now := &s.identity
	here, from := now.terms.where == next.where, origin{version, true}
	changed := here && (now.terms != next || now.origin != from)
	if here {
		now.terms, now.origin = next, from
	}
	s.mu.Unlock()
	if changed {
		c.wake()
	}
	return here
}

// Borrows reports whether a Connection uses the operator's copy of a token, because the one that the spec names is missing.
func Borrows(c *Connection) bool {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	return c.shared.identity.origin.borrowed
}

// has reports whether these are the credentials in use.
func (i *identity) has(c Credentials) bool {
	return i.token.Equal(c.Token) && i.caBundle == sha256.Sum256(c.CABundle)
}

// Uses reports whether a Connection has the terms of a CloudProject and these credentials.
func Uses(c *Connection, cp *v1alpha1.CloudProject, with Credentials) bool {
	next := termsOf(cp)
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	now := &c.shared.identity
	return now.terms == next && now.has(with) && now.origin.borrowed == with.Borrowed
}

// Serves reports whether a Connection was configured with the terms of a CloudProject as it is given.
func Serves(c *Connection, cp *v1alpha1.CloudProject) bool {
	next := termsOf(cp)
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	return c.shared.identity.terms == next
}

// TokenVersion is the version of the Secret that the spec names for the token; empty if there is none.
func TokenVersion(c *Connection) string {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	return c.shared.identity.origin.version
}

// mostFormer bounds what is known of former tokens and places.
const mostFormer = 16

// former is what is known of former tokens and places. Lost: what they signed counts no longer.
type former struct {
	// vouched are the fingerprints of tokens that were vouched for at the endpoint.
	vouched map[string]bool
	places  []place
}

// place is where, and with which token, registrations were sent.
type place struct {
	url   string
	token cloud.Token
}

// vouched is Vouched, and is called with the lock held.
func vouched(s *shared) bool {
	now := &s.identity
	return now.endpoint.ProjectID != "" && (now.revealed && now.accepted || s.verified.ShownAgents())
}

// replaced records the place that is left, and whether the token that is replaced was vouched for. It is called with the lock held.
func replaced(s *shared, moved bool) {
	if moved || len(s.former.vouched) >= mostFormer {
		s.former.vouched = map[string]bool{}
	}
	if !moved && vouched(s) {
		s.former.vouched[Signer(s.identity.token)("")] = true
	}
	if s.identity.bare != nil {
		places := append(s.former.places, place{s.identity.endpoint.URL, s.identity.token})
		s.former.places = places[max(len(places)-mostFormer, 0):]
	}
}

// VouchedFor reports whether a former token with this fingerprint was known to belong to the project of the endpoint.
func VouchedFor(c *Connection, fingerprint string) bool {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	return c.shared.former.vouched[fingerprint]
}

// Signed reports whether by shows that a text was signed with the token of a Connection, or with a former one at its URL of that time.
func Signed(c *Connection, by func(url string, sign func(text string) string) bool) bool {
	c.shared.mu.Lock()
	places := append(slices.Clone(c.shared.former.places), place{c.shared.identity.endpoint.URL, c.shared.identity.token})
	c.shared.mu.Unlock()
	return slices.ContainsFunc(places, func(p place) bool { return by(p.url, Signer(p.token)) })
}
