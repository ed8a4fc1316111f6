/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// view answers reads as a cache or an API server that stands still would; all else panics.
type view struct {
	client.Client
	agent    *v1alpha1.Agent
	old      *v1alpha1.Agent // what the API server's cache has in its place; may be nil
	project  *v1alpha1.CloudProject
	versions map[string]string // resourceVersions by "Kind/name"
}

func (v *view) Get(_ context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	var asked client.GetOptions
	asked.ApplyOptions(options)
	switch into := object.(type) {
	case *v1alpha1.Agent:
		if v.old != nil && asked.Raw != nil && asked.Raw.ResourceVersion == "0" {
			v.old.DeepCopyInto(into)
			return nil
		}
		if v.agent != nil {
			v.agent.DeepCopyInto(into)
			return nil
		}
	case *v1alpha1.CloudProject:
		if v.project != nil && key == client.ObjectKeyFromObject(v.project) {
			v.project.DeepCopyInto(into)
			return nil
		}
	case *metav1.PartialObjectMetadata:
		if version, found := v.versions[into.Kind+"/"+key.Name]; found {
			into.ResourceVersion = version
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, key.Name)
}

// A recovery reads the Agent anew. What the pass found out before is about the Agent as it was then: a spec
// that changed in between would count as applied without ever being sent.
func TestRefreshGivesWayToAChangedAgent(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		goesOn bool
	}{
		{"nothing changed", func(*v1alpha1.Agent) {}, true},
		{"its status changed", func(a *v1alpha1.Agent) { a.Status.ID, a.ResourceVersion = "id", "2" }, true},
		{"its nonce changed", annotated(v1alpha1.AnnotationRegistrationIntent, "t/2"), true},
		{"its spec changed", func(a *v1alpha1.Agent) { a.Spec.RawConfig, a.Generation = "[OUTPUT]", 3 }, false},
		{"another Agent has its name", func(a *v1alpha1.Agent) { a.UID = "web-2" }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := passOf()
			live := p.agent.DeepCopy()
			row.change(live)
			p.APIReader = &view{agent: live}
			err := p.refresh(t.Context())
			if (err == nil) != row.goesOn {
				t.Fatalf("error %v", err)
			}
			if err != nil && !classify(err).Quiet {
				t.Errorf("%v is told, though it passes by itself", err)
			}
			if row.goesOn && (p.agent.Status.ID != live.Status.ID || p.intent() != intentOf(live)) {
				t.Errorf("it goes on with %+v", p.agent)
			}
		})
	}
	gone := passOf()
	gone.APIReader = &view{}
	if f := classify(gone.refresh(t.Context())); !f.Quiet {
		t.Errorf("an Agent that is gone is a failure: %+v", f)
	}
}
