/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package status computes the status of a custom resource as kstatus does, which Flux and others use to wait. It is for tests:
// the library itself, which knows every built-in kind, would be a dependency of the operator. test/gitops compares the two.
package status

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Status is the status of an object for a client that waits for it.
type Status string

// The statuses of an existing object.
const (
	InProgressStatus  Status = "InProgress"
	FailedStatus      Status = "Failed"
	CurrentStatus     Status = "Current"
	TerminatingStatus Status = "Terminating"
)

// Result is the status of an object.
type Result struct{ Status Status }

// Compute returns the status of a custom resource.
func Compute(object *unstructured.Unstructured) (*Result, error) {
	if object.GetDeletionTimestamp() != nil {
		return &Result{TerminatingStatus}, nil
	}
	content, _, err := unstructured.NestedMap(object.Object, "status")
	if err != nil {
		return nil, err
	}
	var status struct {
		ObservedGeneration *int64             `json:"observedGeneration"`
		Conditions         []metav1.Condition `json:"conditions"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &status); err != nil {
		return nil, err
	}
	if status.ObservedGeneration != nil && object.GetGeneration() != 0 && *status.ObservedGeneration != object.GetGeneration() {
		return &Result{InProgressStatus}, nil
	}
	for _, condition := range status.Conditions {
		switch {
		case condition.Status != metav1.ConditionTrue:
		case condition.Type == "Reconciling":
			return &Result{InProgressStatus}, nil
		case condition.Type == "Stalled":
			return &Result{FailedStatus}, nil
		}
	}
	for _, condition := range status.Conditions {
		if condition.Type == "Ready" && condition.Status != metav1.ConditionTrue {
			return &Result{InProgressStatus}, nil
		}
	}
	return &Result{CurrentStatus}, nil
}
