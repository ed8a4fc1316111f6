/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// policy is what a server does with a machine ID that is taken.
type policy int

const (
	unique policy = iota
	upsert
	duplicate
)

// mishap is a failure of one request.
type mishap int

const (
	well         mishap = iota
	lostBefore          // the connection breaks before the server sees the request
	lostAfter           // the server registers, and the response is lost
	late                // the same, and the server commits shortly before the slack is over
	unsent              // no connection
	refused             // the API's own 4xx
	filtered            // the server registers, and something in between responds with 4xx
	gatewayTaken        // the server does not register, and something in between responds with 409
	mishaps
)

const (
	postWindow = 20 * time.Second
	slackTime  = 80 * time.Second
)

// remote is one agent of the simulated server.
type remote struct {
	id      int
	visible time.Time
}

// model is a server, what is persisted in Kubernetes, and one process of the operator.
type model struct {
	table []Row
	taken policy
	lists bool
	masks bool // it shows a token in the response to a registration alone

	now    time.Time
	agents []remote
	next   int
	posts  int // requests that it saw

	// Persisted.
	intent, first time.Time // the open intent; zero for none
	recorded      int       // the ID in the status; zero for none
	secret        int       // the ID that the Secret has from the open intent
	token         int       // the agent whose token the Secret has
	deleting      bool

	// Lost with the process.
	started, met, sent time.Time
	outcome            Outcome
	response           int
	snapshotAt         time.Time
	snapshot           []int
	read               [sources]bool
	looked             map[int]bool

	script   []choice // what goes wrong, in order
	asked    int      // how many choices were made
	options  []int    // how many alternatives each of them had
	named    scene    // what goes wrong beside the script
	lost     int      // responses that were lost
	gateways int      // conflicts that something in between made up
	trace    []string
}

// choice is one alternative that the model took.
type choice int

// pick takes the next alternative of n; those beyond the script are the first, where nothing goes wrong.
func (m *model) pick(n int) int {
	m.options = append(m.options, n)
	m.asked++
	if m.asked > len(m.script) {
		return 0
	}
	return int(m.script[m.asked-1])
}

// crash may end the process here and start another.
func (m *model) crash(where string) bool {
	if m.named.dies != "" && m.named.dies == where {
		m.deleting, m.named.dies = m.named.deleted, ""
	} else if m.pick(2) == 0 {
		return false
	}
	m.trace = append(m.trace, "crash after "+where)
	m.restart()
	return true
}

func (m *model) restart() {
	m.now = m.now.Add(time.Second)
	m.started, m.met, m.sent, m.outcome, m.response = m.now, time.Time{}, time.Time{}, OutcomeUnknown, 0
	m.forget()
}

// forget is what a new pass does not remember.
func (m *model) forget() {
	m.snapshotAt, m.snapshot, m.read, m.looked = time.Time{}, nil, [sources]bool{}, map[int]bool{}
}

func (m *model) facts() Facts {
	f := Facts{
		Now: m.now, Started: m.started, SessionFree: true, Authentic: true,
		Recorded: m.there(m.recorded) && m.intent.IsZero(), Open: !m.intent.IsZero(), Deleting: m.deleting,
		Repeated: !m.first.Equal(m.intent), Outcome: m.outcome, SentAt: m.sent, SnapshotAt: m.snapshotAt,
		Listing: ListingNo,
	}
	if m.lists {
		f.Listing = ListingYes
	}
	if f.Open {
		if m.met.IsZero() {
			m.met = m.now
		}
		f.Met, f.Trusted = m.met, m.intent.Add(slackTime)
	}
	for s := range f.Found {
		f.Found[s] = m.finding(Source(s))
	}
	return f
}

func (m *model) names(s Source) int {
	switch s {
	case Record:
		return m.recorded
	case Response:
		return m.response
	case SecretIntent, Secret:
		return m.secret
	case Snapshot:
		for _, id := range m.snapshot {
			if !m.looked[id] || m.there(id) {
				return id
			}
		}
	}
	return 0
}

func (m *model) finding(s Source) Finding {
	id := m.names(s)
	switch {
	case s != Snapshot && s != Cluster && !m.read[s]:
		return Unread
	case id == 0:
		return None
	case !m.looked[id]:
		return Named
	case m.there(id):
		return Ours
	default:
		return None
	}
}

func (m *model) there(id int) bool {
	return slices.ContainsFunc(m.visibleAgents(), func(a remote) bool { return a.id == id })
}

func (m *model) visibleAgents() []remote {
	return slices.DeleteFunc(slices.Clone(m.agents), func(a remote) bool { return a.visible.After(m.now) })
}

// register is what the server does with a request; zero is a conflict.
func (m *model) register(visible time.Time) int {
	m.posts++
	if there := m.visibleAgents(); len(there) > 0 && m.taken != duplicate {
		if m.taken == unique {
			return 0
		}
		return there[0].id
	}
	m.next++
	m.agents = append(m.agents, remote{id: m.next, visible: visible})
	return m.next
}

