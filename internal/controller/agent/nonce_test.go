/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/project"
)

// holding gives a pass the way to a service with this project token.
func holding(t *testing.T, p *pass, token string) *pass {
	t.Helper()
	p.cloudProject.Spec.URL = "https://cloud-api.calyptia.com"
	registry := project.NewRegistry(project.Options{Policy: cloud.URLPolicy{AllowedHosts: []string{"cloud-api.calyptia.com"}}})
	var err error
	p.project, err = registry.Configure(p.cloudProject, project.Credentials{Token: cloud.NewToken(token)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestANonceIsKnownByWhoWroteIt(t *testing.T) {
	const token = "the-project-token"
	ours := holding(t, passOf(), token)
	nonce, err := ours.newNonce(noon)
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := nonceTime(nonce, noon); !ok || !at.Equal(noon) {
		t.Errorf("%q tells %s (%v)", nonce, at, ok)
	}
	if strings.Contains(nonce, token) || len(nonce) > 128 {
		t.Errorf("the nonce is %q", nonce)
	}
	if again, _ := ours.newNonce(noon); again == nonce {
		t.Error("two registrations have the same nonce")
	}
	earlier := strings.Replace(nonce, "2026", "2016", 1)
	random, mark, _ := strings.Cut(nonce, "-"+nonce[strings.LastIndex(nonce, "-")+1:])
	for _, row := range []struct {
		name, nonce, token string
		change             func(*v1alpha1.Agent)
		want               bool
	}{
		{"our own", nonce, token, nil, true},
		{"one copied from another Agent", nonce, token, func(a *v1alpha1.Agent) { a.UID = "thief" }, false},
		{"one with an earlier time", earlier, token, nil, false},
		{"one without the mark", random + mark, token, nil, false},
		{"one with an empty mark", random + "-", token, nil, false},
		{"a mark alone", "-" + nonce, token, nil, false},
		{"none", "", token, nil, false},
		{"one of before the token was renewed", nonce, "another-token", nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := passOf(annotated(v1alpha1.AnnotationRegistering, row.nonce))
			if row.change != nil {
				row.change(p.agent)
			}
			if got := holding(t, p, row.token).authentic(); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

// However often a registration is tried again, the time of the first try is not forgotten.
func TestANonceTellsWhenTheFirstTryBegan(t *testing.T) {
	p := holding(t, passOf(), "the-project-token")
	var nonce string
	for try := range 4 {
		at := noon.Add(time.Duration(try-4) * time.Minute)
		if try > 0 {
			p.first = p.begun(nonce)
		}
		var err error
		if nonce, err = p.newNonce(at); err != nil {
			t.Fatal(err)
		}
		if now, ok := nonceTime(nonce, noon); !ok || !now.Equal(at) || !p.marked(nonce) {
			t.Errorf("try %d: %q is of %s (%v), and authentic is %v", try, nonce, now, ok, p.marked(nonce))
		}
		if first := p.begun(nonce); !first.Equal(noon.Add(-4 * time.Minute)) {
			t.Errorf("try %d: %q began at %s", try, nonce, first)
		}
	}
	if at := p.begun("2026-01-01T00:00:00Z/ab@"); !at.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("a cut one began at %s", at)
	}
}

func TestWhoIsEntitledToAnAgentWithItsMachineID(t *testing.T) {
	chosen := func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-1" }
	for _, row := range []struct {
		name           string
		change         func(*v1alpha1.Agent)
		elsewhere      bool // the CloudProject is in another namespace
		adoption       v1alpha1.Adoption
		forged         bool
		created, began time.Time
		want           bool
	}{
		{"a derived machine ID is nobody else's", nil, true, "", false, noon.Add(-time.Hour), noon, true},
		{"a chosen one, in the CloudProject's own namespace", chosen, false, "", false, noon.Add(-time.Hour), noon, true},
		{"a chosen one, where taking over is allowed", chosen, true, v1alpha1.AdoptionAllowed, false, noon.Add(-time.Hour), noon, true},
		{"a chosen one, made by our registration", chosen, true, "", false, noon.Add(time.Second), noon, true},
		{"a chosen one, made in the same second", chosen, true, "", false, noon, noon.Add(900 * time.Millisecond), true},
		{"a chosen one, by a clock that is a little behind", chosen, true, "", false, noon.Add(-2 * time.Second), noon, true},
		{"a chosen one that was there before", chosen, true, "", false, noon.Add(-3 * time.Second), noon, false},
		{"a chosen one, without a registration of ours", chosen, true, "", false, noon, time.Time{}, false},
		{"a chosen one, with a forged record of a registration", chosen, true, "", true, noon.Add(time.Second), noon, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := holding(t, passOf(), "the-project-token")
			nonce, err := p.newNonce(noon)
			if err != nil {
				t.Fatal(err)
			}
			if row.forged {
				nonce = nonce[:len(nonce)-1] + "x"
			}
			annotated(v1alpha1.AnnotationRegistering, nonce)(p.agent)
			if row.change != nil {
				row.change(p.agent)
			}
			if row.elsewhere {
				p.cloudProject.Namespace = "platform"
			}
			p.cloudProject.Spec.Adoption = row.adoption
			if got := p.entitled(row.created, row.began); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestTheMachineIDOfAnAgent(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		want   string
	}{
		{"derived", func(*v1alpha1.Agent) {}, "6fb93865-063f-5b35-862d-531cebeb0c74"},
		{"chosen", func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-1" }, "machine-1"},
		{"recorded, whatever the cluster is called now", func(a *v1alpha1.Agent) { a.Status.MachineID = "recorded" }, "recorded"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := passOf(row.change).machineID(); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}
