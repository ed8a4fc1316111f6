/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package testenv_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

func TestStart_Forbidden_FailsAndSaysWhy(t *testing.T) {
	t.Setenv(testenv.SharedVariable, testenv.Forbidden)
	for name, options := range map[string]testenv.Options{"any": {}, "its own": {Own: true}} {
		started, err := testenv.Start(context.Background(), options)
		if err == nil || !strings.Contains(err.Error(), "is no unit test") {
			t.Errorf("%s: the error is %v", name, err)
		}
		if started != nil {
			noError(t, started.Stop())
		}
	}
}

func TestStart_Shared_JoinsItAndLeavesItRunning(t *testing.T) {
	t.Setenv(testenv.SharedVariable, plane.Kubeconfig)
	joined, err := testenv.Start(context.Background(), testenv.Options{})
	noError(t, err)
	if joined.Kubeconfig != plane.Kubeconfig || joined.Config.Host != plane.Config.Host || joined.Config.QPS != -1 {
		t.Errorf("it has the kubeconfig %s of %s, %v requests per second", joined.Kubeconfig, joined.Config.Host, joined.Config.QPS)
	}
	if err := joined.RestartAPIServer(); err == nil {
		t.Error("the API server of all is restarted for one")
	}
	if err := joined.RestartControllerManager(); err == nil {
		t.Error("the controller manager of all is restarted for one")
	}
	config, err := joined.AddUser("somebody", "people")
	noError(t, err)
	client, err := kubernetes.NewForConfig(config)
	noError(t, err)
	review, err := client.AuthenticationV1().SelfSubjectReviews().
		Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	noError(t, err)
	if user := review.Status.UserInfo; user.Username != "somebody" || !strings.Contains(strings.Join(user.Groups, " "), "people") {
		t.Errorf("the user is %+v", user)
	}
	noError(t, joined.Stop())
	newNamespace(t) // It still serves.
}

// With other options a control plane is started, which fails here because its programs are missing.
func TestStart_SharedAndOtherOptions_DoesNotJoin(t *testing.T) {
	t.Setenv(testenv.SharedVariable, plane.Kubeconfig)
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	for name, options := range map[string]testenv.Options{
		"Own":           {Own: true},
		"CRDDirs":       {CRDDirs: []string{}},
		"Controllers":   {Controllers: []string{}},
		"APIServerArgs": {APIServerArgs: map[string][]string{"v": {"2"}}},
		"AuditLog":      {AuditLog: filepath.Join(t.TempDir(), "audit.log")},
		"Dir":           {Dir: t.TempDir()},
		"Log":           {Log: os.Stderr},
	} {
		if _, err := testenv.Start(context.Background(), options); err == nil {
			t.Errorf("%s: it joined", name)
		}
	}
}
