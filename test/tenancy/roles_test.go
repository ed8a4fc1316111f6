/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// userRoles are the user roles of the operator, in Kustomize and in the chart.
func userRoles(t testing.TB) (roles []rbacv1.ClusterRole) {
	t.Helper()
	for _, pattern := range []string{"../../config/rbac/*_role.yaml", "../../charts/calyptia-agent-operator/files/people/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 6 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var role rbacv1.ClusterRole
			if err := yaml.Unmarshal(data, &role); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if slices.ContainsFunc([]string{"agent-", "cloudproject-"}, func(p string) bool { return strings.HasPrefix(role.Name, p) }) {
				roles = append(roles, role)
			}
		}
	}
	if len(roles) != 12 {
		t.Fatalf("%d roles for people, want 6 in each place", len(roles))
	}
	return roles
}

// A user who may write the status, or the finalizers subresource, may claim any agent of the project.
func TestUserRoles_GrantNoStatus(t *testing.T) {
	for _, role := range userRoles(t) {
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				_, subresource, _ := strings.Cut(resource, "/")
				reads := !slices.ContainsFunc(rule.Verbs, func(verb string) bool { return !slices.Contains([]string{"get", "list", "watch"}, verb) })
				if resource == "*" || subresource != "" && (subresource != "status" || !reads) || slices.Contains(rule.Verbs, "*") {
					t.Errorf("%s allows users to %s %s", role.Name, rule.Verbs, resource)
				}
			}
		}
	}
}
