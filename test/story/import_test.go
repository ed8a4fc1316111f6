/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/importer"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// listedFleet has a name; the fleets of other agents are not listed.
const listedFleet = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c31"

// remoteShapes are remote agents of all kinds, including unusual ones.
var remoteShapes = map[string]func(*cloud.Agent){
	"web-logs":          func(*cloud.Agent) {},
	"Web.Example.COM":   func(a *cloud.Agent) { a.Edition = "enterprise" },
	"fluentd":           func(a *cloud.Agent) { a.Type, a.Version = "fluentd", "1.16.2-rc1" },
	"flags":             func(a *cloud.Agent) { a.Flags = []string{"--verbose", "-c", "a b: 'c' \"d\" # e"} },
	"cleared-flags":     func(a *cloud.Agent) { a.Flags = []string{} },
	"fleet":             func(a *cloud.Agent) { a.FleetID, a.EnvironmentName = new(uuid.NewString()), "production" },
	"named-fleet":       func(a *cloud.Agent) { a.FleetID, a.EnvironmentName = new(listedFleet), "staging" },
	"metadata":          withMetadata(`{"b":{"y":[1,2.50,-0,1e3,{"no":false,"":{}}],"null":"null","~":"~"},"a/b c":"é","1":"01","x":[]}`),
	"empty-metadata":    withMetadata(`{}`),
	"null-metadata":     withMetadata(`{"gone":null,"kept":1}`),
	"numbers":           withMetadata(`{"largest":9223372036854775807,"beyond":12345678901234567890}`),
	"large-number":      withMetadata(`{"largest":9223372036854775807,"least":-9223372036854775808,"exact":9007199254740993}`),
	"list-metadata":     withMetadata(`[1]`),
	"large-metadata":    withMetadata(`{"a":"` + strings.Repeat("x", 250<<10) + `"}`),
	"too-much-metadata": withMetadata(`{"a":"` + strings.Repeat("x", 300<<10) + `"}`),
	"healthy":           func(a *cloud.Agent) { a.Status, a.OS, a.MetricsCount, a.Tags = "healthy", "linux", 7, []string{"t"} },
	"no_host_name":      func(*cloud.Agent) {},
	"***":               func(*cloud.Agent) {},
	"odd-version":       func(a *cloud.Agent) { a.Version = "latest" },
	"odd-type":          func(a *cloud.Agent) { a.Type = "vector" },
	"odd-edition":       func(a *cloud.Agent) { a.Edition = "Community" },
	"odd-fleet":         func(a *cloud.Agent) { a.FleetID = new("5F0C9F6E-3C67-4B62-9D3C-6E2A3E9D7C11") },
	"odd-flags":         func(a *cloud.Agent) { a.Flags = []string{""} },
	"empty-config":      withConfig(""),
	"windows-config":    withConfig("[INPUT]\r\n    Name dummy\r\n"),
	"untidy-config":     withConfig("\n\t[INPUT]  \n  Name\tdummy \n\n\n"),
	"separators":        withConfig("---\na: b\n---\n...\n# c\n"),
	"controls":          withConfig("a\u0085b\u2028c\u007f\u0000\ufeff\nd\u009f \U0001F600"),
	"next-line":         withConfig("\u0085x\ny\n"),
	"inline-at-most":    withConfig(strings.Repeat("0123456789abcde\n", 128<<10/16)),
	"beyond-inline":     withConfig(strings.Repeat("é", 128<<10)),
	"largest":           withConfig(strings.Repeat("0123456789abcde\n", 1<<20/16)),
}

func withConfig(config string) func(*cloud.Agent) {
	return func(a *cloud.Agent) { a.RawConfig = config }
}

func withMetadata(metadata string) func(*cloud.Agent) {
	return func(a *cloud.Agent) { a.Metadata = json.RawMessage(metadata) }
}

// addRemote registers an agent that no Agent manages.
func addRemote(w *harness.World, name string, change func(*cloud.Agent)) string {
	w.Helper()
	made := w.Register("host", uuid.NewString())
	w.Cloud.Mutate(made.ID, func(a *cloud.Agent) {
		a.Name, a.Version, a.RawConfig = name, "v4.0.0", "[INPUT]\n    Name dummy\n"
		change(a)
	})
	return made.ID
}

