/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/schedule"
	"github.com/calyptia-agent-operator/operator/internal/testenv/standstill"
)

func TestUpToDate_IsAnAgentWithNothingLeftToDo(t *testing.T) {
	type (
		agent = func(*v1alpha1.Agent)
		more  = func(*task, *standstill.View)
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
		{"a duplicate to delete", func(a *v1alpha1.Agent) { a.Status.DuplicatesToDelete = []string{"other"} }, nil, false},
		{"a status that is not written", nil, func(p *task, _ *standstill.View) { p.Known.Timers.Unwritten = 1 }, false},
		{"a changed source", nil, func(_ *task, v *standstill.View) { v.Versions["ConfigMap/pipeline"] = "6" }, false},
		{"a deleted source", nil, func(_ *task, v *standstill.View) { delete(v.Versions, "ConfigMap/pipeline") }, false},
		{"a deleted token Secret", nil, func(_ *task, v *standstill.View) { delete(v.Versions, "Secret/web-token") }, false},
		{"a token Secret that changed since it was right", nil, func(p *task, _ *standstill.View) { p.Known.Secrets.Token = "6" }, false},
		{"a token Secret that is as it was right", nil, func(p *task, _ *standstill.View) { p.Known.Secrets.Token = "7" }, true},
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
		}, func(_ *task, v *standstill.View) { v.Versions["Secret/web-session"] = "8" }, true},
		{"a CloudProject that was deleted: it reports that itself", nil, func(_ *task, v *standstill.View) { v.Project = nil }, true},
		{"a check that is due", nil, func(p *task, _ *standstill.View) { p.Known.Timers.Check, p.Known.Secrets.Token = noon, "7" }, false},
		{"a check that is due soon", nil, func(p *task, _ *standstill.View) {
			p.Known.Timers.Check, p.Known.Secrets.Token = noon.Add(time.Second), "7"
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			change := row.agent
			if change == nil {
				change = func(*v1alpha1.Agent) {}
			}
			p, v := upToDate(change)
			if row.more != nil {
				row.more(p, v)
			}
			if got := (gate{p}).upToDate(t.Context()); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestAStartSpreadsTheLooksOverTheInterval(t *testing.T) {
	seen := map[time.Time]bool{}
	for range 100 {
		p, v := upToDate()
		v.Project.Spec.ResyncInterval = &metav1.Duration{Duration: time.Hour}
		v.Project.Status.ResyncInterval = &metav1.Duration{Duration: 2 * time.Hour} // Stretched to fit the rate limit.
		if !(gate{p}).upToDate(t.Context()) {
			t.Fatal("a start checks at once")
		}
		if p.Known.Timers.Check.Before(noon) || p.Known.Timers.Check.After(noon.Add(2*time.Hour)) {
			t.Fatalf("due at %s", p.Known.Timers.Check)
		}
		seen[p.Known.Timers.Check] = true
		result, err := p.sleep()
		if err != nil || result.RequeueAfter <= 0 || result.Priority == nil || *result.Priority >= 0 {
			t.Fatalf("%+v, error %v", result, err)
		}
	}
	if len(seen) < 90 {
		t.Errorf("only %d different times", len(seen))
	}
}

// A process that starts trusts the status about Secrets that did not change.
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
			p, v := upToDate(func(a *v1alpha1.Agent) {
				a.Status.Applied.TokenSecretResourceVersion, a.Status.Applied.SessionSecretResourceVersion = row.token, row.session
				if row.sessionDeclared {
					a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{}
					a.Status.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: "web-session"}
				}
			})
			v.Versions["Secret/web-session"] = "8"
			if !(gate{p}).upToDate(t.Context()) {
				t.Fatal("a start checks at once")
			}
			if p.Known.Secrets.Right != row.want {
				t.Errorf("verified %v, want %v", p.Known.Secrets.Right, row.want)
			}
		})
	}
}

