/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// none is a cache without any object.
type none struct{ client.Client }

func (none) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// The labels of a namespace were read, and then the token was replaced: they allow nobody what the new token reaches. The Agent comes back.
func TestConnect_TokenReplacedAfterTheNamespaceWasJudged_Waits(t *testing.T) {
	for name, replaced := range map[string]bool{"the same token": false, "another token": true} {
		t.Run(name, func(t *testing.T) {
			w := newNamesWorld(t, cloudtest.Settings{})
			w.Task.Client = none{}
			if err := w.allowed(t.Context()); err != nil {
				t.Fatal(err)
			}
			if replaced {
				project, err := w.Projects.Configure(w.CloudProject, connection.Credentials{Token: w.AddProject(namesProject)})
				if err == nil {
					err = project.Verify(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			err := w.connect(t.Context())
			f, waits := fault.As(err)
			if waits != replaced || waits && (!f.Quiet || f.RetryAfter <= 0 || f.Reason != v1alpha1.ReasonProjectNotReady) {
				t.Errorf("%v", err)
			}
		})
	}
}
