/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/url"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/verification"
)

// identity is the endpoint and the credentials of a Connection.
type identity struct {
	endpoint    Endpoint
	revealed    bool // the token itself contains the project ID of endpoint
	accepted    bool // the API accepted the token; whoever writes a token may write any project ID into it
	token       cloud.Token
	caBundle    [sha256.Size]byte // the digest
	digestKey   []byte
	wanted      v1alpha1.Authentication
	bare        *cloud.Client // before a scheme is chosen
	client      *cloud.Client // with the scheme in use
	agentWrites bool          // some fields may be written by the agent alone
	terms       terms
	origin      origin // of the token
}

// session is the part of a Connection with the endpoint and the credentials.
type session struct{ *shared }

func randomKey() []byte {
	key := make([]byte, DigestKeySize)
	_, _ = rand.Read(key) // Never fails. Used until a stored key is known.
	return key
}

// changes are what of a Connection changed, apart from what only needs verification.
type changes struct{ endpoint, token, terms bool }

// configure applies a spec and its credentials; a change needs verification.
func (s *session) configure(cp *v1alpha1.CloudProject, base *url.URL, projectID string, c Credentials) (changed changes, err error) {
	s.limiter.Set(cp.Spec.RateLimit)
	endpoint := Endpoint{URL: base.String(), ProjectID: projectID}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, next := &s.identity, termsOf(cp)
	if len(c.DigestKey) == DigestKeySize {
		now.digestKey = c.DigestKey
	}
	if now.client != nil && now.endpoint == endpoint && now.wanted == cp.Spec.Authentication && now.has(c) {
		changed.terms = now.terms != next || now.origin.borrowed != c.Borrowed
		now.terms, now.origin = next, origin{c.Version, c.Borrowed}
		return changed, nil
	}
	fresh, err := s.registry.newClient(s.shared, base, c)
	if err != nil {
		return changes{}, fault.Terminalf(v1alpha1.ReasonInvalid, "Calyptia Cloud cannot be called: %v", err)
	}
	if now.bare != nil {
		now.bare.CloseIdleConnections()
	}
	changed = changes{endpoint: now.endpoint != endpoint, token: now.bare != nil && !now.token.Equal(c.Token)}
	preferred := s.verified.Preferred
	if changed.endpoint {
		preferred = ""
	}
	known := endpoint == Recorded(cp.Status.URL, cp.Status.ProjectID)
	if known && preferred == "" {
		preferred = cp.Status.Authentication
	}
	renewed := c.Renewed
	if now.bare != nil {
		renewed = changed == changes{token: true}
	}
	replaced(s.shared, changed.endpoint)
	s.verified.Restart(preferred, known && cp.Status.ListSupported != nil && *cp.Status.ListSupported, renewed)
	_, revealed := c.Token.ProjectID()
	s.identity = identity{
		endpoint: endpoint, revealed: revealed, token: c.Token, caBundle: sha256.Sum256(c.CABundle), digestKey: now.digestKey,
		wanted: cp.Spec.Authentication, bare: fresh, client: fresh, terms: next, origin: origin{c.Version, c.Borrowed},
	}
	s.epoch.session++
	s.access.throttled, s.access.blocked = throttled{}, notVerified(s.key)
	return changed, nil
}

func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity.bare != nil {
		s.identity.bare.CloseIdleConnections()
	}
}

// Endpoint returns the endpoint of the project's agents.
func (s *session) Endpoint() Endpoint {
	endpoint, _ := s.At()
	return endpoint
}

// At returns the Endpoint and the current Version.
func (s *session) At() (Endpoint, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity.endpoint, s.epoch.session
}

// Version counts the changes of credentials, endpoint and authentication.
func (s *session) Version() int {
	_, version := s.At()
	return version
}

// target returns the client in use, its endpoint and the current epoch.
func (s *session) target() (*cloud.Client, Endpoint, epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity.client, s.identity.endpoint, s.epoch
}

// Vouched reports whether the credentials are known to belong to the project of Endpoint: the token contains its ID, and the API accepted
// it, or a list showed agents of it. spec.projectID alone is only a claim.
func (s *session) Vouched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return vouched(s.shared)
}

// holds returns the token and the endpoint that it is for.
func (s *session) holds() (cloud.Token, Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity.token, s.identity.endpoint
}

// Sign makes a signature that only a holder of the project token can make, and that does not reveal the token.
func (s *session) Sign(text string) string {
	s.mu.Lock()
	token := s.identity.token
	s.mu.Unlock()
	return Signer(token)(text)
}

// Hide removes the project token from a text by one of the functions for that.
func (s *session) Hide(text string, redact func(string, cloud.Token) string) string {
	s.mu.Lock()
	token := s.identity.token
	s.mu.Unlock()
	return redact(text, token)
}

// Signer makes the signatures of a project token.
func Signer(token cloud.Token) func(text string) string {
	return func(text string) string {
		mac := hmac.New(sha256.New, []byte(token.Reveal()))
		mac.Write([]byte(text))
		return hex.EncodeToString(mac.Sum(nil)[:16])
	}
}

// DigestKey is the secret of the configuration digests of the project's Agents: the one stored with the credentials, or a
// random one until that is known.
func (s *session) DigestKey() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity.digestKey
}

// Epoch changes whenever requests may have become possible again, so that failed Agents may retry early.
func (s *session) Epoch() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch.attempt
}

// Result returns the result of the last credential check.
func (s *session) Result() verification.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verified.Result
}

// OnlyAgentWrites reports whether the API was seen to accept some fields from the agent alone.
func (s *session) OnlyAgentWrites() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity.agentWrites
}

// SetOnlyAgentWrites remembers what OnlyAgentWrites reports.
func (s *session) SetOnlyAgentWrites(only bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identity.agentWrites = only
}
