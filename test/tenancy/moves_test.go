/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The defaults run with all other tests, and are short. For more see TestRandomMovesOfATenantCrossNoTeam.
var (
	movesSeed   = flag.Uint64("moves-seed", 8, "the first seed of the moves of a tenant; 0 takes one from the clock")
	movesSeeds  = flag.Int("moves-seeds", 2, "number of seeds of the moves of a tenant")
	movesList   = flag.Bool("moves-list", false, "print the moves of each seed, also if it finds nothing")
	movesLength = flag.Int("moves", 24, "number of moves of each seed")
)

// Streams of random numbers. Each move, and each request to the thief's server, has another.
const (
	worldStream uint64 = iota + 1
	serverStream
	moveStream = 1000
)

// walk is a thief that makes random moves against a victim in a shared project. What is random depends on the seed and the number of
// the move alone, so that a seed repeats its moves; only what the operator does meanwhile may differ.
type walk struct {
	*harness.World // of the shared CloudProject
	victim, thief  *harness.World
	seed           uint64
	variant        variant
	server         *moodyServer
	victims        []*target
	// decoys are agents of the thief's project with the machine IDs of the victims.
	decoys map[string]string
	thiefs thiefsWorld
	life   *life
	guard  *guard
	done   []string // the moves so far
}

// variant is what the seed draws about the world.
type variant struct {
	service string
	// opaque: the token of the shared project does not contain the project.
	opaque bool
	// granted: the thief may write the status of its Agents, which no user role allows.
	granted  bool
	settings cloudtest.Settings
}

// target is a remote agent of the shared project that is not the thief's.
type target struct {
	agent string // the victim's Agent; empty if it is of another cluster, or retained
	cloud.Agent
	// hidden: the thief knows the machine ID, and not the ID.
	hidden bool
}

// TestRandomMovesOfATenantCrossNoTeam has a tenant do all that its rights permit, in random order: what it learns at one endpoint must
// not be believed at another. It runs two short seeds, always the same ones: a change is not refused for what another one broke. More, longer
// and others: make moves SEEDS=200, or go test ./test/tenancy -run TestRandomMovesOfATenantCrossNoTeam -count=1 -timeout 120m -moves=32
// -moves-seed=0 -moves-seeds=200. A failure prints how to repeat its seed.
func TestRandomMovesOfATenantCrossNoTeam(t *testing.T) {
	first := *movesSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano()) % 1e9
	}
	for n := range *movesSeeds {
		seed := first + uint64(n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWalk(t, seed)
			for number := range *movesLength {
				w.move(number)
				w.guard.check()
				if number%5 == 4 {
					w.victimChecks()
				}
			}
			w.ends()
		})
	}
}

// drawVariant draws the kind of world. APIs that neither list nor distinguish taken machine IDs separate no tenants
// (docs/reliability.md).
func drawVariant(seed uint64) variant {
	d := draws{rand.New(rand.NewPCG(seed, worldStream))}
	kinds := []variant{
		{service: "a list and unique machine IDs"},
		{service: "a list and duplicates", settings: cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}},
		{service: "a list and upserts", settings: cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert}},
		{service: "no list and unique machine IDs", settings: cloudtest.Settings{NoList: true}},
	}
	v := kinds[d.IntN(len(kinds))]
	v.settings.MaskTokens = d.oneOf(5)
	v.settings.MaskAs = "***"
	v.settings.GoneAfterDelete = d.oneOf(3)
	v.opaque = d.oneOf(3)
	v.granted = d.oneOf(6)
	return v
}

// report is printed with a failure.
func (w *walk) report() {
	if !w.Failed() && !*movesList {
		return
	}
	w.Logf("seed %d: %s, opaque token %t, masked tokens %t, status granted %t; again: "+
		"go test ./test/tenancy -run %s -count=1 -v -moves-seed=%d -moves-seeds=1 -moves=%d\n%s",
		w.seed, w.variant.service, w.variant.opaque, w.variant.settings.MaskTokens, w.variant.granted,
		"TestRandomMovesOfATenantCrossNoTeam", w.seed, *movesLength, strings.Join(w.done, "\n"))
}

// did records a move.
func (w *walk) did(format string, args ...any) {
	w.done = append(w.done, fmt.Sprintf("%2d. ", len(w.done)+1)+fmt.Sprintf(format, args...))
}

// draws are the random choices of one move.
type draws struct{ *rand.Rand }

// oneOf is true once in n times.
func (d draws) oneOf(n int) bool { return d.IntN(n) == 0 }

// pick is a random element.
func pick[T any](d draws, of ...T) T { return of[d.IntN(len(of))] }

// move makes one move: the next step of the life of an Agent, or any other.
func (w *walk) move(number int) {
	w.Helper()
	d := draws{rand.New(rand.NewPCG(w.seed, moveStream+uint64(number)))}
	if w.life == nil {
		w.life = w.newLife(d, number)
	}
	if w.life.step > 0 && d.oneOf(5) {
		w.anyMove(d)
	} else if w.life.next(d) {
		w.life = nil
	}
	w.remember()
}

// pause waits for a drawn condition, and not for long: it may never come. It records what became of the Agent.
func (w *walk) pause(d draws, name string) {
	w.Helper()
	defer func() {
		if a := w.found(name); a != nil {
			ready := harness.Condition(a, v1alpha1.ConditionReady)
			w.did("   it is Ready=%s (%s), deleted %t, and has the agent %s at %s", ready.Status, ready.Reason,
				a.DeletionTimestamp != nil, a.Status.ID, a.Status.URL)
		}
	}()
	switch d.IntN(5) {
	case 0:
	case 1:
		w.brief(time.Second, func() bool {
			a := w.found(name)
			return a == nil || len(a.Status.Conditions) > 0 && a.Status.ObservedGeneration == a.Generation
		})
	default:
		w.brief(2*time.Second, func() bool {
			a := w.found(name)
			if a == nil {
				return true
			}
			ready, stalled := harness.Condition(a, v1alpha1.ConditionReady), harness.Condition(a, v1alpha1.ConditionStalled)
			return ready.ObservedGeneration == a.Generation && (ready.Status == "True" || stalled.Status == "True")
		})
	}
}
