/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

func TestAgentsAreChosen(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{PageSize: 2})
	fleet, other := uuid.NewString(), uuid.NewString()
	in := func(fleet, environment string) func(*cloud.Agent) {
		return func(a *cloud.Agent) { a.FleetID, a.EnvironmentName = &fleet, environment }
	}
	w.agent("web-1", in(fleet, "production"))
	w.agent("web-2", in(other, "staging"))
	db := w.agent("db-1", in(fleet, "staging"))
	w.agent("fluentd-1", func(a *cloud.Agent) { a.Type = "fluentd" })
	for _, row := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"db-1", "fluentd-1", "web-1", "web-2"}},
		{[]string{"--name=web-1"}, []string{"web-1"}},
		{[]string{"--name=web-*", "--name=d?-1"}, []string{"db-1", "web-1", "web-2"}},
		{[]string{"--name=WEB-1"}, nil},
		{[]string{"--name=web"}, nil},
		{[]string{"--fleet=" + fleet}, []string{"db-1", "web-1"}},
		{[]string{"--fleet=" + strings.ToUpper(fleet) + "," + other}, []string{"db-1", "web-1", "web-2"}},
		{[]string{"--environment=staging"}, []string{"db-1", "web-2"}},
		{[]string{"--environment=default"}, []string{"fluentd-1"}},
		{[]string{"--type=fluentd"}, []string{"fluentd-1"}},
		{[]string{"--except=" + db}, []string{"fluentd-1", "web-1", "web-2"}},
		{[]string{"--fleet=" + fleet, "--environment=staging", "--name=*", "--type=fluentbit"}, []string{"db-1"}},
	} {
		got := w.run(row.args...)
		if names := namesOf(t, got); got.err != nil || !slices.Equal(names, append([]string{}, row.want...)) {
			t.Errorf("%v: %v, want %v (%v)", row.args, names, row.want, got.err)
		}
		if said := fmt.Sprintf("%d of the project's 4 agents chosen", len(row.want)); !strings.Contains(got.stderr, said) {
			t.Errorf("%v: it says %s", row.args, got.stderr)
		}
	}
}

func TestNamesAreValidUniqueAndKept(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{PageSize: 3})
	long := strings.Repeat("x", 63) + "." + strings.Repeat("y", 63) + "." + strings.Repeat("z", 60)
	want := map[string]string{}
	add := func(remote, object string) {
		id := w.agent(remote)
		want[id] = strings.ReplaceAll(object, "ID", id[:8])
	}
	add("web", "web")
	add("WEB", "web-ID")
	add("web", "web-ID")
	add("web_1.example.com.", "web-1.example.com")
	add("-.-a-.--", "a")
	add("../../etc/passwd", "etc-passwd")
	add("", "agent")
	add("日本", "agent-ID")
	add(long, long[:180])
	add(long+"z", long[:180]+"-ID")
	add("kustomization", "kustomization")
	first := w.run()
	agents, _ := objects(t, first)
	for _, a := range agents {
		if want[a.Spec.AgentID] != a.Name {
			t.Errorf("agent %q is called %s, want %s", a.Spec.Name, a.Name, want[a.Spec.AgentID])
		}
	}
	if len(agents) != len(want) || !slices.IsSorted(namesOf(t, first)) {
		t.Errorf("%d agents, in the order %v", len(agents), namesOf(t, first))
	}
	if again := w.run(); again.stdout != first.stdout {
		t.Error("a second run prints something else")
	}
	// The youngest web keeps its name when it is asked for alone, and new agents take no name away.
	youngest := agents[slices.IndexFunc(agents, func(a v1alpha1.Agent) bool { return a.Name == "web-1.example.com" })].Spec.AgentID
	w.agent("web-1.example.com")
	if got := w.run("--name=web_1.*"); !slices.Equal(namesOf(t, got), []string{"web-1.example.com"}) || !strings.Contains(got.stdout, youngest) {
		t.Errorf("it prints %s", got.stdout)
	}
}

func TestANameThatIsTakenOnPurposeIsStillUnique(t *testing.T) {
	id := "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	var all []cloud.Agent
	for i, name := range []string{"web", "web-" + id[:8], "web-" + id, "web"} {
		all = append(all, cloud.Agent{ID: fmt.Sprintf("5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c%02d", i), Name: name})
	}
	all[3].ID = id
	got := map[string]bool{}
	for _, a := range (&options{}).inOrder(all) {
		got[a.object] = true
	}
	if len(got) != 4 {
		t.Errorf("the names are %v", got)
	}
}

