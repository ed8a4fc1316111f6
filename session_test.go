/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	sets "github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/options"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// initContainer reads the init container of a sample: of the pod of a workload, or of the values of Fluent Bit's chart.
func initContainer(t *testing.T, path string) corev1.Container {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("config", "samples", path))
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		InitContainers []corev1.Container `json:"initContainers"`
		Spec           struct {
			Template struct {
				Spec struct {
					InitContainers []corev1.Container `json:"initContainers"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(content, &read); err != nil {
		t.Fatal(err)
	}
	all := append(read.InitContainers, read.Spec.Template.Spec.InitContainers...)
	if len(all) != 1 || len(all[0].Command) > 0 || !strings.Contains(all[0].Image, "/calyptia-agent-operator:") {
		t.Fatalf("%s: init containers %+v, want one with the image's own command", path, all)
	}
	return all[0]
}

// TestTheSamplesCopyTheirSession runs the init container of each sample, with its directories below a temporary one.
func TestTheSamplesCopyTheirSession(t *testing.T) {
	const node = "ip-10-0-1-2.eu-west-1.compute.internal"
	base, err := url.Parse("https://cloud-api.calyptia.com")
	if err != nil {
		t.Fatal(err)
	}
	session, err := tokensecret.Session{
		ID: "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11", Token: cloud.NewToken("agent.signature"), MachineID: "machine-1", URL: base,
	}.Data()
	if err != nil {
		t.Fatal(err)
	}
	for path, mounted := range map[string]struct {
		dir  string
		data map[string][]byte
	}{
		"fluent-bit/deployment.yaml":            {"session", session},
		"fluent-bit/helm-values.yaml":           {"session", session},
		"fluent-bit-daemonset/daemonset.yaml":   {"sessions", tokensecret.Entry(sets.Slot(node), session)},
		"fluent-bit-daemonset/helm-values.yaml": {"sessions", tokensecret.Entry(sets.Slot(node), session)},
	} {
		t.Run(path, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(filepath.Join(root, mounted.dir), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, content := range mounted.data {
				if err := os.WriteFile(filepath.Join(root, mounted.dir, name), content, 0o400); err != nil {
					t.Fatal(err)
				}
			}
			place := strings.NewReplacer("--from=/", "--from="+root+"/", "--to=/", "--to="+root+"/", "$(NODE_NAME)", node)
			var args []string
			for _, arg := range initContainer(t, path).Args {
				args = append(args, place.Replace(arg))
			}
			command := newCommand(func(context.Context, *options.Options) error { t.Error("the operator starts"); return nil })
			command.SetArgs(args)
			command.SetErr(io.Discard)
			if err := command.ExecuteContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string][]byte{
				"calyptia/" + tokensecret.SessionKey: session[tokensecret.SessionKey], tokensecret.YAMLKey: session[tokensecret.YAMLKey],
			} {
				path := filepath.Join(root, tokensecret.StorePath, name)
				content, err := os.ReadFile(path)
				info, statErr := os.Lstat(path)
				if err != nil || statErr != nil || string(content) != string(want) || info.Mode() != 0o600 {
					t.Errorf("%s: %q, %v, mode %v; want the session with mode 0600", name, content, err, info.Mode())
				}
			}
		})
	}
}
