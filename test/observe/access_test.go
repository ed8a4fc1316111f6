/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// grant binds a ClusterRole of config/rbac to a user.
func grant(w *harness.World, file string, to rbacv1.Subject) {
	w.Helper()
	kube, err := kubernetes.NewForConfig(harness.Plane().Config)
	if err != nil {
		w.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(testenv.ModuleRoot(), "config", "rbac", file))
	if err != nil {
		w.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(content, &role); err != nil {
		w.Fatal(err)
	}
	roles, bindings := kube.RbacV1().ClusterRoles(), kube.RbacV1().ClusterRoleBindings()
	if _, err := roles.Create(context.Background(), &role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		w.Fatal(err)
	}
	_, err = bindings.Create(context.Background(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: w.Namespace + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{to},
	}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
}

// asOperator is a kubeconfig with the deployed rights of the operator, except for the lease.
func asOperator(w *harness.World) string {
	w.Helper()
	config, err := harness.Plane().AddUser("operator-" + w.Namespace)
	if err != nil {
		w.Fatal(err)
	}
	who := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "operator-" + w.Namespace}
	grant(w, "role.yaml", who)
	grant(w, "metrics_auth_role.yaml", who)
	return kubeconfig(w, config)
}

// reader is the token of a new ServiceAccount, which may read the metrics if it is allowed to.
func reader(w *harness.World, name string, allowed bool) string {
	w.Helper()
	w.Create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name}})
	if allowed {
		grant(w, "metrics_reader_role.yaml", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: w.Namespace, Name: name})
	}
	kube, err := kubernetes.NewForConfig(harness.Plane().Config)
	if err != nil {
		w.Fatal(err)
	}
	request, err := kube.CoreV1().ServiceAccounts(w.Namespace).CreateToken(context.Background(), name,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return request.Status.Token
}

func TestMetricsAreForAuthorizedReadersOverTLS(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	c := launch(w, asOperator(w))
	c.serves()
	known := reader(w, "prometheus", true)
	// {"alg":"RS256"}.{"sub":"x"}.signature
	const forged = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
	for _, row := range []struct {
		name, authorization string
		status              int
		challenge           string
	}{
		{"nobody", "", http.StatusUnauthorized, "Bearer"},
		{"an unknown token", "Bearer made-up", http.StatusUnauthorized, `Bearer error="invalid_token"`},
		{"an unknown token, asked again", "Bearer made-up", http.StatusUnauthorized, `Bearer error="invalid_token"`},
		{"a token that looks like one", "Bearer " + forged, http.StatusUnauthorized, `Bearer error="invalid_token"`},
		{"a token of a ServiceAccount with another signature", "Bearer " + known[:len(known)-8] + "AAAAAAAA", http.StatusUnauthorized,
			`Bearer error="invalid_token"`},
		{"an empty token", "Bearer ", http.StatusUnauthorized, "Bearer"},
		{"a password", "Basic YWRtaW46YWRtaW4=", http.StatusUnauthorized, "Bearer"},
		{"a ServiceAccount without rights", "Bearer " + reader(w, "stranger", false), http.StatusForbidden, ""},
		{"a ServiceAccount with metrics-reader", "Bearer " + known, http.StatusOK, ""},
	} {
		status, header, body, err := c.ask(row.authorization, nil)
		if err != nil || status != row.status || header.Get("WWW-Authenticate") != row.challenge {
			t.Errorf("%s: %d, WWW-Authenticate %q, error %v; want %d, %q", row.name, status, header.Get("WWW-Authenticate"), err,
				row.status, row.challenge)
		}
		if served := strings.Contains(body, "calyptia_agent_operator_build_info"); served != (row.status == http.StatusOK) {
			t.Errorf("%s gets the metrics: %v", row.name, served)
		}
	}
	response, err := http.Get("http://" + c.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	const want = "Client sent an HTTP request to an HTTPS server.\n"
	if response.StatusCode != http.StatusBadRequest || string(body) != want {
		t.Errorf("plain HTTP returns %d: %s", response.StatusCode, body)
	}
}

// If the review fails, the response is not 401, because the token may be valid.
func TestMetricsAreRefusedWhileReadersCannotBeAuthorized(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	wire, through := newWire(t, harness.Plane().Config)
	cut := launch(w, kubeconfig(w, through))
	cut.serves()
	token := reader(w, "prometheus", true)
	if status, _, err := cut.scrape(token, nil); status != http.StatusOK {
		t.Fatalf("%d, error %v; want %d", status, err, http.StatusOK)
	}
	wire.cut()
	if status, _, err := cut.scrape(token, nil); err != nil || status != http.StatusOK {
		t.Errorf("a reader of the last minute without an API server: %d, error %v; want %d", status, err, http.StatusOK)
	}
	for name, token := range map[string]string{"an unknown token": "made-up", "a known token": reader(w, "later", true)} {
		if status, _, err := cut.scrape(token, nil); err != nil || status != http.StatusServiceUnavailable {
			t.Errorf("%s without an API server: %d, error %v; want %d", name, status, err, http.StatusServiceUnavailable)
		}
	}
	config, err := harness.Plane().AddUser("unbound-" + w.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	who := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "unbound-" + w.Namespace}
	grant(w, "role.yaml", who)
	unbound := launch(w, kubeconfig(w, config))
	unbound.serves()
	if status, body, err := unbound.scrape(token, nil); err != nil || status != http.StatusInternalServerError {
		t.Errorf("without the role for reviews: %d, %q, error %v; want %d", status, body, err, http.StatusInternalServerError)
	}
	if !strings.Contains(unbound.output(), "metrics.rbac.create") {
		t.Errorf("the log does not name the role for reviews:\n%s", unbound.output())
	}
	for _, c := range []*child{cut, unbound} {
		if strings.Contains(c.output(), token) || strings.Contains(c.output(), "made-up") {
			t.Errorf("the log shows a token:\n%s", c.output())
		}
	}
}