func TestConfigMaps(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	sized := func(name string, size int) {
		w.agent(name, func(a *cloud.Agent) { a.RawConfig = strings.Repeat("x", size) })
	}
	sized("a-small", 100)
	sized("b-medium", 4<<10+1)
	sized("c-inline", 128<<10)
	sized("d-large", 128<<10+1)
	sized("e-largest", 1<<20)
	sized("f-larger", 1<<20+1)
	for _, row := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"d-large", "e-largest"}},
		{[]string{"--config-maps"}, []string{"b-medium", "c-inline", "d-large", "e-largest"}},
		{[]string{"--config-maps", "--config-maps-above=5"}, []string{"c-inline", "d-large", "e-largest"}},
		{[]string{"--config-maps", "--config-maps-above=0"}, []string{"a-small", "b-medium", "c-inline", "d-large", "e-largest"}},
		{[]string{"--config-maps", "--config-maps-above=100000"}, []string{"d-large", "e-largest"}},
	} {
		got := w.run(append(row.args, "--namespace=logging")...)
		agents, configMaps := objects(t, got)
		if got.err == nil || got.usage() || !strings.Contains(got.stderr, "(f-larger) is not declared: its rawConfig has more bytes than a ConfigMap takes") {
			t.Errorf("%v: %v %s", row.args, got.err, got.stderr)
		}
		var found []string
		for _, a := range agents {
			if a.Spec.RawConfigFrom == nil {
				continue
			}
			found = append(found, a.Name)
			ref := a.Spec.RawConfigFrom.ConfigMapKeyRef
			i := slices.IndexFunc(configMaps, func(c corev1.ConfigMap) bool { return c.Name == ref.Name && c.Namespace == "logging" })
			if i < 0 || configMaps[i].Data[ref.Key] == "" || a.Spec.RawConfig != "" {
				t.Errorf("%v: %s has no ConfigMap %v", row.args, a.Name, ref)
			}
		}
		if len(agents) != 5 || len(configMaps) != len(found) || !slices.Equal(found, row.want) {
			t.Errorf("%v: %d agents, ConfigMaps for %v, want %v", row.args, len(agents), found, row.want)
		}
	}
}

func TestOneFileForEachAgent(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.agent("web")
	w.agent("kustomization", func(a *cloud.Agent) { a.RawConfig = strings.Repeat("x\n", 100<<10) })
	dir := filepath.Join(t.TempDir(), "new", "agents")
	all := w.run().stdout
	for range 2 { // The second run finds what it would write.
		got := w.run("--output-dir", dir)
		if got.err != nil || got.stdout != "" {
			t.Fatal(got.all())
		}
	}
	var joined strings.Builder
	for _, name := range []string{"agent-kustomization.yaml", "agent-web.yaml"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		joined.Write(content)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 || joined.String() != all {
		t.Errorf("the files %v (%v) hold something else than stdout", entries, err)
	}
	web := filepath.Join(dir, "agent-web.yaml")
	if err := os.WriteFile(web, []byte("edited"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := w.run("--output-dir", dir)
	if content, _ := os.ReadFile(web); got.err == nil || got.usage() || string(content) != "edited" || !strings.Contains(got.stderr, "--overwrite") {
		t.Errorf("the file holds %s: %s", content, got.all())
	}
	got = w.run("--output-dir", dir, "--overwrite")
	if content, _ := os.ReadFile(web); got.err != nil || !strings.Contains(string(content), "kind: Agent") {
		t.Errorf("the file holds %s: %s", content, got.all())
	}
	if got := w.run("--output-dir", web); got.err == nil || got.usage() {
		t.Errorf("a file is no directory: %v", got.err)
	}
}

func TestAHostileListEndsAndPrintsNothing(t *testing.T) {
	page := func(n int, size int) string {
		return fmt.Sprintf(`[{"id":"5f0c9f6e-3c67-4b62-9d3c-%012d","machineID":"m","type":"fluentbit","rawConfig":%q}]`, n, strings.Repeat("x", size))
	}
	next := func(cursor int) http.Header {
		return http.Header{"Link": {fmt.Sprintf(`</a?before=%d>; rel="next"`, cursor)}}
	}
	for name, row := range map[string]struct {
		cursor func(n int) int
		body   func(n int) string
		word   string
	}{
		"a circle of two":        {func(n int) int { return n % 2 }, func(n int) string { return page(n, 1) }, "repeat"},
		"empty pages":            {func(n int) int { return n }, func(int) string { return "[]" }, "repeat"},
		"no end":                 {func(n int) int { return n }, func(n int) string { return page(n, 1) }, "more than 20 agents"},
		"more than can be held":  {func(n int) int { return n }, func(n int) string { return page(n, 1<<20) }, "more than 10 MiB"},
		"the same page again":    {func(int) int { return 1 }, func(n int) string { return page(n, 1) }, "same page"},
		"an agent without an ID": {func(n int) int { return n }, func(int) string { return `[{"name":"web"}]` }, "no agent ID"},
		"something else":         {func(n int) int { return n }, func(int) string { return "<html>" }, "not the API's JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{})
			w.limits.agents = 20
			for n := range 30 {
				w.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Times: 1, Status: 200, Header: next(row.cursor(n)), Body: row.body(n)})
			}
			got := w.run()
			if got.err == nil || got.usage() || got.stdout != "" || !strings.Contains(got.err.Error(), row.word) {
				t.Errorf("want %q: %.500s", row.word, got.all())
			}
		})
	}
}

