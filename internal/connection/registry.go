/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package connection turns a CloudProject and its credentials into one shared connection to Calyptia Cloud: with a rate
// limiter, a circuit breaker, a credential check, and one inventory of the remote agents for all who ask.
package connection

import (
	"net/url"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
)

// DefaultResyncInterval is the default of CloudProject's spec.resyncInterval.
const DefaultResyncInterval = 10 * time.Minute

// Options are the same for all projects of a process.
type Options struct {
	// Policy says which URLs may be called.
	Policy cloud.URLPolicy
	// UserAgent names the operator and its version.
	UserAgent string
	// Clock tells the time; the real one if nil.
	Clock clock.PassiveClock
	// Timeout of one call; default 15 s.
	Timeout time.Duration
	// BreakerTimeout is the time between two probes of a service that does not answer; default 15 s.
	BreakerTimeout time.Duration
	// MostAgents bounds the memory that a list of remote agents may take; default 200,000.
	MostAgents int
	// Metrics may be nil.
	Metrics *metrics.Projects
}

// Endpoint is where remote agents are. An ID means something only at its endpoint.
type Endpoint struct {
	URL       string
	ProjectID string // empty where the token does not reveal it
}

// Credentials are what a CloudProject refers to.
type Credentials struct {
	Token    cloud.Token
	CABundle []byte
	// DigestKey is the secret with which configurations are told apart; one of another length than DigestKeySize is none.
	DigestKey []byte
}

// DigestKeySize is the length of a DigestKey.
const DigestKeySize = 32

// Registry holds the Connections of this process.
type Registry struct {
	opts              Options
	mu                sync.Mutex
	connections       map[types.UID]*Connection
	woken             func(client.ObjectKey)
	needsVerification func(client.ObjectKey)
}

// NewRegistry returns an empty Registry.
func NewRegistry(opts Options) *Registry {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.BreakerTimeout == 0 {
		opts.BreakerTimeout = 15 * time.Second
	}
	if opts.MostAgents == 0 {
		opts.MostAgents = 200_000
	}
	nothing := func(client.ObjectKey) {}
	return &Registry{opts: opts, connections: map[types.UID]*Connection{}, woken: nothing, needsVerification: nothing}
}

// OnWake sets what is called when Agents of a CloudProject may go on. Call it before anything starts.
func (r *Registry) OnWake(f func(client.ObjectKey)) { r.woken = f }

// OnNeedsVerification sets what is called when a response says something about the credentials, so that the
// CloudProject has to be reconciled. Call it before anything starts.
func (r *Registry) OnNeedsVerification(f func(client.ObjectKey)) { r.needsVerification = f }

// Get returns the Project of a CloudProject, or a waiting failure while it is not proved.
func (r *Registry) Get(cp *v1alpha1.CloudProject) (*Connection, error) {
	r.mu.Lock()
	p := r.connections[cp.UID]
	r.mu.Unlock()
	if p == nil {
		return nil, fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"CloudProject %s/%s is not proved yet: its own conditions say why", cp.Namespace, cp.Name).
			Coded(fault.ProjectNotReady)
	}
	if err := p.usable(); err != nil {
		return nil, err
	}
	return p, nil
}

// Configure brings the Project of a CloudProject to its spec and credentials, and returns it. A change of
// either makes it unproved. The error is terminal: the spec cannot be used.
func (r *Registry) Configure(cp *v1alpha1.CloudProject, credentials Credentials) (*Connection, error) {
	base, err := cloud.ParseURL(cp.Spec.URL, r.opts.Policy)
	if err != nil {
		return nil, fault.Terminalf(v1alpha1.ReasonURLNotAllowed, "spec.%v", err)
	}
	projectID, known := credentials.Token.ProjectID()
	switch {
	case !known:
		projectID = cp.Spec.ProjectID
	case cp.Spec.ProjectID != "" && cp.Spec.ProjectID != projectID:
		return nil, fault.Terminalf(v1alpha1.ReasonInvalid,
			"spec.projectID is %s, but the token belongs to project %s: correct one of them", cp.Spec.ProjectID, projectID)
	}
	r.mu.Lock()
	p := r.connections[cp.UID]
	if p == nil {
		p = newConnection(r, client.ObjectKeyFromObject(cp))
		p.Restore(cp)
		r.connections[cp.UID] = p
	}
	r.mu.Unlock()
	moved, err := p.configure(cp, base, projectID, credentials)
	if moved {
		p.Inventory.Reset()
	}
	return p, err
}

// Lookup returns the Project of the CloudProject with this UID, whatever its state; nil if there is none.
func (r *Registry) Lookup(uid types.UID) *Connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections[uid]
}

// Leave forgets an Agent that is no more, in whatever project it was.
func (r *Registry) Leave(who types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.connections {
		p.Leave(who)
	}
}

// Forget drops the Project of a CloudProject that is no more.
func (r *Registry) Forget(uid types.UID) {
	r.mu.Lock()
	p := r.connections[uid]
	delete(r.connections, uid)
	r.mu.Unlock()
	if p != nil {
		p.close()
	}
}

func (r *Registry) newClient(counted *metrics.Project, base *url.URL, c Credentials) (*cloud.Client, error) {
	return cloud.New(cloud.Config{
		BaseURL:    base,
		Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: c.Token},
		CABundle:   c.CABundle,
		UserAgent:  r.opts.UserAgent,
		Timeout:    r.opts.Timeout,
		Wrap:       counted.Wrap,
	})
}
