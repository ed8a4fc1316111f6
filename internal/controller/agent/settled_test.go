/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// finished is a pass over an Agent with nothing left to do, and what it sees.
func finished(changes ...func(*v1alpha1.Agent)) (*pass, *view) {
	done := func(a *v1alpha1.Agent) {
		a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "main"}
		a.Spec.RawConfig, a.Spec.RawConfigFrom = "", configFrom("pipeline")
		a.Finalizers = []string{v1alpha1.AgentFinalizer}
		a.Status = v1alpha1.AgentStatus{
			ObservedGeneration: 2, ID: "id", URL: "https://cloud-api.calyptia.com",
			TokenSecretRef: &v1alpha1.LocalSecretReference{Name: "web-token"},
			Applied:        v1alpha1.AppliedState{Generation: 2, SourceResourceVersion: "5"},
			Conditions:     []metav1.Condition{{Type: "Ready", Status: "True", Reason: v1alpha1.ReasonApplied}},
		}
	}
	p := passOf(append([]func(*v1alpha1.Agent){done}, changes...)...)
	v := &view{project: p.cloudProject, versions: map[string]string{"Secret/web-token": "7", "ConfigMap/pipeline": "5"}}
	p.Client, p.Projects = v, connection.NewRegistry(connection.Options{Clock: p.Clock})
	return p, v
}

func configFrom(name string) *v1alpha1.KeySource {
	return &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: name, Key: "k"}}
}