func TestARepeatedAgentIsDeclaredOnce(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	const id = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	for n, link := range []string{`</a?before=1>; rel="next"`, ""} {
		body := fmt.Sprintf(`[{"id":%q,"name":"web-%d","machineID":"m","type":"fluentbit"},{"id":%q,"name":"web-%d","machineID":"m","type":"fluentbit"}]`, id, n, id, n)
		w.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Times: 1, Status: 200, Header: http.Header{"Link": {link}}, Body: body})
	}
	if got := w.run(); got.err != nil || !slices.Equal(namesOf(t, got), []string{"web-0"}) {
		t.Error(got.all())
	}
}

func TestIDsInUpperCaseAreDeclaredInLowerCase(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	const id, fleet = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11", "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c13"
	body := fmt.Sprintf(`[{"id":%q,"fleetID":%q,"name":"good","machineID":"m","type":"fluentbit"}]`, strings.ToUpper(id), strings.ToUpper(fleet))
	w.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Times: 1, Status: 200, Body: body})
	got := w.run()
	agents, _ := objects(t, got)
	if got.err != nil || len(agents) != 1 || agents[0].Spec.AgentID != id || agents[0].Spec.Fleet.ID != fleet {
		t.Error(got.all())
	}
}

func TestFailuresOfTheService(t *testing.T) {
	for name, row := range map[string]struct {
		fault cloudtest.Fault
		lasts bool   // the run fails
		word  string // that it says
		calls int
	}{
		"it is busy for a moment":   {cloudtest.Fault{Status: 503, Times: 3}, false, "trying again", 4},
		"it drops the connection":   {cloudtest.Fault{Cut: cloudtest.CutAfter, Times: 1}, false, "trying again", 2},
		"it asks to wait":           {cloudtest.Fault{Status: 429, Times: 1, Header: http.Header{"Retry-After": {"0"}}}, false, "trying again", 2},
		"it asks to wait too long":  {cloudtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"3600"}}}, true, "rate limited", 1},
		"it is down":                {cloudtest.Fault{Status: 502}, true, "unavailable", 5},
		"it refuses the token":      {cloudtest.Fault{Status: 401, Body: `{"error":"invalid token"}`}, true, "valid project token", 2},
		"it forbids the list":       {cloudtest.Fault{Status: 403, Body: `{"error":"permission denied"}`}, true, "--project-id", 2},
		"it has no list":            {cloudtest.Fault{Status: 404, Body: "404 page not found\n"}, true, "lists no agents", 1},
		"it has no such project":    {cloudtest.Fault{Status: 404, Body: `{"error":"project not found"}`}, true, "--project-id", 1},
		"it wants the other scheme": {cloudtest.Fault{Status: 401, Times: 1, Body: `{"error":"invalid token"}`}, false, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{})
			w.agent("web")
			row.fault.Route = cloudtest.RouteList
			w.Inject(row.fault)
			got := w.run()
			if (got.err != nil) != row.lasts || got.usage() || !strings.Contains(got.all(), row.word) || (got.stdout == "") != row.lasts {
				t.Errorf("want %q: %s", row.word, got.all())
			}
			if calls := w.Count(http.MethodGet, cloudtest.RouteList); calls != row.calls {
				t.Errorf("%d calls, want %d", calls, row.calls)
			}
		})
	}
}

func TestTheTokenIsShownInTheWayThatIsAccepted(t *testing.T) {
	for _, scheme := range []cloud.Scheme{cloud.SchemeBearer, cloud.SchemeProjectToken} {
		w := newWorld(t, cloudtest.Settings{PageSize: 1})
		w.agent("a")
		w.agent("b")
		w.Configure(func(s *cloudtest.Settings) { s.Schemes = []cloud.Scheme{scheme} })
		for authentication, good := range map[string]bool{"Auto": true, string(scheme): true, "Bearer": scheme == cloud.SchemeBearer} {
			got := w.run("--authentication", authentication)
			if (got.err == nil) != good || good && len(namesOf(t, got)) != 2 {
				t.Errorf("%s with %s: %s", authentication, scheme, got.all())
			}
		}
	}
}