// create persists an intent and sends the request, as the operator does.
func (m *model) create() {
	if m.named.dies == "nothing" && m.crash("nothing") {
		return
	}
	m.now = m.now.Add(time.Second)
	if m.intent.IsZero() {
		m.first = m.now
	}
	m.intent, m.met, m.outcome, m.response, m.secret = m.now, m.now, OutcomeUnknown, 0, 0
	m.read = [sources]bool{}
	if m.crash("the intent") {
		return
	}
	m.sent = m.now
	what := mishap(m.pick(int(mishaps)))
	if m.named.mishap != well {
		what, m.named.mishap = m.named.mishap, well
	}
	m.trace = append(m.trace, fmt.Sprintf("request %d", what))
	switch what {
	case lostBefore:
	case lostAfter, filtered:
		m.register(m.now)
		m.lost++
	case late:
		m.register(m.now.Add(slackTime - 5*time.Second))
		m.lost++
	case unsent, refused:
		m.outcome = OutcomeNothing
	case gatewayTaken:
		m.outcome = OutcomeForeignConflict
		m.gateways++
	default:
		m.responded(m.register(m.now))
	}
}

func (m *model) responded(id int) {
	if id == 0 {
		m.outcome = OutcomeConflict
		return
	}
	if m.response = id; m.crash("the response") {
		m.lost++
		return
	}
	if m.secret, m.token = id, id; m.crash("the Secret") {
		return
	}
	m.record(id)
}

func (m *model) record(id int) {
	m.recorded, m.intent, m.first = id, time.Time{}, time.Time{}
	if !m.masks { // A lookup shows it.
		m.token = id
	}
}

// remove is what the API does with a DELETE of the recorded agent.
func (m *model) remove() {
	m.agents = slices.DeleteFunc(m.agents, func(a remote) bool { return a.id == m.recorded })
}

// run follows decisions until there is nothing left to do.
func (m *model) run() (Action, error) {
	if m.now.IsZero() {
		m.now = noon
	}
	m.restart()
	for step := range 200 {
		m.now = m.now.Add(time.Millisecond)
		m.deleting = m.deleting || m.named.deletedAt > 0 && step >= m.named.deletedAt
		a := decide(m.table, m.facts())
		m.trace = append(m.trace, fmt.Sprintf("%s %d %s", a.Kind, a.Source, a.Code))
		switch a.Kind {
		case Keep:
			if !m.deleting {
				return a, nil
			}
			m.remove()
		case Release:
			return a, nil
		case Fail:
			if a.Code != Refused {
				return a, nil
			}
			m.outcome = OutcomeUnknown // The next pass.
			m.forget()
		case Read:
			m.read[a.Source] = true
		case Lookup:
			m.looked[m.names(a.Source)] = true
		case Adopt:
			m.record(m.names(a.Source))
		case ReadInventory:
			m.snapshotAt, m.snapshot, m.looked = m.now, nil, map[int]bool{}
			for _, there := range m.visibleAgents() {
				m.snapshot = append(m.snapshot, there.id)
			}
		case Create:
			m.create()
		case CloseIntent:
			m.intent, m.first = time.Time{}, time.Time{}
		case Wait:
			m.now = a.Until
			m.forget()
		}
		m.crash(string(a.Kind))
	}
	return Action{}, fmt.Errorf("it does not end")
}

// Every server, with every two things that go wrong at every place where something can: exactly one agent, or the
// exception that docs/reliability.md documents.
func TestDecide_EveryInterleaving_ExactlyOne(t *testing.T) {
	t.Parallel()
	runs := 0
	for _, taken := range []policy{unique, upsert, duplicate} {
		for _, lists := range []bool{true, false} {
			t.Run(fmt.Sprintf("policy %d, lists %v", taken, lists), func(t *testing.T) {
				explore(t, 4, func(script []choice) *model {
					runs++
					m := &model{table: Table, taken: taken, lists: lists, script: script}
					end, err := m.run()
					if err != nil || !m.allowed(end) {
						t.Fatalf("%v: %d agents, %d responses lost, recorded %d, ended with %+v\n%v", err, len(m.agents), m.lost, m.recorded, end, m.trace)
					}
					return m
				})
			})
		}
	}
	t.Logf("%d runs", runs)
}

// explore runs the model with every script of at most depth alternatives that are not the first one.
func explore(t *testing.T, depth int, run func([]choice) *model) {
	t.Helper()
	var extend func(script []choice, left int)
	extend = func(script []choice, left int) {
		m := run(script)
		if left == 0 {
			return
		}
		for at := len(script); at < len(m.options); at++ {
			for alternative := 1; alternative < m.options[at]; alternative++ {
				longer := append(slices.Clone(script), make([]choice, at-len(script))...)
				extend(append(longer, choice(alternative)), left-1)
			}
		}
	}
	extend(nil, depth)
}

// allowed is the promise.
func (m *model) allowed(end Action) bool {
	// An agent that the server commits late counts.
	agents := len(m.agents)
	switch {
	case !m.lists && end.Code == IDUnknown && (m.taken == unique || m.gateways > 0):
		return agents <= 1+m.lost // Somebody has to name the agent once.
	case end.Kind != Keep || !slices.ContainsFunc(m.agents, func(a remote) bool { return a.id == m.recorded }):
		return false
	case !m.lists && m.taken == duplicate:
		return agents <= 1+m.lost
	case !m.lists && m.taken == upsert:
		return agents == 1
	default:
		return agents == 1
	}
}
