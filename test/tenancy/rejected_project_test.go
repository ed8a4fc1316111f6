/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The API server rejects what the operator writes of a CloudProject: with 400 if a webhook gives no code. The CloudProject says so.
func TestRejectedCloudProject_WhateverTheCode_SaysSo(t *testing.T) {
	for _, row := range []struct {
		name   string
		code   int
		path   string
		reason string
	}{
		{"copy", http.StatusBadRequest, "/secrets", v1alpha1.ReasonSecretWriteRefused},
		{"copy", http.StatusForbidden, "/secrets", v1alpha1.ReasonSecretWriteRefused},
		{"copy", http.StatusInternalServerError, "/secrets", v1alpha1.ReasonAPIServer},
		{"finalizer", http.StatusBadRequest, "/cloudprojects/calyptia", v1alpha1.ReasonAPIServer},
		{"finalizer", http.StatusForbidden, "/cloudprojects/calyptia", v1alpha1.ReasonAPIServer},
	} {
		t.Run(fmt.Sprint(row.name, " ", row.code), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			log := journaled(w)
			said := "denied the request: " + strings.Repeat("policy ", 20_000)
			if row.name == "copy" {
				said = "denied the request: " + w.Token.Reveal() + " is a credential. " + said
			}
			rejecting(w, row.code, func() string { return said }, w.Namespace+row.path)
			w.Start()
			w.ProjectBecomes(metav1.ConditionFalse, row.reason, "denied the request")
			log.shows(w, w.Token.Reveal())
			w.API.Around(nil)
			w.PokeProject()
			w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
		})
	}
}

// What keeps the copy of the credentials is named, too, while the CloudProject is deleted.
func TestRejectedCloudProject_RemovalOfTheCopy_SaysSo(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	log := journaled(w)
	w.Start()
	w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
	rejecting(w, http.StatusForbidden, func() string { return "denied the request: " + w.Token.Reveal() }, secretsOf(w)+"/calyptia-credentials")
	if err := w.Client.Delete(t.Context(), w.Project()); err != nil {
		t.Fatal(err)
	}
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused, "denied the request: "+cloud.Redacted)
	log.shows(w, w.Token.Reveal())
	w.API.Around(nil)
}
