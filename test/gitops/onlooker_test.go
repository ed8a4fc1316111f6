/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package gitops_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// onlooker checks every version of every Agent and CloudProject of a World from their creation on.
type onlooker struct {
	*harness.World
	scripts map[string]string

	mu       sync.Mutex
	reported map[string][]string // the statuses of an object, without repetitions
	seen     map[string]int      // versions of an object
	faults   []string
}

// observe watches the namespaces of the World until the test ends. The watch starts with the existing objects, which are
// still unchanged, so it sees the CloudProject of the World from its creation on.
func observe(t *testing.T, w *harness.World) *onlooker {
	t.Helper()
	o := &onlooker{World: w, reported: map[string][]string{}, seen: map[string]int{}, scripts: map[string]string{
		agentKind: script(t, agentKind), projectKind: script(t, projectKind),
	}}
	c, err := client.NewWithWatch(harness.Plane().Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ends sync.WaitGroup
	for kind := range o.scripts {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		watching, err := c.Watch(ctx, list, client.InNamespace(w.Namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}})
		if err != nil {
			cancel()
			t.Fatal(err)
		}
		t.Cleanup(watching.Stop)
		ends.Go(func() {
			for event := range watching.ResultChan() {
				o.see(event)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		ends.Wait()
		for _, problem := range o.faults {
			t.Error(problem)
		}
	})
	return o
}

func (o *onlooker) see(event watch.Event) {
	object, ok := event.Object.(*unstructured.Unstructured)
	if !ok || event.Type == watch.Deleted {
		return
	}
	result, err := status.Compute(object)
	h, scriptErr := argo(o.scripts[object.GetKind()], object)
	o.mu.Lock()
	defer o.mu.Unlock()
	name := object.GetKind() + " " + object.GetName()
	o.seen[name]++
	fault := func(format string, args ...any) {
		o.faults = append(o.faults, fmt.Sprintf("version %d of %s: ", o.seen[name], name)+fmt.Sprintf(format, args...))
	}
	if err != nil || scriptErr != nil {
		fault("kstatus: %v, the script: %v", err, scriptErr)
		return
	}
	if !agree(h, result.Status) {
		fault("Argo CD says %v, kstatus %v", h, result)
	}
	now := fmt.Sprintf("%d %s %s", object.GetGeneration(), result.Status, h.Status)
	if all := o.reported[name]; len(all) == 0 || all[len(all)-1] != now {
		o.reported[name] = append(all, now)
	}
	for _, problem := range o.judge(object, result.Status) {
		fault("%s", problem)
	}
}

// judge compares the result of kstatus with the object itself and with the requests to Calyptia Cloud.
func (o *onlooker) judge(object *unstructured.Unstructured, s status.Status) (problems []string) {
	claim := func(right bool, format string, args ...any) {
		if !right {
			problems = append(problems, fmt.Sprintf("%s, but ", s)+fmt.Sprintf(format, args...))
		}
	}
	conditions, observed := conditionsOf(object)
	is := shapeOf(conditions)
	deleting := object.GetDeletionTimestamp() != nil
	claim((s == status.TerminatingStatus) == deleting, "deletionTimestamp is %v", object.GetDeletionTimestamp())
	claim(!is.stalled || !is.reconciling, "both Stalled and Reconciling")
	if deleting {
		return problems
	}
	if observed != object.GetGeneration() {
		claim(s == status.InProgressStatus, "the operator has seen generation %d of %d", observed, object.GetGeneration())
		return problems
	}
	claim((s == status.CurrentStatus) == (is == good), "the conditions are %+v", is)
	claim((s == status.FailedStatus) == is.stalled, "the conditions are %+v", is)
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return append(problems, "there is no Ready")
	}
	claim(slices.Contains(states[ready.Reason][object.GetKind()], is), "no row has the reason %s with %+v", ready.Reason, is)
	if s == status.CurrentStatus && object.GetKind() == agentKind {
		var a v1alpha1.Agent
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &a); err != nil {
			return append(problems, err.Error())
		}
		claim(a.Status.ID != "", "nothing is registered")
		claim(a.Status.Applied.Generation == a.Generation, "generation %d of %d is applied", a.Status.Applied.Generation, a.Generation)
		claim(a.Spec.Version == "" || o.took(a.Spec.Version), "Calyptia Cloud never got version %s", a.Spec.Version)
	}
	return problems
}

// took reports whether Calyptia Cloud accepted a registration or an update with this version.
func (o *onlooker) took(version string) bool {
	return slices.ContainsFunc(o.Cloud.Requests(), func(r cloudtest.Request) bool {
		var body struct {
			Version string `json:"version"`
		}
		wrote := r.Method == http.MethodPost || r.Method == http.MethodPatch
		return wrote && r.Status/100 == 2 && json.Unmarshal(r.Body, &body) == nil && body.Version == version
	})
}

func conditionsOf(object *unstructured.Unstructured) (conditions []metav1.Condition, observed int64) {
	var parsed struct {
		Status struct {
			ObservedGeneration int64
			Conditions         []metav1.Condition
		}
	}
	data, err := object.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(data, &parsed)
	}
	if err != nil {
		panic(err)
	}
	return parsed.Status.Conditions, parsed.Status.ObservedGeneration
}

func shapeOf(conditions []metav1.Condition) shape {
	s := shape{
		reconciling: meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling),
		stalled:     meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled),
	}
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
		s.ready = ready.Status
	}
	return s
}

// becomes waits until the last status of an object is this, as in "2 Current Healthy".
func (o *onlooker) becomes(object, want string) {
	o.Helper()
	o.Eventually(fmt.Sprintf("%s is %s", object, want), func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		all := o.reported[object]
		if len(all) == 0 || all[len(all)-1] != want {
			return fmt.Errorf("it went through %q", all)
		}
		return nil
	})
}

func (o *onlooker) story(object string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.reported[object])
}