func TestSettledIsAnAgentWithNothingLeftToDo(t *testing.T) {
	type (
		agent = func(*v1alpha1.Agent)
		more  = func(*pass, *view)
	)
	condition := func(status metav1.ConditionStatus, reason string) agent {
		return func(a *v1alpha1.Agent) { a.Status.Conditions[0].Status, a.Status.Conditions[0].Reason = status, reason }
	}
	for _, row := range []struct {
		name  string
		agent agent
		more  more
		want  bool
	}{
		{"nothing to do", nil, nil, true},
		{"never seen", func(a *v1alpha1.Agent) { a.Status = v1alpha1.AgentStatus{ObservedGeneration: -1} }, nil, false},
		{"not Ready", condition("False", v1alpha1.ReasonUnavailable), nil, false},
		{"Ready, because it was suspended", condition("True", v1alpha1.ReasonSuspended), nil, false},
		{"no remote agent", func(a *v1alpha1.Agent) { a.Status.ID = "" }, nil, false},
		{"a finalizer that somebody removed", func(a *v1alpha1.Agent) { a.Finalizers = []string{"foregroundDeletion"} }, nil, false},
		{"a registration under way", annotated(v1alpha1.AnnotationRegistrationIntent, "t/1"), nil, false},
		{"a registration that is recorded", func(a *v1alpha1.Agent) {
			annotated(v1alpha1.AnnotationRegistrationIntent, "t/1")(a)
			a.Status.RegistrationIntent = "t/1"
		}, nil, true},
		{"a new generation", func(a *v1alpha1.Agent) { a.Generation = 3 }, nil, false},
		{"a generation that is seen and not applied", func(a *v1alpha1.Agent) { a.Status.Applied.Generation = 1 }, nil, false},
		{"a request to reconcile", annotated(v1alpha1.AnnotationReconcileAt, "now"), nil, false},
		{"a double to withdraw", func(a *v1alpha1.Agent) { a.Status.DuplicatesToDelete = []string{"other"} }, nil, false},
		{"a status that is not written", nil, func(p *pass, _ *view) { p.memory.unwritten = 1 }, false},
		{"a changed source", nil, func(_ *pass, v *view) { v.versions["ConfigMap/pipeline"] = "6" }, false},
		{"a deleted source", nil, func(_ *pass, v *view) { delete(v.versions, "ConfigMap/pipeline") }, false},
		{"a deleted token Secret", nil, func(_ *pass, v *view) { delete(v.versions, "Secret/web-token") }, false},
		{"a token Secret that changed since it was right", nil, func(p *pass, _ *view) { p.memory.secretVersion = "6" }, false},
		{"a token Secret that is as it was right", nil, func(p *pass, _ *view) { p.memory.secretVersion = "7" }, true},
		{"a token Secret of another name", func(a *v1alpha1.Agent) {
			a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "mine"}
		}, nil, false},
		{"a session that is wanted and not made", func(a *v1alpha1.Agent) {
			a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{}
		}, nil, false},
		{"a session that is made and no longer wanted", func(a *v1alpha1.Agent) {
			a.Status.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: "web-session"}
		}, nil, false},
		{"a session that is there", func(a *v1alpha1.Agent) {
			a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{}
			a.Status.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: "web-session"}
		}, func(_ *pass, v *view) { v.versions["Secret/web-session"] = "8" }, true},
		{"a CloudProject that went: it tells of that itself", nil, func(_ *pass, v *view) { v.project = nil }, true},
		{"a look that is due", nil, func(p *pass, _ *view) { p.memory.due, p.memory.secretVersion = noon, "7" }, false},
		{"a look that is due soon", nil, func(p *pass, _ *view) { p.memory.due, p.memory.secretVersion = noon.Add(time.Second), "7" }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			change := row.agent
			if change == nil {
				change = func(*v1alpha1.Agent) {}
			}
			p, v := finished(change)
			if row.more != nil {
				row.more(p, v)
			}
			if got := p.settled(t.Context()); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestAStartSpreadsTheLooksOverTheInterval(t *testing.T) {
	seen := map[time.Time]bool{}
	for range 100 {
		p, v := finished()
		v.project.Spec.ResyncInterval = &metav1.Duration{Duration: time.Hour}
		v.project.Status.ResyncInterval = &metav1.Duration{Duration: 2 * time.Hour} // Stretched to the budget.
		if !p.settled(t.Context()) {
			t.Fatal("a start looks at once")
		}
		if p.memory.due.Before(noon) || p.memory.due.After(noon.Add(2*time.Hour)) {
			t.Fatalf("due at %s", p.memory.due)
		}
		seen[p.memory.due] = true
		result, err := p.rest()
		if err != nil || result.RequeueAfter <= 0 || result.Priority == nil || *result.Priority >= 0 {
			t.Fatalf("%+v, error %v", result, err)
		}
	}
	if len(seen) < 90 {
		t.Errorf("only %d different times", len(seen))
	}
}

// A start believes the process before it of the Secrets that are as that one found them right.
func TestAStartKnowsTheSecretsThatNobodyTouched(t *testing.T) {
	for _, row := range []struct {
		name            string
		token, session  string // as recorded
		sessionDeclared bool
		want            bool
	}{
		{"untouched", "7", "", false, true},
		{"touched", "6", "", false, false},
		{"not recorded", "", "", false, false},
		{"both untouched", "7", "8", true, true},
		{"a session that was touched", "7", "7", true, false},
		{"a session that is not recorded", "7", "", true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, v := finished(func(a *v1alpha1.Agent) {
				a.Status.Applied.TokenSecretResourceVersion, a.Status.Applied.SessionSecretResourceVersion = row.token, row.session
				if row.sessionDeclared {
					a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{}
					a.Status.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: "web-session"}
				}
			})
			v.versions["Secret/web-session"] = "8"
			if !p.settled(t.Context()) {
				t.Fatal("a start looks at once")
			}
			if p.memory.verified != row.want {
				t.Errorf("verified %v, want %v", p.memory.verified, row.want)
			}
		})
	}
}

