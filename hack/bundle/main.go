/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command bundle writes the bundle for the Operator Lifecycle Manager, from the CRDs, roles and Deployment of
// config/default.
package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const name = "calyptia-agent-operator"

type object = map[string]any

func main() {
	log.SetFlags(0)
	version := flag.String("version", "", "version of the bundle, such as v0.1.0")
	image := flag.String("image", "", "the operator's image")
	created := flag.String("created", "1970-01-01T00:00:00Z", "time of the release, RFC 3339")
	out := flag.String("out", "dist/bundle", "directory for the bundle; what is there goes")
	flag.Parse()
	if err := write(*version, *image, *created, *out); err != nil {
		log.Fatal("bundle: ", err)
	}
}

func write(version, image, created, out string) error {
	if _, err := time.Parse(time.RFC3339, created); err != nil || image == "" || !strings.HasPrefix(version, "v") {
		return fmt.Errorf("-version %q, -image %q, -created %q: must be such as v0.1.0, a reference, and a time", version, image, created)
	}
	manifests, metadata := filepath.Join(out, "manifests"), filepath.Join(out, "metadata")
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(manifests, 0o755), os.MkdirAll(metadata, 0o755)); err != nil {
		return err
	}
	owned, err := copyCRDs(manifests)
	if err != nil {
		return err
	}
	csv, err := serviceVersion(strings.TrimPrefix(version, "v"), image, created, owned)
	if err != nil {
		return err
	}
	annotations := object{"annotations": object{
		"operators.operatorframework.io.bundle.mediatype.v1":       "registry+v1",
		"operators.operatorframework.io.bundle.manifests.v1":       "manifests/",
		"operators.operatorframework.io.bundle.metadata.v1":        "metadata/",
		"operators.operatorframework.io.bundle.package.v1":         name,
		"operators.operatorframework.io.bundle.channels.v1":        "alpha",
		"operators.operatorframework.io.bundle.channel.default.v1": "alpha",
	}}
	return errors.Join(save(filepath.Join(manifests, name+".clusterserviceversion.yaml"), csv),
		save(filepath.Join(metadata, "annotations.yaml"), annotations), metricsService(manifests))
}

func save(path string, content any) error {
	encoded, err := yaml.Marshal(content)
	if err != nil {
		return err
	}
	return os.WriteFile(path, encoded, 0o644)
}

func load(path string, into any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// Of several documents the last: the first may be a Namespace.
	documents := strings.Split(string(content), "\n---\n")
	if err := yaml.Unmarshal([]byte(documents[len(documents)-1]), into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// copyCRDs copies the CRDs, and returns a description of each for the list of owned CRDs.
func copyCRDs(manifests string) (owned []object, err error) {
	paths, err := filepath.Glob("config/crd/bases/*.yaml")
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("there are no CRDs: run make manifests first (%w)", err)
	}
	for _, path := range paths {
		var crd apiextensionsv1.CustomResourceDefinition
		content, err := os.ReadFile(path)
		if err := errors.Join(err, load(path, &crd), os.WriteFile(filepath.Join(manifests, filepath.Base(path)), content, 0o644)); err != nil {
			return nil, err
		}
		version := crd.Spec.Versions[0]
		description, _, _ := strings.Cut(version.Schema.OpenAPIV3Schema.Description, "\n\n")
		owned = append(owned, object{
			"name": crd.Name, "kind": crd.Spec.Names.Kind, "version": version.Name, "displayName": crd.Spec.Names.Kind,
			"description": strings.Join(strings.Fields(description), " "),
		})
	}
	return owned, nil
}

// metricsService is the Service of the metrics, without a namespace: OLM chooses it.
func metricsService(manifests string) error {
	var service object
	if err := load("config/default/metrics_service.yaml", &service); err != nil {
		return err
	}
	delete(service["metadata"].(object), "namespace")
	return save(filepath.Join(manifests, name+"-metrics.service.yaml"), service)
}

// serviceVersion is the ClusterServiceVersion.
func serviceVersion(version, image, created string, owned []object) (object, error) {
	var deployment appsv1.Deployment
	if err := load("config/manager/manager.yaml", &deployment); err != nil {
		return nil, err
	}
	deployment.Spec.Template.Spec.Containers[0].Image = image
	account := deployment.Spec.Template.Spec.ServiceAccountName
	cluster, err := rules("role.yaml", "metrics_auth_role.yaml")
	if err != nil {
		return nil, err
	}
	own, err := rules("leader_election_role.yaml")
	if err != nil {
		return nil, err
	}
	examples, err := samples()
	if err != nil {
		return nil, err
	}
	icon, err := os.ReadFile("docs/icon.svg")
	if err != nil {
		return nil, err
	}
	const home = "https://github.com/calyptia-agent-operator/operator"
	return object{
		"apiVersion": "operators.coreos.com/v1alpha1", "kind": "ClusterServiceVersion",
		"metadata": object{"name": name + ".v" + version, "annotations": object{
			"alm-examples": examples, "capabilities": "Full Lifecycle", "categories": "Logging & Tracing, Monitoring",
			"containerImage": image,
			"createdAt":      created, "description": "Manages Calyptia Cloud agents as Kubernetes resources.",
			"repository": home, "support": home + "/issues",
		}},
		"spec": object{
			"version": version, "displayName": "Calyptia agent operator", "maturity": "alpha", "minKubeVersion": "1.30.0",
			"description": "Manages Calyptia Cloud agents as Kubernetes resources. The operator registers each Agent, corrects drift, stores its " +
				"credentials in a Secret, and deletes it with the object.",
			"keywords": []string{"calyptia", "fluent-bit", "fluentd", "logging"}, "provider": object{"name": "The Calyptia Agent Operator Authors"},
			"links": []object{{"name": "Documentation", "url": home + "/tree/main/docs"}},
			"icon":  []object{{"base64data": base64.StdEncoding.EncodeToString(icon), "mediatype": "image/svg+xml"}},
			"installModes": []object{
				{"type": "OwnNamespace", "supported": false}, {"type": "SingleNamespace", "supported": false},
				{"type": "MultiNamespace", "supported": false}, {"type": "AllNamespaces", "supported": true},
			},
			"customresourcedefinitions": object{"owned": owned},
			"install": object{"strategy": "deployment", "spec": object{
				"clusterPermissions": []object{{"serviceAccountName": account, "rules": cluster}},
				"permissions":        []object{{"serviceAccountName": account, "rules": own}},
				"deployments":        []object{{"name": deployment.Name, "label": deployment.Spec.Template.Labels, "spec": deployment.Spec}},
			}},
		},
	}, nil
}

// rules are those of roles of config/rbac.
func rules(files ...string) (all []rbacv1.PolicyRule, err error) {
	for _, file := range files {
		var role rbacv1.ClusterRole
		if err := load(filepath.Join("config", "rbac", file), &role); err != nil {
			return nil, err
		}
		all = append(all, role.Rules...)
	}
	return all, nil
}

// samples are one of each kind, as JSON.
func samples() (string, error) {
	paths, err := filepath.Glob("config/samples/cloud_v1alpha1_*.yaml")
	paths = append(paths, "config/samples/fluent-bit-daemonset/agentset.yaml")
	if err != nil {
		return "", err
	}
	all, kinds := []object{}, []string{}
	for _, path := range paths {
		var sample object
		if err := load(path, &sample); err != nil {
			return "", err
		}
		if kind, _ := sample["kind"].(string); !slices.Contains(kinds, kind) {
			all, kinds = append(all, sample), append(kinds, kind)
		}
	}
	encoded, err := json.MarshalIndent(all, "", "  ")
	return string(encoded), err
}