func TestAFailureIsHeldUntilSomethingThatConcernsItChanges(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*task, *standstill.View)
		want   bool
	}{
		{"nothing changed", func(*task, *standstill.View) {}, true},
		{"the operator's own status write", func(p *task, _ *standstill.View) { p.Agent.ResourceVersion = "9" }, true},
		{"its time has come", func(p *task, _ *standstill.View) { p.Known.Timers.Retry = noon }, false},
		{"the spec", func(p *task, _ *standstill.View) { p.Agent.Generation++ }, false},
		{"a deletion", func(p *task, _ *standstill.View) { deleting(p.Agent) }, false},
		{"a request to reconcile", func(p *task, _ *standstill.View) { annotated(v1alpha1.AnnotationReconcileAt, "now")(p.Agent) }, false},
		{"leave to orphan", func(p *task, _ *standstill.View) { annotated(v1alpha1.AnnotationOrphan, "true")(p.Agent) }, false},
		{"the source", func(_ *task, v *standstill.View) { v.Versions["ConfigMap/pipeline"] = "6" }, false},
		{"the token Secret", func(_ *task, v *standstill.View) { v.Versions["Secret/web-token"] = "8" }, false},
		{"the token Secret is deleted", func(_ *task, v *standstill.View) { delete(v.Versions, "Secret/web-token") }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, v := upToDate()
			if (gate{p}).inBackoff(t.Context()) {
				t.Fatal("held without a failure")
			}
			finisher{p}.schedule(t.Context(), fault.Terminalf(v1alpha1.ReasonInvalid, "x"), noon)
			row.change(p, v)
			if got := (gate{p}).inBackoff(t.Context()); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

// A tenant may write annotations of any length: what is kept of them beside the Agent is short.
func TestWhatAFailureWaitsForIsKeptShort(t *testing.T) {
	p, _ := upToDate()
	annotated(v1alpha1.AnnotationReconcileAt, strings.Repeat("now ", 30_000))(p.Agent)
	annotated(v1alpha1.AnnotationOrphan, strings.Repeat("no ", 30_000))(p.Agent)
	if kept := (gate{p}).ofFailure(t.Context()); kept == "" || len(kept) > 64 {
		t.Errorf("%d bytes are kept", len(kept))
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
		{"as stretched to fit the rate limit", of(time.Hour), of(2 * time.Hour), 2 * time.Hour},
		{"nonsense is the default", of(-time.Hour), of(0), connection.DefaultResyncInterval},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, v := upToDate()
			v.Project.Spec.ResyncInterval, v.Project.Status.ResyncInterval = row.declared, row.stretched
			if got := p.Interval(t.Context()); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
			p.Seen = schedule.Read
			finisher{p}.schedule(t.Context(), nil, noon)
			if next := p.Known.Timers.Check.Sub(noon); next < row.want*9/10 || next > row.want*11/10+1 {
				t.Errorf("the next check is after %s", next)
			}
		})
	}
	p, v := upToDate()
	v.Project, p.CloudProject = nil, nil
	if got := p.Interval(t.Context()); got != connection.DefaultResyncInterval {
		t.Errorf("without a CloudProject: %s", got)
	}
}

// A reconciliation that read the remote agent and ended before it acted leaves the read to the next one.
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
			p, _ := upToDate(appliedAt(2))
			p.Base.Status = *p.Agent.Status.DeepCopy()
			p.Remote, p.Known.Timers.Check = row.look, noon.Add(time.Hour)
			finisher{p}.schedule(t.Context(), agentstatus.Classify(row.err), noon)
			if due := !p.Known.Timers.Check.After(noon); due != row.due || p.Known.Timers.Read != row.due {
				t.Errorf("due is %v, by a read %v", due, p.Known.Timers.Read)
			}
		})
	}
}

func TestASuspendedAgentRestsUntilItIsWoken(t *testing.T) {
	p := taskFor(func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	p.Known.Timers.Check = noon.Add(time.Hour)
	if result, err := p.sleep(); err != nil || result.RequeueAfter != 0 {
		t.Errorf("%+v, error %v", result, err)
	}
	deleting(p.Agent)
	if result, err := p.sleep(); err != nil || result.RequeueAfter != time.Hour {
		t.Errorf("its deletion: %+v, error %v", result, err)
	}
}
