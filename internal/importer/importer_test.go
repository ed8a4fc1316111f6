/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// errUsage marks a wrong flag or value.
type errUsage struct{ error }

// world is a project with agents, and the command as it is run.
type world struct {
	testing.TB
	*cloudtest.Server
	url, project string
	token        cloud.Token
	limits       limits
	clock        time.Time
}

func newWorld(t testing.TB, settings cloudtest.Settings) *world {
	w := &world{TB: t, project: uuid.NewString(), clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.limits = limits{patience: time.Millisecond, agents: 1000, content: 10 << 20}
	settings.Now = func() time.Time { return w.clock }
	w.Server = cloudtest.New(settings)
	web := w.Start()
	t.Cleanup(web.Close)
	w.url, w.token = web.URL, w.AddProject(w.project)
	return w
}

// agent adds a remote agent, younger than all before it, and returns its ID.
func (w *world) agent(name string, changes ...func(*cloud.Agent)) string {
	w.Helper()
	w.clock = w.clock.Add(time.Second)
	base, err := cloud.ParseURL(w.url, cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true})
	if err != nil {
		w.Fatal(err)
	}
	c, err := cloud.New(cloud.Config{BaseURL: base, Credential: cloud.Credential{Scheme: cloud.SchemeProjectToken, Token: w.token}})
	if err != nil {
		w.Fatal(err)
	}
	defer c.CloseIdleConnections()
	made, err := c.Register(w.Context(), cloud.Registration{
		Name: "host", MachineID: uuid.NewString(), Type: "fluentbit", Version: "v4.0.0", Edition: "community",
		RawConfig: "[INPUT]\n    Name dummy\n",
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Mutate(made.ID, func(a *cloud.Agent) {
		a.Name = name
		for _, change := range changes {
			change(a)
		}
	})
	return made.ID
}

// result is what a run came to.
type result struct {
	stdout, stderr string
	err            error
}

func (r result) usage() bool { return errors.As(r.err, new(errUsage)) }

// all is all the output that a user could see.
func (r result) all() string { return fmt.Sprint(r.stdout, r.stderr, r.err) }

// run runs the command with the token in the environment.
func (w *world) run(args ...string) result {
	w.Helper()
	return w.runWith(w.token.Reveal(), append([]string{"--url", w.url, "--allow-insecure-http"}, args...)...)
}

func (w *world) runWith(variable string, args ...string) result {
	w.Helper()
	getenv := func(name string) string {
		if name != TokenVariable {
			w.Errorf("the variable %s is read", name)
		}
		return variable
	}
	command := newCommand(&options{getenv: getenv, limits: w.limits}, func(err error) error { return errUsage{err} })
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errUsage{err} })
	command.SilenceErrors, command.SilenceUsage = true, true
	var stdout, stderr bytes.Buffer
	command.SetOut(&stdout)
	command.SetErr(&stderr)
	command.SetArgs(args)
	err := command.ExecuteContext(w.Context())
	return result{stdout.String(), stderr.String(), err}
}

// objects reads what a run printed.
func objects(t testing.TB, r result) (agents []v1alpha1.Agent, configMaps []corev1.ConfigMap) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+r.stdout, "\n---\n") {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatal(err)
		}
		var err error
		switch kind.Kind {
		case "Agent":
			agents = append(agents, v1alpha1.Agent{})
			err = yaml.UnmarshalStrict([]byte(document), &agents[len(agents)-1])
		case "ConfigMap":
			configMaps = append(configMaps, corev1.ConfigMap{})
			err = yaml.UnmarshalStrict([]byte(document), &configMaps[len(configMaps)-1])
		case "":
		default:
			t.Fatalf("kind %s", kind.Kind)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return agents, configMaps
}

func namesOf(t testing.TB, r result) []string {
	t.Helper()
	agents, _ := objects(t, r)
	names := []string{}
	for _, a := range agents {
		names = append(names, a.Name)
	}
	return names
}

func TestAnAgentIsDeclaredAsItIs(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	fleet := "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	id := w.agent("Web-Logs.example.com", func(a *cloud.Agent) {
		a.Edition, a.FleetID, a.EnvironmentName = "enterprise", &fleet, "production"
		a.Flags, a.Metadata, a.Tags = []string{"--verbose"}, json.RawMessage(`{"team":"payments","n":[1,null]}`), []string{"x"}
		a.Status, a.OS, a.Arch, a.MetricsCount = "healthy", "linux", "arm64", 5
	})
	got := w.run("--namespace=logging", "--project-ref=cloud/calyptia", "--sync-policy=OnChange")
	want := `---
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata:
  name: web-logs.example.com
  namespace: logging
spec:
  agentID: ` + id + `
  edition: enterprise
  flags:
  - --verbose
  fleet:
    id: 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11
  metadata:
    "n":
    - 1
    - null
    team: payments
  name: Web-Logs.example.com
  projectRef:
    name: calyptia
    namespace: cloud
  rawConfig: |
    [INPUT]
        Name dummy
  syncPolicy: OnChange
  type: fluentbit
  version: v4.0.0
`
	if got.err != nil || got.stdout != want || got.stderr != "1 of the project's 1 agents chosen, 1 declared\n" {
		t.Errorf("%v\n%s\n%s\nwant\n%s", got.err, got.stderr, got.stdout, want)
	}
}

