/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package connection turns a CloudProject and its credentials into one shared connection to Calyptia Cloud: with a rate
// limiter, a circuit breaker, a credential check, and one inventory of the remote agents.
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
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	"github.com/calyptia-agent-operator/operator/internal/safeguard"
)

// largeResponses is how many responses of more than 512 KiB are held at once, by all CloudProjects. Each may take 30 MiB.
const largeResponses = 8

// readResponses is how many responses of any size are decoded at once, by all CloudProjects: twice what a namespace alone can use of a
// few processors. Each may take 10 MiB, beside its own bytes.
const readResponses = 8

// DefaultResyncInterval is the default of CloudProject's spec.resyncInterval.
const DefaultResyncInterval = 10 * time.Minute

// Options are the same for all projects of a process.
type Options struct {
	// Policy restricts the URLs that may be called.
	Policy cloud.URLPolicy
	// UserAgent names the operator and its version.
	UserAgent string
	// Clock defaults to the real clock.
	Clock clock.PassiveClock
	// Timeout of one request; default 15 s.
	Timeout time.Duration
	// BreakerTimeout is the time between two probes of an API that does not respond; default 15 s.
	BreakerTimeout time.Duration
	// ListDelays are the times before a page of a list is requested again, and between lists.
	ListDelays inventory.Delays
	// MostAgents bounds a snapshot of remote agents; default 200,000.
	MostAgents int
	// SnapshotMemory bounds the memory of all snapshots, in bytes; default half of GOMEMLIMIT.
	SnapshotMemory int64
	// Metrics may be nil.
	Metrics *metrics.Projects
}

// Endpoint is where remote agents are. An agent ID is meaningful only at its endpoint.
type Endpoint struct {
	URL       string
	ProjectID string // empty if the token does not reveal it
}

// Recorded is the endpoint that a status records. An older operator may have spelled its URL otherwise.
func Recorded(url, projectID string) Endpoint {
	return Endpoint{URL: cloud.CanonicalURL(url), ProjectID: projectID}
}

// RecordedBy reports whether an Agent's status records a remote agent or a duplicate here, last verified through the CloudProject
// with this UID. Where there is no endpoint, nothing is recorded. A token may be replaced by one that contains the project, or no longer
// does: an unknown project is no other project, because an ID is unique at its URL.
func (e Endpoint) RecordedBy(agent *v1alpha1.Agent, cloudProject string) bool {
	status := &agent.Status
	at := Recorded(status.URL, status.ProjectID)
	sameProject := e.ProjectID == at.ProjectID || e.ProjectID == "" || at.ProjectID == ""
	return e.URL != "" && e.URL == at.URL && sameProject && status.CloudProjectUID == cloudProject &&
		(status.ID != "" || len(status.DuplicatesToDelete) > 0)
}

// Credentials are the secrets that a CloudProject refers to.
type Credentials struct {
	Token    cloud.Token
	CABundle []byte
	// DigestKey is the secret of the configuration digests; it is ignored unless it has DigestKeySize bytes.
	DigestKey []byte
	// Renewed: the token replaces another one that was used at this URL. A process that used the former token knows that itself.
	Renewed bool
	// Borrowed: they are the operator's copy, because what the spec refers to is missing.
	Borrowed bool
	// Version is that of the Secret that the spec names for the token; empty if there is none.
	Version string
}

// DigestKeySize is the length of a DigestKey.
const DigestKeySize = 32

// Registry holds the Connections of this process.
type Registry struct {
	opts              Options
	room, reading     *cloud.Room
	memory            *inventory.Memory
	unfinished        unfinished
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
	return &Registry{
		opts: opts, room: cloud.NewRoom(largeResponses), reading: cloud.NewRoom(readResponses),
		memory:      inventory.NewMemory(opts.SnapshotMemory),
		unfinished:  unfinished{turns: map[types.UID]*unfinishedTurn{}, held: map[string]int{}},
		connections: map[types.UID]*Connection{}, woken: nothing, needsVerification: nothing,
	}
}

// OnWake sets the function to call when Agents of a CloudProject may continue. Call it before anything starts.
func (r *Registry) OnWake(f func(client.ObjectKey)) { r.woken = f }

// OnNeedsVerification sets the function to call when a response concerns the credentials, so that the CloudProject
// must be reconciled. Call it before anything starts.
func (r *Registry) OnNeedsVerification(f func(client.ObjectKey)) { r.needsVerification = f }

// Get returns the Connection of a CloudProject for an Agent in a namespace, or a waiting failure while it may not be used.
func (r *Registry) Get(cp *v1alpha1.CloudProject, namespace string) (*Connection, error) {
	r.mu.Lock()
	p := r.connections[cp.UID]
	r.mu.Unlock()
	if p == nil {
		return nil, fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"credentials of CloudProject %s/%s are not verified yet: see its conditions", cp.Namespace, cp.Name).
			Coded(fault.ProjectNotReady)
	}
	if err := p.usable(ratelimit.Caller{Namespace: namespace}); err != nil {
		return nil, err
	}
	return p, nil
}

// Configure applies the spec and the credentials of a CloudProject to its Connection, and returns it. A change of
// either makes it unverified. The error is terminal: the spec is not usable.
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
	changed, err := p.configure(cp, base, projectID, credentials)
	switch {
	case changed.endpoint:
		p.moved()
	case changed.token:
		p.Inventory.Reset() // The former token may have been another project's: its list shows nothing of what this one sees.
	case changed.terms:
		p.wake() // No check follows, which would.
	}
	return p, err
}

// Lookup returns the Connection of the CloudProject with this UID, whatever its state; nil if there is none.
func (r *Registry) Lookup(uid types.UID) *Connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections[uid]
}

// Tripped returns why the safeguard of a CloudProject pauses registration, as recorded in the status while there is no Connection.
func (r *Registry) Tripped(cp *v1alpha1.CloudProject) *fault.Error {
	if p := r.Lookup(cp.UID); p != nil {
		return p.Tripped()
	}
	return safeguard.Recorded(cp)
}

// Leave forgets a deleted Agent in all projects.
func (r *Registry) Leave(who types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.connections {
		p.Leave(who)
	}
}

// Unreserve drops the reservations of an Agent at the rate limits of all projects but one: it does not return to them.
func (r *Registry) Unreserve(who types.UID, but *Connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.connections {
		if p != but {
			p.shared.limiter.Leave(who)
		}
	}
}

// Forget drops the Connection of a CloudProject that was deleted.
func (r *Registry) Forget(uid types.UID) {
	r.mu.Lock()
	p := r.connections[uid]
	delete(r.connections, uid)
	r.mu.Unlock()
	if p != nil {
		p.close()
		r.unfinished.forget(p.shared)
	}
}

func (r *Registry) newClient(s *shared, base *url.URL, c Credentials) (*cloud.Client, error) {
	return cloud.New(cloud.Config{
		BaseURL:    base,
		Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: c.Token},
		CABundle:   c.CABundle,
		UserAgent:  r.opts.UserAgent,
		Timeout:    r.opts.Timeout,
		Wrap:       s.metrics.Wrap,
		Room:       r.room,
		Reading:    r.reading,
		Owner:      s.key.Namespace,
	})
}
