/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// A wrong flag is reported to users who have no token yet.
func TestFlagsAreCheckedBeforeTheToken(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	for _, flag := range []string{
		"--name=[", "--fleet= ", "--except=x", "--type=vector", "--sync-policy=Never", "--authentication=Basic", "--namespace=a.b",
		"--project-ref=a/b/c", "--config-maps-above=-1", "--output=xml", "--timeout=0s", "--timeout=-1s", "--token-secret=A_b", "--ca-file=/nowhere",
	} {
		got := w.runWith("", flag)
		name, _, _ := strings.Cut(flag, "=")
		if !got.usage() || !strings.HasPrefix(got.err.Error(), name+":") {
			t.Errorf("%s without a token: %v", flag, got.err)
		}
	}
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"--diff"}, "--diff: needs --output-dir"},
		{[]string{"--diff", "--overwrite", "--output-dir=x"}, "--diff: writes nothing"},
		{[]string{"--cloud-project"}, "--cloud-project: needs --project-ref"},
		{[]string{"--cloud-project", "--project-ref=other/calyptia"}, "--cloud-project: needs --project-ref"},
	} {
		if got := w.runWith("", row.args...); !got.usage() || !strings.HasPrefix(got.err.Error(), row.want) {
			t.Errorf("%v: %v, want %s", row.args, got.err, row.want)
		}
	}
}

func TestNothingIsCreatedBeforeTheListIsComplete(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{PageSize: 1})
	w.agent("a")
	w.agent("b")
	for name, fault := range map[string]cloudtest.Fault{
		"the first page fails": {Status: 401, Body: `{"error":"invalid token"}`},
		"the second page fails": {Status: 401, Body: `{"error":"invalid token"}`, Match: func(r *http.Request) bool {
			return r.URL.Query().Get("before") != ""
		}},
	} {
		t.Run(name, func(t *testing.T) {
			fault.Route = cloudtest.RouteList
			defer w.Inject(fault)()
			dir := filepath.Join(t.TempDir(), "agents")
			got := w.run("--output-dir", dir)
			if _, err := os.Stat(dir); got.err == nil || !os.IsNotExist(err) {
				t.Errorf("the directory is there (%v): %s", err, got.all())
			}
		})
	}
}

func TestTheListHasATime(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	defer w.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Latency: time.Hour})()
	got := w.run("--timeout=50ms")
	if got.err == nil || got.usage() || !strings.Contains(got.err.Error(), "raise --timeout") || strings.Contains(got.all(), w.token.Reveal()) {
		t.Errorf("it says %s", got.all())
	}
}

// A directory for Git: the agents, their CloudProject, and what applies them together.
func TestADirectoryForGit(t *testing.T) {
	for _, format := range []string{"yaml", "json"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{})
			id := w.agent("web")
			dir := t.TempDir()
			args := []string{"--output-dir", dir, "--project-ref=calyptia", "--cloud-project", "--output", format}
			if got := w.run(args...); got.err != nil || got.stdout != "" {
				t.Fatal(got.all())
			}
			var kustomization struct{ Resources []string }
			decodeFile(t, dir, kustomizationFile, &kustomization)
			if want := []string{"agent-web." + format, "cloudproject." + format}; !slices.Equal(kustomization.Resources, want) {
				t.Errorf("it applies %q, want %q", kustomization.Resources, want)
			}
			if got := w.run(append(args, "--diff")...); got.err != nil || got.stdout != "" {
				t.Errorf("nothing differs, and it says %s", got.all())
			}
			w.Mutate(id, func(a *cloud.Agent) { a.Version = "v9.9.9" })
			w.agent("api")
			got := w.run(append(args, "--diff")...)
			if got.err == nil || got.usage() || !strings.Contains(got.err.Error(), "3 files differ") || !strings.Contains(got.stdout, "v9.9.9") {
				t.Errorf("the difference is %s", got.all())
			}
			if _, err := os.Stat(filepath.Join(dir, "agent-api."+format)); !os.IsNotExist(err) {
				t.Errorf("--diff wrote a file (%v)", err)
			}
			if got := w.run(append(args, "--overwrite")...); got.err != nil {
				t.Error(got.all())
			}
			if got := w.run(append(args, "--diff")...); got.err != nil || got.stdout != "" {
				t.Errorf("overwritten, it says %s", got.all())
			}
		})
	}
}

func decodeFile(t *testing.T, dir, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatal(err)
	}
}

// What the CloudProject says is what the flags say, and no default of them.
func TestTheCloudProjectIsDeclared(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	got := w.run("--project-ref=calyptia", "--cloud-project", "--authentication=ProjectToken", "--token-secret=token", "-o=json", "-n=logging")
	var all struct {
		Kind  string
		Items []v1alpha1.CloudProject
	}
	if err := json.Unmarshal([]byte(got.stdout), &all); err != nil || all.Kind != "List" || len(all.Items) != 1 {
		t.Fatalf("%v: %s", err, got.all())
	}
	project := all.Items[0]
	if project.Kind != "CloudProject" || project.Name != "calyptia" || project.Namespace != "logging" || project.Spec.URL != w.url ||
		project.Spec.Authentication != "ProjectToken" || project.Spec.TokenSecretRef.Name != "token" || project.Spec.ProjectID != "" {
		t.Errorf("it is %+v", project)
	}
	if strings.Contains(got.all(), w.token.Reveal()) {
		t.Error("the token is printed")
	}
	for _, part := range []string{"status", "creationTimestamp", "resyncInterval"} {
		if strings.Contains(got.stdout, part) {
			t.Errorf("it has %s:\n%s", part, got.stdout)
		}
	}
}

// An empty project is an empty List, which kubectl takes.
func TestAnEmptyListIsAList(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	if got := w.run("-o", "json"); got.err != nil || !strings.Contains(got.stdout, `"items": []`) {
		t.Error(got.all())
	}
}
