/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	status "github.com/calyptia-agent-operator/operator/internal/testenv/kstatus"
)

func TestTheIntervalIsStretchedToTheRateLimit(t *testing.T) {
	for _, row := range []struct {
		name      string
		declared  time.Duration
		perSecond int32
		lists     *bool
		agents    int
		took      time.Duration // the last list
		want      time.Duration
	}{
		{"few Agents fit", 10 * time.Minute, 10, nil, 3000, 0, 10 * time.Minute},
		{"a read for each Agent takes half of the rate limit", 10 * time.Minute, 10, nil, 10000, 0, 34 * time.Minute},
		{"where the API lists, a page for a hundred is enough", 10 * time.Minute, 10, ptr.To(true), 10000, 0, 10 * time.Minute},
		{"no list is no list", 10 * time.Minute, 10, ptr.To(false), 10000, 0, 34 * time.Minute},
		{"one more Agent changes nothing", 10 * time.Minute, 10, nil, 10001, 0, 34 * time.Minute},
		{"without a limit there is nothing to stretch", time.Minute, 0, nil, 100000, 0, time.Minute},
		{
			"lists are not read one after the other", 10 * time.Minute, 10, ptr.To(true), 10000, 10*time.Minute + 20*time.Second,
			21 * time.Minute,
		},
		{"not without a limit either", 10 * time.Minute, 0, ptr.To(true), 10000, 6 * time.Minute, 12 * time.Minute},
		{"lists that need time between them", 10 * time.Minute, 10, ptr.To(true), 10000, 5 * time.Minute, 10 * time.Minute},
		{"there is a floor", time.Second, 10, nil, 1, 0, time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			cp := &v1alpha1.CloudProject{Spec: v1alpha1.CloudProjectSpec{
				ResyncInterval: &metav1.Duration{Duration: row.declared},
				RateLimit:      &v1alpha1.RateLimit{RequestsPerSecond: &row.perSecond},
			}}
			cp.Status.ListSupported = row.lists
			if got := resyncInterval(cp, row.agents, row.took); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	d := Delays{BackoffMin: time.Second, BackoffMax: 5 * time.Minute}
	for failures, top := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 9: 256 * time.Second, 10: 5 * time.Minute, 1000: 5 * time.Minute} {
		for range 100 {
			if got := d.backoff(failures); got < top/2 || got > top {
				t.Fatalf("after %d failures: %s, want between %s and %s", failures, got, top/2, top)
			}
		}
	}
}

func TestTwoFailuresAreOneMessage(t *testing.T) {
	held := fault.Waitingf(v1alpha1.ReasonInUse, "in use")
	refused := fault.Waitingf(v1alpha1.ReasonUnauthorized, "refused").Coded(fault.TokenRejected)
	waits := fault.Waitingf(v1alpha1.ReasonRateLimited, "wait").Quietly()
	for _, row := range []struct {
		name                string
		first, second, want *fault.Error
	}{
		{"none", nil, nil, nil},
		{"the first alone", held, nil, held},
		{"the second alone", nil, refused, refused},
		{"a quiet second adds nothing", held, waits, held},
		{"a quiet first gives way", waits, held, held},
		{
			"both, and user action is required if either wants it", held, refused,
			&fault.Error{Class: fault.Terminal, Reason: v1alpha1.ReasonInUse, Message: "in use; also, refused"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, both(row.first, row.second)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestConditionsAreRightForKstatus(t *testing.T) {
	quiet := fault.Waitingf(v1alpha1.ReasonRateLimited, "wait").Quietly()
	for _, row := range []struct {
		name   string
		before *fault.Error
		fault  *fault.Error
		want   map[string]string // condition type to status and reason
		state  status.Status
	}{{
		name: "good", want: map[string]string{"Ready": "True CredentialsVerified"}, state: status.CurrentStatus,
	}, {
		name: "user action is required", fault: fault.Terminalf(v1alpha1.ReasonInvalid, "x"),
		want:  map[string]string{"Ready": "False Invalid", "Stalled": "True Invalid"},
		state: status.FailedStatus,
	}, {
		name: "a rejected token stalls, although Agents wait", fault: fault.Waitingf(v1alpha1.ReasonUnauthorized, "x").Coded(fault.TokenRejected),
		want:  map[string]string{"Ready": "False Unauthorized", "Stalled": "True Unauthorized"},
		state: status.FailedStatus,
	}, {
		name: "waiting is in progress", fault: fault.Waitingf(v1alpha1.ReasonSourceNotFound, "x"),
		want: map[string]string{"Ready": "False SourceNotFound"}, state: status.InProgressStatus,
	}, {
		name: "trying before the first check", fault: fault.Retryablef(v1alpha1.ReasonCredentialsUnverified, "x").Coded(fault.CredentialsUnverified),
		want:  map[string]string{"Ready": "Unknown CredentialsUnverified", "Reconciling": "True CredentialsUnverified"},
		state: status.InProgressStatus,
	}, {
		name: "nothing to try", fault: fault.Waitingf(v1alpha1.ReasonCredentialsUnverified, "x").Coded(fault.CredentialsUnverified),
		want: map[string]string{"Ready": "Unknown CredentialsUnverified"}, state: status.InProgressStatus,
	}, {
		name: "an outage", fault: fault.Retryablef(v1alpha1.ReasonUnavailable, "x"),
		want: map[string]string{"Ready": "False Unavailable"}, state: status.InProgressStatus,
	}, {
		name: "a short throttle does not show on a ready CloudProject", fault: quiet,
		want: map[string]string{"Ready": "True CredentialsVerified"}, state: status.CurrentStatus,
	}, {
		name: "but shows on what is not", before: fault.Terminalf(v1alpha1.ReasonInvalid, "x"), fault: quiet,
		want: map[string]string{"Ready": "False RateLimited"}, state: status.InProgressStatus,
	}} {
		t.Run(row.name, func(t *testing.T) {
			cp := &v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
			cp.Status.ObservedGeneration = 3
			r := reporter{clock: clock.RealClock{}}
			r.setConditions(cp, row.before)
			r.setConditions(cp, row.fault)
			got := map[string]string{}
			for _, c := range cp.Status.Conditions {
				got[c.Type] = string(c.Status) + " " + c.Reason
				if c.ObservedGeneration != 3 {
					t.Errorf("%s observes generation %d", c.Type, c.ObservedGeneration)
				}
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if got := kstatusOf(t, cp); got != row.state {
				t.Errorf("kstatus is %s, want %s", got, row.state)
			}
		})
	}
}

func TestAnObjectWithoutStatusIsInProgress(t *testing.T) {
	cp := &v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	cp.Status.ObservedGeneration = -1 // The CRD's default.
	if got := kstatusOf(t, cp); got != status.InProgressStatus {
		t.Errorf("kstatus is %s", got)
	}
}

func TestWhichAgentsDelayTheDeletion(t *testing.T) {
	now := metav1.Now()
	intent := map[string]string{v1alpha1.AnnotationRegistrationIntent: "2026-01-01T00:00:00Z/x"}
	fenced := []string{v1alpha1.AgentFinalizer}
	for _, row := range []struct {
		name  string
		agent v1alpha1.Agent
		want  bool
	}{
		{"a new one does not", v1alpha1.Agent{}, false},
		{"the finalizer alone does not", v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Finalizers: fenced}}, false},
		{"a duplicate does", v1alpha1.Agent{Status: v1alpha1.AgentStatus{DuplicatesToDelete: []string{"id"}}}, true},
		{
			"one that is being deleted does",
			v1alpha1.Agent{
				ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now, Finalizers: fenced}, Status: v1alpha1.AgentStatus{ID: "id"},
			}, true,
		},
		{"a recorded ID does", v1alpha1.Agent{Status: v1alpha1.AgentStatus{ID: "id"}}, true},
		{"a registration in doubt does", v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Annotations: intent}}, true},
		{
			"a finished registration alone does not",
			v1alpha1.Agent{
				ObjectMeta: metav1.ObjectMeta{Annotations: intent},
				Status:     v1alpha1.AgentStatus{RegistrationIntent: intent[v1alpha1.AnnotationRegistrationIntent]},
			}, false,
		},
		{
			"an older registration that was restored does not",
			v1alpha1.Agent{
				ObjectMeta: metav1.ObjectMeta{Annotations: intent},
				Status:     v1alpha1.AgentStatus{RegistrationIntent: "2026-01-02T00:00:00Z/y"},
			}, false,
		},
		{
			"one that was released and waits for somebody else does not",
			v1alpha1.Agent{
				ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now, Finalizers: []string{"other"}},
				Status:     v1alpha1.AgentStatus{ID: "id"},
			}, false,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := holds(&row.agent); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestRequeuesHaveALowPriority(t *testing.T) {
	p := pacer{clocktesting.NewFakeClock(time.Now()), Delays{}.withDefaults()}
	for name, result := range map[string]int{
		"resync":   ptr.Deref(p.next(&memo{interval: time.Hour}, nil, false).Priority, 0),
		"failure":  ptr.Deref(p.again(t.Context(), &memo{}, errors.New("x")).Priority, 0),
		"a number": ptr.Deref(p.next(&memo{interval: time.Hour, wrote: wrote{at: p.clock.Now()}}, nil, true).Priority, 0),
	} {
		if result != handler.LowPriority {
			t.Errorf("%s has priority %d", name, result)
		}
	}
	got := p.next(&memo{interval: time.Hour, wrote: wrote{at: p.clock.Now()}}, nil, true).RequeueAfter
	if got != time.Minute {
		t.Errorf("a number that waits is written in %s", got)
	}
}

func TestAnEventIsNeverTooLong(t *testing.T) {
	events := &recorder{}
	r := reporter{recorder: events, clock: clock.RealClock{}}
	cp := &v1alpha1.CloudProject{}
	r.setConditions(cp, fault.Terminalf(v1alpha1.ReasonInvalid, "%s", strings.Repeat("ü", 1000)))
	r.announce(t.Context(), cp, nil)
	if got := len(events.all()[0]); got > maxNote+100 {
		t.Errorf("%d bytes", got)
	}
	if !apimeta.IsStatusConditionFalse(cp.Status.Conditions, ready) {
		t.Error("not Ready=False")
	}
}

// The cache may show the deletion of an Agent before that of its CloudProject, which waits for it.
func TestTheDeletionOfAnAgentIsHandledSoon(t *testing.T) {
	w := watches{delays: Delays{InUseDelay: time.Second, AgentCountInterval: time.Minute}}
	agent := &v1alpha1.Agent{}
	if wait := w.patience(&v1alpha1.CloudProject{}, agent); wait < 30*time.Second {
		t.Errorf("the number of Agents is counted after %s", wait)
	}
	agent.DeletionTimestamp = new(metav1.Now())
	if wait := w.patience(&v1alpha1.CloudProject{}, agent); wait != time.Second {
		t.Errorf("the deletion of an Agent is handled after %s", wait)
	}
}

// line is a queue that records the names in it.
type line struct {
	queue
	names []string
}

func (l *line) AddAfter(r ctrl.Request, _ time.Duration) { l.names = append(l.names, r.Name) }

// Anybody may name CloudProjects of another namespace that do not exist. They take no turn of those that do.
func TestAgentHandler_CloudProjectThatDoesNotExist_IsNotEnqueued(t *testing.T) {
	naming := func(name string) *v1alpha1.Agent {
		return &v1alpha1.Agent{Spec: v1alpha1.AgentSpec{ProjectRef: &v1alpha1.CloudProjectReference{Namespace: "default", Name: name}}}
	}
	cp := &v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "main"}}
	h, q := watches{client: shown{cp: cp}}.agentHandler(), &line{}
	h.Create(t.Context(), event.CreateEvent{Object: naming("none-1")}, q)
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: naming("none-1"), ObjectNew: naming("main")}, q)
	h.Delete(t.Context(), event.DeleteEvent{Object: naming("none-2")}, q)
	if !slices.Equal(q.names, []string{"main"}) {
		t.Errorf("enqueued %v, want main alone", q.names)
	}
}

