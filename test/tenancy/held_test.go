/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// The URL of a CloudProject is not allowed any more, so the operator has no connection to it. The copy of the credentials still shows
// that an intent from a namespace that is not allowed is forged, so it does not delay the deletion.
func TestDeleteCloudProject_URLNotAllowed_ForgedIntent_IsNotDelayed(t *testing.T) {
	t.Parallel()
	w, tenant := outsider(t, cloudtest.Settings{})
	w.Ready(w.Apply("owned"))
	w.Delete("owned")
	w.Gone("owned")
	w.Stop()
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = "https://elsewhere.example.com" })
	w.Guest(tenant, "forged", forged)
	cp := w.Project()
	if err := w.Client.Delete(context.Background(), cp); err != nil {
		t.Fatal(err)
	}
	w.Start(tenant.Namespace)
	w.Eventually("the CloudProject is deleted", func() error {
		err := w.Client.Get(context.Background(), w.Key("calyptia"), cp)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it is there: "+text(t, cp.Status.Conditions)))
	})
}
