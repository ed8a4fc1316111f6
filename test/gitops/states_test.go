/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package gitops_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// shape is a combination of the conditions Ready, Reconciling and Stalled.
type shape struct {
	ready                metav1.ConditionStatus
	reconciling, stalled bool
}

// The combinations that the operator sets.
var (
	good         = shape{ready: metav1.ConditionTrue}
	reconciling  = shape{ready: metav1.ConditionFalse, reconciling: true} // this generation is not applied yet
	interrupted  = shape{ready: metav1.ConditionFalse}                    // it was applied, and then something failed
	stalled      = shape{ready: metav1.ConditionFalse, stalled: true}     // user action required
	checking     = shape{ready: metav1.ConditionUnknown, reconciling: true}
	inconclusive = shape{ready: metav1.ConditionUnknown}
	unknown      = shape{ready: metav1.ConditionUnknown, stalled: true} // and user action required
)

// row has the kinds that a reason is set on, each with its possible shapes.
type row map[string][]shape

const (
	agentKind   = "Agent"
	projectKind = "CloudProject"
	setKind     = "AgentSet"
)

// An Agent that waits or is retried has both shapes: before and after it was applied.
var waits = []shape{reconciling, interrupted}

// states are all reasons of Ready. Other conditions do not affect health, so their reasons have no shapes.
var states = map[string]row{
	v1alpha1.ReasonApplied:             {agentKind: {good}, setKind: {good}},
	v1alpha1.ReasonObserved:            {agentKind: {good}},
	v1alpha1.ReasonCredentialsVerified: {projectKind: {good}},
	v1alpha1.ReasonSuspended:           {agentKind: {good, reconciling, interrupted}},

	v1alpha1.ReasonProgressing:                {agentKind: waits, projectKind: {interrupted}, setKind: {reconciling}},
	v1alpha1.ReasonRegistrationOutcomeUnknown: {agentKind: {reconciling, interrupted, stalled}},
	v1alpha1.ReasonProjectNotFound:            {agentKind: waits},
	v1alpha1.ReasonProjectNotReady:            {agentKind: waits},
	v1alpha1.ReasonSourceNotFound:             {agentKind: waits, projectKind: {interrupted, stalled}},
	v1alpha1.ReasonNameNotFound:               {agentKind: waits},
	v1alpha1.ReasonUnauthorized:               {projectKind: {stalled}},
	v1alpha1.ReasonRateLimited:                {agentKind: waits, projectKind: {interrupted}},
	v1alpha1.ReasonUnavailable:                {agentKind: waits, projectKind: {interrupted, stalled}},
	v1alpha1.ReasonInvalidResponse:            {agentKind: {reconciling, interrupted, stalled}, setKind: {stalled}},
	v1alpha1.ReasonListTooLarge:               {agentKind: waits},
	v1alpha1.ReasonAPIServer:                  {agentKind: waits, projectKind: {interrupted, stalled}, setKind: {reconciling, stalled}},
	v1alpha1.ReasonRemoteDeleted:              {agentKind: waits},
	v1alpha1.ReasonInUse:                      {projectKind: {interrupted, stalled}},
	v1alpha1.ReasonCredentialsUnverified:      {projectKind: {checking, inconclusive, unknown}},

	v1alpha1.ReasonNoProject:            {agentKind: {stalled}},
	v1alpha1.ReasonProjectNotAllowed:    {agentKind: {stalled}},
	v1alpha1.ReasonInvalid:              {agentKind: {stalled}, projectKind: {stalled}, setKind: {stalled}},
	v1alpha1.ReasonSourceInvalid:        {agentKind: {stalled}, projectKind: {stalled}},
	v1alpha1.ReasonForbidden:            {agentKind: {stalled}},
	v1alpha1.ReasonQuotaExceeded:        {agentKind: {stalled}},
	v1alpha1.ReasonMachineIDConflict:    {agentKind: {stalled, reconciling, interrupted}},
	v1alpha1.ReasonRemoteAlreadyManaged: {agentKind: {stalled, reconciling, interrupted}},
	v1alpha1.ReasonRemoteNotFound:       {agentKind: {stalled}},
	v1alpha1.ReasonRemoteMismatch:       {agentKind: {stalled, reconciling, interrupted}},
	v1alpha1.ReasonAdoptionNotAllowed:   {agentKind: {stalled}},
	v1alpha1.ReasonSecretConflict:       {agentKind: {stalled}, projectKind: {stalled}, setKind: {stalled}},
	v1alpha1.ReasonSecretWriteRefused:   {agentKind: {stalled}, projectKind: {stalled, interrupted}, setKind: {stalled}},
	v1alpha1.ReasonTokenUnavailable:     {agentKind: {stalled}},
	v1alpha1.ReasonURLNotAllowed:        {projectKind: {stalled}},
	v1alpha1.ReasonMassDeletionDetected: {agentKind: waits, projectKind: {stalled}},
	v1alpha1.ReasonReadOnly:             {agentKind: {stalled}},

	v1alpha1.ReasonTargetNotFound:     {setKind: {reconciling}},
	v1alpha1.ReasonTargetConflict:     {setKind: {stalled}},
	v1alpha1.ReasonAgentConflict:      {setKind: {stalled}},
	v1alpha1.ReasonAgentsNotReady:     {setKind: {reconciling, stalled}},
	v1alpha1.ReasonSessionsTooLarge:   {setKind: {stalled}},
	v1alpha1.ReasonTooManyReplicas:    {setKind: {stalled}},
	v1alpha1.ReasonTargetTooLarge:     {setKind: {stalled}},
	v1alpha1.ReasonAgentSetsDisabled:  {setKind: {stalled}},
	v1alpha1.ReasonAgentsNotReporting: {setKind: {}},

	v1alpha1.ReasonMetricsReceived:   {setKind: {}},
	v1alpha1.ReasonMetricsStopped:    {},
	v1alpha1.ReasonNeverReported:     {},
	v1alpha1.ReasonChangedExternally: {},
	v1alpha1.ReasonNotPersisted:      {},
}