func TestWrongFlagsAndValues(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	invisible := filepath.Join(t.TempDir(), "invisible")
	if err := os.WriteFile(invisible, []byte("token-\u200b-value"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args []string
		word string
	}{
		{[]string{"--token-file=" + invisible}, "--token-file: the token holds an invisible character (U+200B)"},
		{[]string{"agents"}, "no arguments"},
		{[]string{"--token=x"}, "--token"},
		{[]string{"--url=cloud-api.calyptia.com"}, "--url: must be an absolute URL"},
		{[]string{"--url=http://cloud-api.calyptia.com", "--allow-insecure-http=false"}, "--allow-insecure-http"},
		{[]string{"--token-file=" + empty}, "--token-file"},
		{[]string{"--token-file=" + empty + "-not"}, "--token-file: the file cannot be read: no such file"},
		{[]string{"--ca-file=" + empty + "-not"}, "--ca-file"},
		{[]string{"--ca-file=" + empty}, "--ca-file: the file has no certificate (PEM)"},
		{[]string{"--project-id=x"}, "--project-id: must be a UUID"},
		{[]string{"--project-id=" + uuid.NewString()}, "correct one of them"},
		{[]string{"--authentication=Basic"}, "--authentication"},
		{[]string{"--namespace=a.b"}, "--namespace"},
		{[]string{"--project-ref=a/b/c"}, "--project-ref"},
		{[]string{"--project-ref=/b"}, "--project-ref"},
		{[]string{"--sync-policy=Never"}, "--sync-policy"},
		{[]string{"--name=["}, "--name"},
		{[]string{"--fleet= "}, "--fleet: must be an ID or a name"},
		{[]string{"--environment=" + strings.Repeat("a", 254)}, "--environment: must be an ID or a name"},
		{[]string{"--except=x"}, "--except"},
		{[]string{"--type=vector"}, "--type"},
		{[]string{"--config-maps-above=-1"}, "--config-maps-above"},
		{[]string{"--config-maps=8"}, "--config-maps"},
		{[]string{"--overwrite"}, "--output-dir"},
	} {
		got := w.run(row.args...)
		if !got.usage() || !strings.Contains(got.err.Error(), row.word) || strings.Contains(got.err.Error(), "\n") || got.stdout != "" {
			t.Errorf("%v: %s", row.args, got.all())
		}
	}
	if got := w.runWith("", "--url", w.url, "--allow-insecure-http"); !got.usage() || !strings.Contains(got.err.Error(), TokenVariable) {
		t.Errorf("without a token: %v", got.err)
	}
	if got := w.runWith("opaque", "--url", w.url, "--allow-insecure-http"); !got.usage() || !strings.Contains(got.err.Error(), "--project-id") {
		t.Errorf("without a project: %v", got.err)
	}
	if len(w.Requests()) != 0 {
		t.Errorf("the API was called %d times", len(w.Requests()))
	}
}

func TestTheLimitsAreThoseOfTheCRD(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "cloud.calyptia.com_agents.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	crd := string(raw)
	for _, pattern := range []string{hostPattern.String(), versionPattern.String(), uuidPattern.String()} {
		if !strings.Contains(crd, "self.matches('"+pattern+"')") {
			t.Errorf("the CRD does not have %s", pattern)
		}
	}
	_, spec, _ := strings.Cut(crd, "\n          spec:\n")
	spec, _, _ = strings.Cut(spec, "\n          status:\n")
	for field, limits := range map[string][]string{
		"name":      {fmt.Sprint("maxLength: ", maxName)},
		"version":   {fmt.Sprint("maxLength: ", maxVersion)},
		"flags":     {fmt.Sprint("maxItems: ", maxFlags), fmt.Sprint("maxLength: ", maxFlag), "minLength: 1"},
		"metadata":  {fmt.Sprint("maxProperties: ", maxProperties)},
		"rawConfig": {fmt.Sprint("maxLength: ", maxInline), "minLength: 1"},
	} {
		_, schema, found := strings.Cut(spec, "\n              "+field+":\n")
		// Up to the next field, which has the same indentation.
		for i, line := range strings.Split(schema, "\n") {
			if strings.HasPrefix(line, "              ") && line[14] != ' ' {
				schema = strings.Join(strings.Split(schema, "\n")[:i], "\n")
				break
			}
		}
		for _, limit := range limits {
			if !found || !strings.Contains(schema+"\n", " "+limit+"\n") {
				t.Errorf("spec.%s of the CRD does not have %q", field, limit)
			}
		}
	}
}
