/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// run reads the agents, and prints what declares them. Nothing is written before the list is complete.
func (o *options) run(ctx context.Context) error {
	listing, cancel := context.WithTimeoutCause(ctx, o.timeout, errTimeout)
	defer cancel()
	agents, err := o.readAll(listing)
	if err != nil {
		if errors.Is(context.Cause(listing), errTimeout) {
			return fmt.Errorf("the agents cannot be listed within %s: %w: raise --timeout", o.timeout, err)
		}
		return err
	}
	out := &output{options: o}
	if o.cloudProject {
		if err := out.add("cloudproject", o.projectObjects()); err != nil {
			return err
		}
	}
	chosen, refused := 0, 0
	for _, a := range o.inOrder(agents) {
		if !o.chosen(&a.Agent) {
			continue
		}
		chosen++
		objects, left, err := o.declare(&a)
		if err == nil {
			err = out.add("agent-"+a.object, objects) // The prefix keeps an agent from being called kustomization.yaml.
		}
		switch {
		case errors.Is(err, errThere):
			refused++
			o.say("agent %s (%s) is not written: %v", a.ID, a.object, err)
			continue
		case errors.As(err, new(*outputError)):
			return err
		case err != nil:
			refused++
			o.say("agent %s (%s) is not declared: %v", a.ID, a.object, err)
			continue
		}
		for _, why := range left {
			o.say("agent %s (%s): %s", a.ID, a.object, why)
		}
	}
	if err := out.close(); err != nil {
		return err
	}
	o.say("%d of the project's %d agents chosen, %d declared", chosen, len(agents), chosen-refused)
	switch {
	case refused > 0:
		return fmt.Errorf("%d of %d agents could not be declared: the lines above say why", refused, chosen)
	case out.differing > 0:
		return fmt.Errorf("%d files differ: run it without --diff, and with --overwrite, to write them", out.differing)
	}
	return nil
}

var errTimeout = errors.New("timed out")

// say prints a line to stderr.
func (o *options) say(format string, args ...any) {
	_, _ = fmt.Fprintf(o.stderr, format+"\n", args...) // A failing stderr cannot be reported.
}

// projectObjects declare the CloudProject as the flags reach it: what has a default is left out.
func (o *options) projectObjects() (objects []any) {
	meta := metav1.ObjectMeta{Name: o.project.Name, Namespace: o.namespace}
	spec := v1alpha1.CloudProjectSpec{TokenSecretRef: v1alpha1.TokenSecretReference{Name: o.tokenSecret}}
	if o.url != defaultURL {
		spec.URL = o.url
	}
	if _, revealed := o.token.ProjectID(); !revealed {
		spec.ProjectID = o.projectID
	}
	if o.authentication != string(v1alpha1.AuthenticationAuto) {
		spec.Authentication = v1alpha1.Authentication(o.authentication)
	}
	if len(o.caBundle) > 0 {
		source := meta
		source.Name += "-ca"
		objects = append(objects, &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: source,
			Data: map[string]string{"ca.crt": string(o.caBundle)},
		})
		spec.CABundle = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: source.Name, Key: "ca.crt"}}
	}
	return append(objects, &manifest[v1alpha1.CloudProjectSpec]{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "CloudProject"}, ObjectMeta: meta, Spec: spec,
	})
}

// encode writes objects as YAML documents, each led in by its separator.
func encode(objects []any) ([]byte, error) {
	var documents bytes.Buffer
	for _, object := range objects {
		plain, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		text, err := yaml.JSONToYAML(plain)
		if err != nil || !equal(plain, text) {
			return nil, errors.New("it contains characters that YAML does not preserve: remove them from its configuration, flags or metadata")
		}
		documents.WriteString("---\n")
		documents.Write(text)
	}
	return documents.Bytes(), nil
}

// equal reports whether a YAML document says what the JSON says.
func equal(plain, document []byte) bool {
	back, err := yaml.YAMLToJSON(document)
	if err != nil {
		return false
	}
	var want, got any
	return json.Unmarshal(plain, &want) == nil && json.Unmarshal(back, &got) == nil && reflect.DeepEqual(want, got)
}