// The first reconciliation counts the initial Agents; events for them would only repeat it.
func TestInitialAgentsCauseNoEvents(t *testing.T) {
	news := watches{}.agentChanges()
	for initial, want := range map[bool]bool{true: false, false: true} {
		if got := news.Create(event.CreateEvent{Object: &v1alpha1.Agent{}, IsInInitialList: initial}); got != want {
			t.Errorf("in the initial list: %v, reconciled: %v", initial, got)
		}
	}
}

// An Agent from before the validation of references may name an impossible CloudProject. Nothing is requested for
// that, so nothing fails, and the key is not requeued.
func TestACloudProjectThatCannotExistIsNoError(t *testing.T) {
	for _, name := range []string{"a/b", "..", ".", "a%2fb", "", "/", "a/../b"} {
		result, err := (&Reconciler{}).Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "default", Name: name}})
		if err != nil || result != (ctrl.Result{}) {
			t.Errorf("%q: %+v, error %v", name, result, err)
		}
	}
}

// Nor is an impossible Secret requested: it is reported as missing.
func TestATokenSecretThatCannotExistIsMissing(t *testing.T) {
	for _, name := range []string{"a/b", "..", "a%2fb"} {
		cp := &v1alpha1.CloudProject{Spec: v1alpha1.CloudProjectSpec{TokenSecretRef: v1alpha1.TokenSecretReference{Name: name}}}
		_, _, err := loader{}.token(t.Context(), cp)
		if f, ok := fault.As(err); !ok || f.Reason != v1alpha1.ReasonSourceNotFound {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// shown is a cache that shows one CloudProject, and nothing else.
type shown struct {
	client.Client
	cp *v1alpha1.CloudProject
}

func (s shown) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	if key != client.ObjectKeyFromObject(s.cp) {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	s.cp.DeepCopyInto(obj.(*v1alpha1.CloudProject))
	return nil
}

func (shown) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("not there")
}

// The cache may show a CloudProject for a moment after its release: its credentials are neither checked nor copied again.
func TestAReleasedCloudProjectIsLeftAlone(t *testing.T) {
	cp := &v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "main", UID: "uid"}}
	r := &Reconciler{Client: shown{cp: cp}, Projects: connection.NewRegistry(connection.Options{})}
	r.memos.dropped = r.Projects.Forget
	r.memos.of(cp)
	r.memos.release(client.ObjectKeyFromObject(cp))
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(cp)})
	if err != nil || result != (ctrl.Result{}) {
		t.Errorf("it is reconciled: %+v, error %v", result, err)
	}
}
