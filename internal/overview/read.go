/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package overview

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// page is how many objects a response holds.
const page = 500

// project is a CloudProject, or what Agents name as one, with the numbers of its Agents.
type project struct {
	name                                          string // namespace/name
	ready, reason                                 string
	agents, agentsReady, stalled, reporting, mute int
}

// set is an AgentSet, with the numbers that its status has.
type set struct {
	name, ready, reason       string
	desired, current, isReady string
}

// trouble is an object that needs attention.
type trouble struct{ kind, name, problem, reason, message string }

// overview is what the command shows.
type overview struct {
	projects []*project
	sets     []set
	troubles []trouble
	notReady int
}

// unnamed is the CloudProject of Agents that name none.
const unnamed = "(default)"

// read collects what there is in a namespace, or in all.
func read(ctx context.Context, reader client.Reader, namespace string) (*overview, error) {
	found, byName := &overview{}, map[string]*project{}
	of := func(name string) *project {
		if byName[name] == nil {
			byName[name] = &project{name: name, ready: "-", reason: "not in view"}
			found.projects = append(found.projects, byName[name])
		}
		return byName[name]
	}
	err := each(ctx, reader, namespace, "CloudProjects", &v1alpha1.CloudProjectList{}, func(object client.Object) {
		p := object.(*v1alpha1.CloudProject)
		row := of(p.Namespace + "/" + p.Name)
		row.ready, row.reason = found.condition("CloudProject", p, p.Status.Conditions)
	})
	if err != nil {
		return nil, err
	}
	err = each(ctx, reader, namespace, "Agents", &v1alpha1.AgentList{}, func(object client.Object) {
		found.agent(object.(*v1alpha1.Agent), of)
	})
	if err != nil {
		return nil, err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AgentSetList"))
	err = each(ctx, reader, namespace, "AgentSets", list, func(object client.Object) { found.set(object.(*unstructured.Unstructured)) })
	if err != nil && !meta.IsNoMatchError(err) { // A cluster with older CRDs has no AgentSets.
		return nil, err
	}
	slices.SortFunc(found.projects, func(a, b *project) int { return cmp.Compare(a.name, b.name) })
	return found, nil
}

// each lists page by page.
func each(ctx context.Context, reader client.Reader, namespace, what string, list client.ObjectList, do func(client.Object)) error {
	next := ""
	for {
		err := reader.List(ctx, list, client.InNamespace(namespace), client.Limit(page), client.Continue(next))
		if meta.IsNoMatchError(err) {
			return err
		}
		if err != nil {
			return fmt.Errorf("the %s cannot be read: %w", what, err)
		}
		err = meta.EachListItem(list, func(object runtime.Object) error {
			do(object.(client.Object))
			return nil
		})
		if next = list.GetContinue(); err != nil || next == "" {
			return err
		}
	}
}

// agent counts an Agent with its CloudProject.
func (o *overview) agent(a *v1alpha1.Agent, of func(string) *project) {
	name := unnamed
	if ref := a.Spec.ProjectRef; ref != nil {
		name = cmp.Or(ref.Namespace, a.Namespace) + "/" + ref.Name
	}
	p := of(name)
	p.agents++
	if ready, _ := o.condition("Agent", a, a.Status.Conditions); ready == "True" {
		p.agentsReady++
	}
	if meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled) {
		p.stalled++
	}
	switch reporting := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReporting); {
	case reporting == nil || reporting.Status == metav1.ConditionUnknown:
	case reporting.Status == metav1.ConditionTrue:
		p.reporting++
	default:
		p.mute++
		if reporting.Reason == v1alpha1.ReasonMetricsStopped {
			o.troubles = append(o.troubles, trouble{"Agent", a.Namespace + "/" + a.Name, "silent", reporting.Reason, reporting.Message})
		}
	}
}

// set reads an AgentSet, whatever version of the kind the cluster has.
func (o *overview) set(object *unstructured.Unstructured) {
	var status struct {
		Conditions              []metav1.Condition
		Desired, Current, Ready *int64
	}
	content, _, _ := unstructured.NestedMap(object.Object, "status")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &status); err != nil {
		return // It has another form: there is nothing to show.
	}
	number := func(n *int64) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	row := set{
		name: object.GetNamespace() + "/" + object.GetName(), desired: number(status.Desired), current: number(status.Current),
		isReady: number(status.Ready),
	}
	row.ready, row.reason = o.condition("AgentSet", object, status.Conditions)
	o.sets = append(o.sets, row)
}

// condition is whether an object is Ready; one that is not needs attention.
func (o *overview) condition(kind string, object client.Object, conditions []metav1.Condition) (status, reason string) {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil {
		ready = &metav1.Condition{Status: metav1.ConditionUnknown, Reason: "Pending", Message: "the operator has not seen it yet"}
	}
	if ready.Status == metav1.ConditionTrue {
		return "True", ""
	}
	problem := "not Ready"
	switch {
	case !object.GetDeletionTimestamp().IsZero():
		problem = "being deleted"
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled):
		problem = "Stalled"
	}
	o.notReady++
	o.troubles = append(o.troubles, trouble{kind, object.GetNamespace() + "/" + object.GetName(), problem, ready.Reason, ready.Message})
	return string(ready.Status), ready.Reason
}