// importAll imports the project of the World.
func importAll(w *harness.World, t *testing.T, args ...string) (manifests, output string, err error) {
	w.Helper()
	t.Setenv(importer.TokenVariable, w.Token.Reveal())
	command := importer.NewCommand(func(err error) error { return err }, importer.Naming{})
	var stdout, stderr bytes.Buffer
	command.SetOut(&stdout)
	command.SetErr(&stderr)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(append([]string{"--url", w.HTTP.URL, "--allow-insecure-http", "--project-ref", "calyptia"}, args...))
	err = command.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

// applyAll applies manifests as a user would.
func applyAll(w *harness.World, manifests string) {
	w.Helper()
	command := harness.Plane().Kubectl(context.Background(), "apply", "--server-side", "-n", w.Namespace, "-f", "-")
	command.Stdin = strings.NewReader(manifests)
	if out, err := command.CombinedOutput(); err != nil {
		w.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}

// agents are the Agents of the World's namespace, by the ID that they adopt.
func agents(w *harness.World) map[string]string {
	w.Helper()
	var list v1alpha1.AgentList
	if err := w.Client.List(context.Background(), &list, client.InNamespace(w.Namespace)); err != nil {
		w.Fatal(err)
	}
	all := map[string]string{}
	for _, a := range list.Items {
		all[a.Spec.AgentID] = a.Name
	}
	return all
}

// onlyRead checks that nothing was written to the cloud since the requests were reset.
func onlyRead(w *harness.World, before []cloud.Agent) {
	w.Helper()
	for _, r := range w.Cloud.Requests() {
		if r.Method != http.MethodGet {
			w.Errorf("%s %s: %.300s", r.Method, r.Path, r.Body)
		}
	}
	if diff := cmp.Diff(before, w.Remote(), cmp.Comparer(func(a, b cloud.Token) bool { return a.Equal(b) })); diff != "" {
		w.Errorf("the remote agents changed, -before +after:\n%.3000s", diff)
	}
}

func TestApplyingAnImportChangesNothingRemote(t *testing.T) {
	for _, policy := range []v1alpha1.SyncPolicy{v1alpha1.SyncObserve, v1alpha1.SyncEnforce} {
		t.Run(string(policy), func(t *testing.T) {
			w := harness.New(t, cloudtest.Settings{
				PageSize: 7, Fleets: map[string]string{listedFleet: "edge"}, Environments: map[string]string{"s": "staging"},
			})
			for name, change := range remoteShapes {
				addRemote(w, name, change)
			}
			twin := addRemote(w, "web-logs", func(a *cloud.Agent) { a.Version = "v3.2.1" })
			tooLarge := addRemote(w, "too-large", withConfig(strings.Repeat("x", 1<<20+1)))
			before := w.Remote()
			w.Cloud.ResetRequests()

			manifests, output, err := importAll(w, t, "--sync-policy", string(policy))
			if err == nil || !strings.Contains(output, "agent "+tooLarge+" (too-large) is not declared: its rawConfig has more bytes than a ConfigMap takes") {
				t.Errorf("an agent that is too large is not refused: %v\n%s", err, output)
			}
			for _, words := range []string{"fleet:\n    name: edge\n", "environment:\n    name: staging\n"} {
				if strings.Count(manifests, words) != 1 {
					t.Errorf("the manifests do not have %q once", words)
				}
			}
			applyAll(w, manifests)

			declared := agents(w)
			if len(declared) != len(before)-1 || declared[tooLarge] != "" || declared[twin] != "web-logs-"+twin[:8] {
				t.Fatalf("%d of %d agents are declared: %v", len(declared), len(before), declared)
			}
			for id, name := range declared {
				if a := w.Ready(name); a.Status.ID != id || a.Spec.SyncPolicy != policy || a.Status.Origin == v1alpha1.OriginRegistered {
					t.Errorf("%s has agent %s, policy %s", name, a.Status.ID, a.Spec.SyncPolicy)
				}
			}
			// A second sync and a second apply change nothing either.
			applyAll(w, manifests)
			for _, name := range declared {
				w.Poke(name)
			}
			for _, name := range declared {
				if a := w.Handled(name); len(a.Status.DriftedFields)+len(a.Status.IgnoredFields) > 0 || a.Generation != 1 {
					t.Errorf("%s: drift %v, ignored fields %v, generation %d", name, a.Status.DriftedFields, a.Status.IgnoredFields, a.Generation)
				}
			}
			onlyRead(w, before)

			for _, name := range declared {
				w.Delete(name)
			}
			for _, name := range declared {
				w.Gone(name)
			}
			onlyRead(w, before)
		})
	}
}

func TestImportedAgentsThatChangeBeforeTheApplyAreLeftAlone(t *testing.T) {
	w := harness.New(t, cloudtest.Settings{})
	id := addRemote(w, "web", func(*cloud.Agent) {})
	manifests, _, err := importAll(w, t)
	if err != nil {
		t.Fatal(err)
	}
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.Version = "v4.1.0" })
	before := w.Remote()
	w.Cloud.ResetRequests()

	applyAll(w, manifests)
	if a := w.Ready("web"); !slices.Equal(a.Status.DriftedFields, []string{"version"}) {
		t.Errorf("drift %v, want the version", a.Status.DriftedFields)
	}
	onlyRead(w, before)

	// From then on the manifest wins, if the user sets Enforce.
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = v1alpha1.SyncEnforce })
	w.Ready("web")
	if remote, _ := w.Cloud.Agent(id); remote.Version != "v4.0.0" {
		t.Errorf("the version is %s", remote.Version)
	}
}
