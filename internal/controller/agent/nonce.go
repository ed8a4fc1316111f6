/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// nonce is the write-ahead record of a registration that is being tried.
func (p *pass) nonce() string { return p.agent.Annotations[v1alpha1.AnnotationRegistering] }

// open reports whether a registration was begun and its outcome is not recorded.
func (p *pass) open() bool { return registering(p.agent) }

func registering(a *v1alpha1.Agent) bool {
	nonce := a.Annotations[v1alpha1.AnnotationRegistering]
	return nonce != "" && nonce != a.Status.Registration
}

// newNonce is "<time>/<random>-<mark>". The mark tells it from a forged one; between them stands "@<time>" where
// earlier tries of the same registration may have made something: when the first began.
func (p *pass) newNonce(now time.Time) (string, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	nonce := now.UTC().Format(time.RFC3339Nano) + "/" + hex.EncodeToString(random[:])
	if !p.first.IsZero() {
		nonce += "@" + p.first.UTC().Format(time.RFC3339Nano)
	}
	return nonce + "-" + p.mark(nonce), nil
}

func (p *pass) mark(nonce string) string {
	return p.project.Sign(string(p.agent.UID) + " " + nonce + " " + p.place.URL)
}

// authentic reports whether this operator wrote the Agent's nonce, with the project token and the URL of now. Whoever
// may write the Agent may write the annotation.
func (p *pass) authentic() bool { return p.marked(p.nonce()) }

func (p *pass) marked(nonce string) bool {
	cut := strings.LastIndex(nonce, "-")
	return cut > 0 && hmac.Equal([]byte(nonce[cut+1:]), []byte(p.mark(nonce[:cut])))
}

// registeredWith reports whether a remote agent with our machine ID may come from the registration of the nonce.
// A machine ID that a person chose may be somebody else's, and the nonce be forged.
func (p *pass) registeredWith(nonce string, createdAt time.Time) bool {
	began, known := nonceTime(nonce, p.Clock.Now())
	return !p.explicit() || p.mayAdopt() || known && p.marked(nonce) && !madeBefore(createdAt, began)
}

// entitled reports whether a remote agent with our machine ID is this Agent's to take. A derived machine ID
// is nobody else's. One that a person chose may be: then the agent has to be made by the registration that
// the nonce tells of, or the CloudProject has to let this namespace take over agents.
func (p *pass) entitled(createdAt, began time.Time) bool {
	if !p.explicit() || p.mayAdopt() {
		return true
	}
	return !began.IsZero() && p.authentic() && !madeBefore(createdAt, began)
}

// clockTolerance is how far the service's clock may be behind ours.
const clockTolerance = 2 * time.Second

// madeBefore reports whether a remote agent was made before a registration began, by the service's clock.
func madeBefore(createdAt, began time.Time) bool { return createdAt.Before(began.Add(-clockTolerance)) }

// begun is when the registration began of which this nonce is the last try. The nonce has to be authentic.
func (p *pass) begun(nonce string) time.Time {
	at, _ := nonceTime(nonce, p.Clock.Now())
	if _, tries, repeated := strings.Cut(nonce, "@"); repeated {
		first, err := time.Parse(time.RFC3339Nano, tries[:max(strings.LastIndex(tries, "-"), 0)])
		if err == nil && first.Before(at) {
			return first
		}
	}
	return at
}

// nonceTime reads when a nonce was written. A time that cannot be, or is yet to come, is no time.
func nonceTime(nonce string, now time.Time) (time.Time, bool) {
	text, _, _ := strings.Cut(nonce, "/")
	at, err := time.Parse(time.RFC3339Nano, text)
	return at, err == nil && !at.After(now)
}
