/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"errors"
	"net/http"

	"github.com/sony/gobreaker/v2"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// mostOdd is how many Agents of one namespace count for the breaker with a response that is none, while other
// namespaces use the project, too: fewer than open it.
const mostOdd = opensAfter - 1

// oddities are the Agents for which something else was answered than the service should, and no failure of it, since
// it last answered anybody as it should. All responses are odd if a portal answers in place of the service. That of one
// Agent is odd if its agent is: so each Agent counts once, and a namespace less often than opens the breaker.
type oddities map[types.UID]string // namespaces

// isOdd tells a response with a status of success that cannot be read, and one that the API did not write. A filter may
// redirect, answer with any status, or drop the connection, where it refuses what one Agent sends. What fails without
// such content, by a foreign 5xx or no response, is an outage.
func isOdd(err error) bool {
	e, ok := cloud.AsError(err)
	if ok && e.OfContent() && !e.NotSent && isOutage(err) {
		return true
	}
	return ok && e.Reason == cloud.ReasonInvalidResponse && e.Status >= http.StatusOK &&
		(e.Status < http.StatusMultipleChoices || !e.API && e.Status/100 != 5)
}

// forBreaker returns what the breaker is told of the outcome of a call.
func (p *Project) forBreaker(who Caller, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !isOdd(err) {
		if !isOutage(err) && !errors.Is(err, errUnused) {
			clear(p.odd)
		}
		return err
	}
	if p.breaker.State() != gobreaker.StateClosed {
		return err // It is a probe, and shows no service that works.
	}
	known, same, others := false, 0, false
	for agent, namespace := range p.odd {
		known = known || agent == who.UID
		if namespace == who.Namespace {
			same++
		}
	}
	for namespace, agents := range p.agents {
		others = others || agents > 0 && namespace != who.Namespace
	}
	if known || others && same >= mostOdd {
		return errUnused
	}
	p.odd[who.UID] = who.Namespace
	return err
}