func TestWhatCannotBeDeclaredIsLeftOutAndReported(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*cloud.Agent)
		field  string
		words  string
	}{
		"a name that is no host name": {func(a *cloud.Agent) { a.Name = "a_b" }, "name", "not a host name"},
		"a name that is too long":     {func(a *cloud.Agent) { a.Name = strings.Repeat("a.", 127) + "a" }, "name", "not a host name"},
		"a type that is new":          {func(a *cloud.Agent) { a.Type = "vector" }, "type", "neither fluentbit nor fluentd"},
		"a version that is none":      {func(a *cloud.Agent) { a.Version = "latest" }, "version", "not a version such as v4.0.0"},
		"a version with a line break": {func(a *cloud.Agent) { a.Version = "v4.0.0\n" }, "version", "not a version"},
		"an edition that is new":      {func(a *cloud.Agent) { a.Edition = "free" }, "edition", "neither community nor enterprise"},
		"a fleet that is no UUID":     {func(a *cloud.Agent) { a.FleetID = new("Edge") }, "fleet", "UUID"},
		"a flag that is empty":        {func(a *cloud.Agent) { a.Flags = []string{""} }, "flags", "is empty"},
		"a flag that is too long":     {func(a *cloud.Agent) { a.Flags = []string{strings.Repeat("x", 1025)} }, "flags", "longer than 1024"},
		"too many flags":              {func(a *cloud.Agent) { a.Flags = slices.Repeat([]string{"-v"}, 129) }, "flags", "more than 128"},
		"metadata that is a list":     {func(a *cloud.Agent) { a.Metadata = json.RawMessage(`[]`) }, "metadata", "not a JSON object"},
		"metadata that is too large": {func(a *cloud.Agent) {
			a.Metadata = json.RawMessage(`{"a":"` + strings.Repeat("x", 257<<10) + `"}`)
		}, "metadata", "256 KiB"},
		"too large a number":   {func(a *cloud.Agent) { a.Metadata = json.RawMessage(`{"a":[18446744073709551616]}`) }, "metadata", "64 bits"},
		"a control character":  {func(a *cloud.Agent) { a.RawConfig = "a\x7fb" }, "rawConfig", "control characters"},
		"another line break":   {func(a *cloud.Agent) { a.RawConfig = "a\u0085b" }, "rawConfig", "control characters"},
		"its token in a field": {func(a *cloud.Agent) { a.RawConfig = "[X]\n    api_key " + a.Token.Reveal() + "\n" }, "rawConfig", "secretKeyRef"},
		"its token in flags":   {func(a *cloud.Agent) { a.Flags = []string{"-t", "x" + a.Token.Reveal()} }, "flags", "contains a token"},
		"its token in a key":   {func(a *cloud.Agent) { a.Metadata = json.RawMessage(`{"a":{"` + a.Token.Reveal() + `":1}}`) }, "metadata", "contains a token"},
		"its token, escaped": {func(a *cloud.Agent) {
			a.Metadata = json.RawMessage(fmt.Sprintf(`{"a":"\u%04x%s"}`, a.Token.Reveal()[0], a.Token.Reveal()[1:]))
		}, "metadata", "contains a token"},
		"its token in base64": {func(a *cloud.Agent) {
			a.RawConfig = "[X]\n    Header Authorization Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+a.Token.Reveal())) + "\n"
		}, "rawConfig", "secretKeyRef"},
		"its token for a name": {func(a *cloud.Agent) { a.Name = a.Token.Reveal() }, "name", "contains a token"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{})
			id := w.agent("web", func(a *cloud.Agent) {
				a.Flags, a.Metadata, a.FleetID = []string{"-v"}, json.RawMessage(`{"a":1}`), new(uuid.NewString())
			}, row.change)
			got := w.run()
			agents, _ := objects(t, got)
			if got.err != nil || len(agents) != 1 || agents[0].Spec.AgentID != id {
				t.Fatalf("%v: %s", got.err, got.all())
			}
			if !strings.Contains(got.stderr, "agent "+id+" ("+agents[0].Name+"): spec."+row.field+" is left out: ") ||
				!strings.Contains(got.stderr, row.words) || strings.Count(got.stderr, "left out") != 1 {
				t.Errorf("it says %s", got.stderr)
			}
			spec := map[string]any{}
			if raw, err := json.Marshal(agents[0].Spec); err != nil || json.Unmarshal(raw, &spec) != nil {
				t.Fatal(err)
			}
			for _, field := range []string{"name", "type", "version", "edition", "fleet", "flags", "metadata", "rawConfig"} {
				if _, there := spec[field]; there == (field == row.field) {
					t.Errorf("spec.%s: there is %v", field, spec[field])
				}
			}
			if remote, _ := w.Agent(id); strings.Contains(got.all(), remote.Token.Reveal()) || strings.Contains(got.all(), w.token.Reveal()) {
				t.Error("a token is printed")
			}
		})
	}
}