func TestAFailureIsHeldUntilSomethingThatConcernsItChanges(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*pass, *view)
		want   bool
	}{
		{"nothing changed", func(*pass, *view) {}, true},
		{"the operator's own status write", func(p *pass, _ *view) { p.agent.ResourceVersion = "9" }, true},
		{"its time has come", func(p *pass, _ *view) { p.memory.hold = noon }, false},
		{"the spec", func(p *pass, _ *view) { p.agent.Generation++ }, false},
		{"a deletion", func(p *pass, _ *view) { deleting(p.agent) }, false},
		{"a request to reconcile", func(p *pass, _ *view) { annotated(v1alpha1.AnnotationReconcileAt, "now")(p.agent) }, false},
		{"leave to orphan", func(p *pass, _ *view) { annotated(v1alpha1.AnnotationOrphan, "true")(p.agent) }, false},
		{"the source", func(_ *pass, v *view) { v.versions["ConfigMap/pipeline"] = "6" }, false},
		{"the token Secret", func(_ *pass, v *view) { v.versions["Secret/web-token"] = "8" }, false},
		{"the token Secret goes", func(_ *pass, v *view) { delete(v.versions, "Secret/web-token") }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, v := finished()
			if p.held(t.Context()) {
				t.Fatal("held without a failure")
			}
			p.remember(t.Context(), classed{fault.Terminalf(v1alpha1.ReasonInvalid, "x")}, noon)
			row.change(p, v)
			if got := p.held(t.Context()); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestIntervals(t *testing.T) {
	of := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	for _, row := range []struct {
		name                string
		declared, stretched *metav1.Duration
		want                time.Duration
	}{
		{"the default", nil, nil, connection.DefaultResyncInterval},
		{"as declared", of(time.Hour), nil, time.Hour},
		{"as stretched to the budget", of(time.Hour), of(2 * time.Hour), 2 * time.Hour},
		{"nonsense is the default", of(-time.Hour), of(0), connection.DefaultResyncInterval},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, v := finished()
			v.project.Spec.ResyncInterval, v.project.Status.ResyncInterval = row.declared, row.stretched
			if got := p.interval(t.Context()); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
			p.observed(t.Context())
			if next := p.memory.due.Sub(noon); next < row.want*9/10 || next > row.want*11/10+1 {
				t.Errorf("the next look is after %s", next)
			}
		})
	}
	p, v := finished()
	v.project, p.cloudProject = nil, nil
	if got := p.interval(t.Context()); got != connection.DefaultResyncInterval {
		t.Errorf("without a CloudProject: %s", got)
	}
}

// A pass that ended between its look at the remote agent and acting on it leaves the look to the next one.
func TestALookThatWasNotActedOnIsRepeated(t *testing.T) {
	waiting := fault.Waitingf(v1alpha1.ReasonProgressing, "waiting for the list of remote agents").After(time.Second).Quietly()
	for _, row := range []struct {
		name string
		look *cloud.Agent
		err  error
		due  bool
	}{
		{"it was read, and then had to wait", &cloud.Agent{ID: "id"}, waiting, true},
		{"it was not read", nil, waiting, false},
		{"all was done", &cloud.Agent{ID: "id"}, nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, _ := finished(appliedAt(2))
			p.base.Status = *p.agent.Status.DeepCopy()
			p.remote, p.memory.due = row.look, noon.Add(time.Hour)
			f := classify(row.err)
			p.remember(t.Context(), f, noon)
			if due := !p.memory.due.After(noon); due != row.due || p.memory.differs != row.due {
				t.Errorf("due is %v, differs is %v", due, p.memory.differs)
			}
		})
	}
}

func TestASuspendedAgentRestsUntilItIsWoken(t *testing.T) {
	p := passOf(func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	p.memory.due = noon.Add(time.Hour)
	if result, err := p.rest(); err != nil || result.RequeueAfter != 0 {
		t.Errorf("%+v, error %v", result, err)
	}
	deleting(p.agent)
	if result, err := p.rest(); err != nil || result.RequeueAfter != time.Hour {
		t.Errorf("its deletion: %+v, error %v", result, err)
	}
}
