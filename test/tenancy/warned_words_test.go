/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// warnings counts what the API server warns about.
type warnings struct{ count atomic.Int64 }

func (w *warnings) HandleWarningHeader(int, string, string) { w.count.Add(1) }

// quoting is a policy of the cluster that objects to the operator's Secrets, in words that repeat their content.
func quoting(w *harness.World, action admission.ValidationAction) {
	w.Helper()
	name := "quoting-" + w.Namespace
	w.Create(&admission.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admission.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admission.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.Namespace}},
				ResourceRules: []admission.NamedRuleWithOperations{{RuleWithOperations: admission.RuleWithOperations{
					Operations: []admission.OperationType{admission.Create, admission.Update},
					Rule:       admission.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
				}}},
			},
			Validations: []admission.Validation{{
				Expression:        "!('app.kubernetes.io/managed-by' in object.metadata.?labels.orValue({})) || !('token' in object.data)",
				MessageExpression: "'no static credentials: token=' + string(object.data['token'])",
			}},
		},
	})
	w.Create(&admission.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admission.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admission.ValidationAction{action},
		},
	})
	w.Cleanup(func() {
		_ = w.Client.Delete(context.Background(), &admission.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}})
		_ = w.Client.Delete(context.Background(), &admission.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
	config, said := rest.CopyConfig(harness.Plane().Config), &warnings{}
	config.WarningHandler = said
	probe, err := client.New(config, client.Options{Scheme: w.Client.Scheme()})
	if err != nil {
		w.Fatal(err)
	}
	w.Eventually("the policy is active", func() error {
		err := probe.Create(w.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: w.Namespace, Name: "probe", Labels: map[string]string{"app.kubernetes.io/managed-by": "probe"},
			},
			Data: map[string][]byte{"token": []byte("probe")},
		}, client.DryRunAll)
		if err == nil && said.count.Load() == 0 {
			return errors.New("it is not")
		}
		return nil
	})
}

// quoted starts the operator, with its log, under a policy that repeats the Secrets of its namespace.
func quoted(t *testing.T, action admission.ValidationAction) (*harness.World, *journal) {
	t.Helper()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	log := journaled(w)
	quoting(w, action)
	w.Start()
	return w, log
}

// quotedTenant does so with a policy for the Secrets of a tenant.
func quotedTenant(t *testing.T, action admission.ValidationAction) (w, tenant *harness.World, log *journal) {
	t.Helper()
	w, tenant = harness.Shared(t, cloudtest.Settings{}, harness.Idle)
	w.Stop()
	log = journaled(w)
	quoting(tenant, action)
	w.Start(tenant.Namespace)
	return w, tenant, log
}

// A policy of the cluster that only warns accepts a Secret of the operator, and repeats it to the client, as administrators try a policy.
func TestWarnedSecret_PolicyRepeatsIt_TheTokenIsInNoLog(t *testing.T) {
	t.Run("Agent", func(t *testing.T) {
		t.Parallel()
		w, tenant, log := quotedTenant(t, admission.Warn)
		tenant.Ready(w.Guest(tenant, "web"))
		log.shows(tenant, w.Remote()[0].Token.Reveal())
	})
	t.Run("AgentSet", func(t *testing.T) {
		t.Parallel()
		w, log := quoted(t, admission.Warn)
		w.Nodes("a", "b")
		w.AgentSet("logs", w.DaemonSet("logs"))
		w.SetReady("logs", 2)
		for _, remote := range w.Remote() {
			log.shows(w, remote.Token.Reveal())
		}
		log.shows(w, w.Token.Reveal())
	})
	t.Run("CloudProject", func(t *testing.T) {
		t.Parallel()
		w, log := quoted(t, admission.Warn)
		w.ProjectBecomes(metav1.ConditionTrue, "")
		log.shows(w, w.Token.Reveal())
	})
}