// The list shows the tokens of all agents.
func TestTheTokenOfAnotherAgentIsNeverPrinted(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	other, _ := w.Agent(w.agent("other"))
	token := other.Token.Reveal()
	w.agent("web", func(a *cloud.Agent) { a.RawConfig, a.Flags = "token "+token, []string{token} })
	if got := w.run(); got.err != nil || strings.Contains(got.all(), token) {
		t.Errorf("it prints the token of another agent (%v): %s", got.err, strings.ReplaceAll(got.stdout, token, "<TOKEN>"))
	}
}

func TestTheProjectTokenIsNeverPrinted(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	token := w.token.Reveal()
	w.agent("web", func(a *cloud.Agent) { a.RawConfig, a.Flags = "api_key "+token, []string{token} })
	got := w.run("--config-maps", "--config-maps-above=0")
	if got.err != nil || len(namesOf(t, got)) != 1 || strings.Count(got.stderr, "contains a token") != 2 {
		t.Errorf("%v\n%s", got.err, got.stderr)
	}
	results := []result{
		got,
		w.run(token),
		w.run("--token", token),
		w.run("--token=" + token),
		w.run("--token-file", token),
		w.run("--token-file", filepath.Join(t.TempDir(), token)),
		w.run("--ca-file", token),
		w.run("--url", "https://"+token+"@cloud-api.calyptia.com"),
		w.run("--project-id", token),
		w.run("--namespace", token),
		w.run("--project-ref", token),
		w.run("--fleet", token),
		w.run("--name", "["+token),
		w.run("--type", token),
		w.run("--sync-policy", token),
		w.run("--authentication", token),
		w.runWith(token+"\n"+token, "--url", w.url, "--allow-insecure-http"),
	}
	w.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Times: 1, Status: http.StatusUnprocessableEntity, Body: `{"error":"I know ` + token + `"}`})
	results = append(results, w.run())
	for i, r := range results {
		if i > 0 && r.err == nil {
			t.Errorf("run %d succeeds", i)
		}
		// Its signature alone is as bad, and so is its first part.
		for part := range strings.SplitSeq(token, ".") {
			if strings.Contains(r.all(), part) {
				t.Errorf("run %d prints the token: %s", i, r.all())
			}
		}
	}
	for _, r := range w.Requests() {
		if strings.Contains(r.Query+r.Path, token) {
			t.Errorf("the token is in the URL %s?%s", r.Path, r.Query)
		}
	}
}

// JSON escapes some characters that a token may have, and a manifest shows them as they are.
func TestATokenThatJSONEscapesIsNeverPrinted(t *testing.T) {
	const token = `tk-0123456789abcdef&c94e"17d05`
	for whose, prepare := range map[string]func(w *world){
		"the project's":   func(w *world) { w.AddToken(w.project, token) },
		"another agent's": func(w *world) { w.Mutate(w.agent("other"), func(a *cloud.Agent) { a.Token = cloud.NewToken(token) }) },
	} {
		for where, metadata := range map[string]any{
			"a text": map[string]string{"installer": "curl -H '" + token + "'"},
			"a key":  map[string]any{"by": []any{map[string]bool{token: true}}},
		} {
			t.Run(whose+" in "+where, func(t *testing.T) {
				w := newWorld(t, cloudtest.Settings{})
				prepare(w)
				raw, err := json.Marshal(metadata)
				if err != nil {
					t.Fatal(err)
				}
				w.agent("web", func(a *cloud.Agent) { a.Metadata = raw })
				with := w.token.Reveal()
				if whose == "the project's" {
					with = token
				}
				got := w.runWith(with, "--url", w.url, "--allow-insecure-http", "--project-id", w.project)
				if got.err != nil || strings.Contains(got.all(), "c94e") || !strings.Contains(got.stderr, "spec.metadata is left out") {
					t.Errorf("it prints the token (%v): %s", got.err, got.all())
				}
			})
		}
	}
}

func TestAMaskIsNoToken(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{MaskTokens: true, MaskAs: "redacted"})
	w.agent("web", func(a *cloud.Agent) { a.RawConfig = "# passwords are redacted\n" })
	if got := w.run(); got.err != nil || !strings.Contains(got.stdout, "# passwords are redacted") {
		t.Error(got.all())
	}
}

func TestTheTokenComesFromAFileOrTheEnvironment(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.agent("web")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("\ufeff  "+w.token.Reveal()+"\u200b\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	service := []string{"--url", w.url, "--allow-insecure-http"}
	for name, got := range map[string]result{
		"the environment":                w.runWith(w.token.Reveal(), service...),
		"a file":                         w.runWith("", append(service, "--token-file", file)...),
		"a file before the environment":  w.runWith("another.token", append(service, "--token-file", file)...),
		"with its own project ID beside": w.run("--project-id", w.project),
	} {
		if got.err != nil || !slices.Equal(namesOf(t, got), []string{"web"}) {
			t.Errorf("%s: %s", name, got.all())
		}
	}
	w.AddToken(w.project, "opaque-token")
	if got := w.runWith("opaque-token", append(service, "--project-id", w.project)...); got.err != nil {
		t.Error(got.err)
	}
}
