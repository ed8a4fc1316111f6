/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// TestPeopleMayWhatTheirRoleSays binds the default user roles in one namespace and checks what they allow.
func TestPeopleMayWhatTheirRoleSays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.operatorValues(nil)
	s.types("install")
	for _, role := range []string{"view", "edit", "admin"} {
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: agentsNamespace, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: role}},
		}
		if err := s.c.Create(t.Context(), binding); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := client.IgnoreNotFound(s.c.Delete(context.Background(), binding)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, row := range []struct {
		who, verb, subresource string
		want                   bool
	}{
		{"view", "list", "", true}, {"view", "get", "status", true}, {"view", "patch", "", false}, {"view", "delete", "", false},
		{"edit", "create", "", true}, {"edit", "delete", "", true}, {"edit", "patch", "status", false}, {"edit", "deletecollection", "", false},
		{"admin", "deletecollection", "", true}, {"admin", "patch", "status", false},
	} {
		for _, resource := range []string{"agents", "agentsets", "cloudprojects"} {
			t.Run(fmt.Sprint(row.who, " ", row.verb, " ", resource, "/", row.subresource), func(t *testing.T) {
				// The controller that aggregates the roles needs a moment.
				err := await.Until(t.Context(), "it is not as expected", func(ctx context.Context) error {
					review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
						User: row.who,
						ResourceAttributes: &authorizationv1.ResourceAttributes{
							Namespace: agentsNamespace, Group: "cloud.calyptia.com", Resource: resource, Subresource: row.subresource, Verb: row.verb,
						},
					}}
					if err := s.c.Create(ctx, review); err != nil {
						return err
					}
					if review.Status.Allowed != row.want {
						return fmt.Errorf("allowed %v, want %v", review.Status.Allowed, row.want)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	s.helm("uninstall", operatorName, "--namespace", operatorNamespace)
	s.types("crds")
}
