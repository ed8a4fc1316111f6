/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// createRow is an object to create. Without a message it is accepted; else it is refused for that reason, and for no other field.
type createRow struct {
	does    string
	spec    string // YAML, merged into the minimal spec of the kind; null removes
	object  string // name of the object, where that matters
	field   string
	message string
}

// updateRow is a change of an object that was accepted.
type updateRow struct {
	does     string
	from, to string // YAML; from is merged into the minimal spec, to into the result; null removes
	field    string
	message  string
}

// refusal is one reason for which the API server refused an object of a kind.
type refusal struct{ kind, field, message string }

func TestValidation(t *testing.T) {
	var seen []refusal
	t.Run("Agent", func(t *testing.T) {
		seen = append(seen, checkCreates(t, "Agent", minimalAgent, agentCreates)...)
		seen = append(seen, checkCreates(t, "Agent", minimalAgent, agentNames)...)
		seen = append(seen, checkUpdates(t, "Agent", minimalAgent, agentUpdates)...)
		seen = append(seen, checkStatuses(t, "Agent", minimalAgent, agentStatuses)...)
	})
	t.Run("AgentSet", func(t *testing.T) {
		seen = append(seen, checkCreates(t, "AgentSet", minimalSet, setCreates)...)
		seen = append(seen, checkCreates(t, "AgentSet", minimalSet, inTemplate(agentCreates))...)
		seen = append(seen, checkCreates(t, "AgentSet", minimalSet, inTemplate(agentNames))...)
		seen = append(seen, checkUpdates(t, "AgentSet", minimalSet, setUpdates)...)
		seen = append(seen, checkUpdates(t, "AgentSet", minimalSet, updatesInTemplate(agentUpdates))...)
	})
	t.Run("CloudProject", func(t *testing.T) {
		seen = append(seen, checkCreates(t, "CloudProject", minimalProject, projectCreates)...)
		seen = append(seen, checkUpdates(t, "CloudProject", minimalProject, projectUpdates)...)
	})
	// A separate subtest, so that `go test -run TestValidation/Agent` leaves it out.
	t.Run("every constraint has a row that it refuses", func(t *testing.T) {
		for _, constraint := range constraints(t) {
			if !constraint.refusedOneOf(seen) && !slices.Contains(unreachable, constraint) {
				t.Errorf("%s %s: no row is refused for: %s", constraint.kind, constraint.field, constraint.message)
			}
		}
	})
}

func checkCreates(t *testing.T, kind, minimal string, rows []createRow) (seen []refusal) {
	namespace := newNamespace(t)
	for _, row := range rows {
		t.Run(row.does, func(t *testing.T) {
			object := newObject(t, kind, namespace, cmp.Or(row.object, "row"), minimal, row.spec)
			err := kube.Create(t.Context(), object, client.DryRunAll)
			seen = append(seen, checkRefusal(t, err, refusal{kind, row.field, row.message})...)
		})
	}
	return seen
}

func checkUpdates(t *testing.T, kind, minimal string, rows []updateRow) (seen []refusal) {
	namespace := newNamespace(t)
	for _, row := range rows {
		t.Run(row.does, func(t *testing.T) {
			object := newObject(t, kind, namespace, "row", minimal, row.from)
			noError(t, kube.Create(t.Context(), object))
			t.Cleanup(func() { remove(t, object) })
			object.Object["spec"] = mergedSpec(t, minimal, row.from, row.to)
			err := kube.Update(t.Context(), object.DeepCopy())
			seen = append(seen, checkRefusal(t, err, refusal{kind, row.field, row.message})...)
		})
	}
	return seen
}

// checkStatuses takes the spec of a row for the status of an object.
func checkStatuses(t *testing.T, kind, minimal string, rows []createRow) (seen []refusal) {
	object := newObject(t, kind, newNamespace(t), "row", minimal)
	noError(t, kube.Create(t.Context(), object))
	for _, row := range rows {
		t.Run(row.does, func(t *testing.T) {
			update := object.DeepCopy()
			update.Object["status"] = mergedSpec(t, row.spec)
			err := kube.Status().Update(t.Context(), update, client.DryRunAll)
			seen = append(seen, checkRefusal(t, err, refusal{kind, row.field, row.message})...)
		})
	}
	return seen
}

func remove(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	// The context of a test that ends is canceled already.
	if err := kube.Delete(context.WithoutCancel(t.Context()), object); err != nil {
		t.Error(err)
	}
}

// checkRefusal compares what the API server said with what was wanted and returns the reasons it gave.
// olderTooLong is how an API server of Kubernetes 1.30 says that a text is too long.
var olderTooLong = regexp.MustCompile(`may not be longer than (\d+)$`)

func checkRefusal(t *testing.T, err error, want refusal) []refusal {
	t.Helper()
	if want.message == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return nil
	}
	status := &apierrors.StatusError{}
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want %s: %s", err, want.field, want.message)
		return nil
	}
	var got []refusal
	matches := false
	for _, cause := range status.ErrStatus.Details.Causes {
		if strings.Contains(cause.Message, "some validation rules were not checked") {
			continue
		}
		message := olderTooLong.ReplaceAllString(cause.Message, "may not be more than $1 bytes")
		got = append(got, refusal{want.kind, cause.Field, message})
		matches = matches || strings.Contains(message, want.message)
		if cause.Field != want.field {
			t.Errorf("also refused for %s: %s", cause.Field, cause.Message)
		}
	}
	if !matches {
		t.Errorf("refused for %q\nwant %q", got, want)
	}
	return got
}