// expected is the expected result of Argo CD and kstatus for a shape.
func (s shape) expected(reason string) (string, status.Status) {
	switch {
	case s.stalled:
		return degraded, status.FailedStatus
	case s.ready == metav1.ConditionTrue:
		return healthy, status.CurrentStatus
	case reason == v1alpha1.ReasonSuspended:
		return suspended, status.InProgressStatus
	default:
		return progressing, status.InProgressStatus
	}
}

// object has these conditions, and others that do not affect its health.
func (s shape) object(kind, reason string, generation, observed int64) *unstructured.Unstructured {
	var conditions []any
	add := func(kind string, is metav1.ConditionStatus, reason string) {
		conditions = append(conditions, map[string]any{
			"type": kind, "status": string(is), "reason": reason, "message": "why", "observedGeneration": observed,
			"lastTransitionTime": "2026-01-01T00:00:00Z",
		})
	}
	add(v1alpha1.ConditionReporting, metav1.ConditionFalse, v1alpha1.ReasonNeverReported)
	add(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonChangedExternally)
	add(v1alpha1.ConditionReady, s.ready, reason)
	if s.reconciling {
		add(v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason)
	}
	if s.stalled {
		add(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind,
		"metadata": map[string]any{"name": "a", "namespace": "b", "generation": generation},
		"status":   map[string]any{"observedGeneration": observed, "conditions": conditions},
	}}
}

func TestEveryReasonHasARow(t *testing.T) {
	t.Parallel()
	declared := regexp.MustCompile(`(?m)^\tReason\w+ += "(\w+)"$`).FindAllStringSubmatch(file(t, "api", "v1alpha1", "condition_types.go"), -1)
	var reasons []string
	for _, match := range declared {
		reasons = append(reasons, match[1])
		if _, ok := states[match[1]]; !ok {
			t.Errorf("the reason %s has no row: add its kind and its shapes", match[1])
		}
	}
	for reason := range states {
		if !slices.Contains(reasons, reason) {
			t.Errorf("the row %s is of no reason", reason)
		}
	}
}

// The page of reasons explains every reason that an object can have.
func TestThePageOfReasonsHasEveryReason(t *testing.T) {
	t.Parallel()
	page := file(t, "docs", "reference", "reasons.md")
	for reason := range states {
		if !strings.Contains(page, "\n### "+reason+"\n") {
			t.Errorf("docs/reference/reasons.md has no section for %s", reason)
		}
	}
}

func TestArgoAndKstatusAgreeOnEveryState(t *testing.T) {
	t.Parallel()
	for reason, kinds := range states {
		for kind, shapes := range kinds {
			for _, s := range shapes {
				name := fmt.Sprintf("%s %s %+v", kind, reason, s)
				wantHealth, wantStatus := s.expected(reason)
				judge(t, name, s.object(kind, reason, 3, 3), wantHealth, wantStatus)
				// If the operator has not seen a change of the spec yet, the old conditions do not count.
				judge(t, name+", outdated", s.object(kind, reason, 4, 3), progressing, status.InProgressStatus)
				gone := s.object(kind, reason, 4, 4)
				now := metav1.Now()
				gone.SetDeletionTimestamp(&now)
				judge(t, name+", being deleted", gone, progressing, status.TerminatingStatus)
			}
		}
	}
	for _, kind := range []string{agentKind, projectKind, setKind} {
		fresh := good.object(kind, v1alpha1.ReasonApplied, 1, 1)
		fresh.Object["status"] = map[string]any{"observedGeneration": int64(-1)}
		judge(t, kind+" that nobody has seen", fresh, progressing, status.InProgressStatus)
		delete(fresh.Object, "status")
		if h, err := argo(script(t, kind), fresh); err != nil || h.Status != progressing {
			t.Errorf("%s without status: %v %v", kind, h, err)
		}
		seen := good.object(kind, v1alpha1.ReasonApplied, 1, 1)
		delete(seen.Object["status"].(map[string]any), "conditions")
		if h, err := argo(script(t, kind), seen); err != nil || h.Status != progressing {
			t.Errorf("%s without conditions: %v %v", kind, h, err)
		}
	}
}

func judge(t *testing.T, name string, object *unstructured.Unstructured, wantHealth string, wantStatus status.Status) {
	t.Helper()
	h, err := argo(script(t, object.GetKind()), object)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	result, err := status.Compute(object)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if h.Status != wantHealth || result.Status != wantStatus || !agree(h, result.Status) {
		t.Errorf("%s: Argo CD says %s and kstatus %s, want %s and %s", name, h.Status, result.Status, wantHealth, wantStatus)
	}
	if h.Message == "" || (h.Status == degraded || h.Status == suspended) && !strings.HasSuffix(h.Message, ": why") {
		t.Errorf("%s: the message is %q", name, h.Message)
	}
}
