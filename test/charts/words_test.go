/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/client-go/util/cert"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// notHere are the blocks that need the network, or are tested where the image is built.
var notHere = []string{"git clone", "make push"}

// TestGettingStartedWordForWord runs all commands of docs/getting-started.md, with the public URL.
func TestGettingStartedWordForWord(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.atPublicService()
	s.shell("kubectl delete namespace " + agentsNamespace)
	token := s.cloud.AddProject(s.projectID)
	begin := "IMAGE=registry.example.com/calyptia-agent-operator; TAG=test; CALYPTIA_TOKEN=" + token.Reveal() + "\n"
	page := doc(t, "getting-started.md")
	save := regexp.MustCompile("Save this as `(.+)`").FindAllStringSubmatch(page, -1)
	var ran, skipped int
	var output strings.Builder
	for _, block := range regexp.MustCompile("(?s)```(sh|yaml)\n(.*?)```").FindAllStringSubmatch(page, -1) {
		language, text := block[1], block[2]
		switch {
		case language == "yaml":
			if err := os.WriteFile(filepath.Join(s.dir, save[0][1]), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			save = save[1:]
			continue
		case slices.ContainsFunc(notHere, func(word string) bool { return strings.Contains(text, word) }):
			skipped++
			continue
		case strings.Contains(text, "kubectl wait deployment"):
			s.run()
		case strings.Contains(text, "delete agents"):
			if err := s.one("v4.0.1"); err != nil {
				t.Errorf("before it is deleted: %v", err)
			}
			s.upgrade(strings.Replace(begin, "TAG=test", "TAG=newer", 1))
		}
		ran++
		output.WriteString(s.shell(begin+text) + "\n")
		if strings.Contains(text, "helm uninstall") {
			s.running.stop()
		}
	}
	if len(save) != 0 || ran != 11 || skipped != len(notHere) {
		t.Errorf("%d blocks were run, %d not, %d files are left", ran, skipped, len(save))
	}
	for _, words := range []string{
		"deployment.apps/calyptia-agent-operator condition met", "cloudproject.cloud.calyptia.com/calyptia condition met",
		"https://cloud-api.calyptia.com", "web-logs   True", "v4.0.1", `agent.cloud.calyptia.com "web-logs" deleted`,
		`release "calyptia-agent-operator" uninstalled`, `"agents.cloud.calyptia.com" deleted`,
	} {
		if !strings.Contains(output.String(), words) {
			t.Errorf("the output lacks %q:\n%s", words, output.String())
		}
	}
	s.remote(0)
}

// upgrade runs the upgrade of docs/upgrade-uninstall.md.
func (s *site) upgrade(begin string) {
	s.Helper()
	before := s.deployment().Spec.Template.Spec.Containers[0]
	s.shell(begin + line(s, doc(s, "upgrade-uninstall.md"), "helm upgrade"))
	after := s.deployment().Spec.Template.Spec.Containers[0]
	if after.Image != "registry.example.com/calyptia-agent-operator:newer" || !slices.Equal(after.Args, before.Args) {
		s.Errorf("upgraded, it is %s %v, and was %s %v", after.Image, after.Args, before.Image, before.Args)
	}
}

// TestImportWordForWord runs the commands of docs/import.md: no remote agent changes.
func TestImportWordForWord(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.atWork()
	for _, name := range []string{"web-logs", "db-logs"} {
		s.elsewhere(token, name)
	}
	s.remote(2)
	before := s.cloud.Agents(s.projectID)
	manifest := regexp.MustCompile("(?s)```yaml\n(.*?kind: CloudProject.*?)```").FindStringSubmatch(doc(t, "getting-started.md"))
	s.shell("kubectl apply -f - <<'END'\n" + manifest[1] + "END\n")
	page := doc(t, "import.md")
	// The output of `make build`, and the token.
	if err := os.Mkdir(filepath.Join(s.dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(must(operatorPath())(t), filepath.Join(s.dir, "bin", operatorName)); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "CALYPTIA_CLOUD_TOKEN="+token.Reveal())
	s.shell(line(t, page, "bin/calyptia-agent-operator import"))
	apply := regexp.MustCompile("`(kubectl apply [^`]+)`").FindStringSubmatch(page)
	if apply == nil {
		t.Fatal("the page does not apply")
	}
	s.shell(strings.Replace(apply[1], "NAMESPACE", agentsNamespace, 1))
	output := s.shell("kubectl wait agents --all --namespace logging --for=condition=Ready --timeout=1m")
	if strings.Count(output, "condition met") != 2 {
		t.Error(output)
	}
	s.leave()
	if diff := cmp.Diff(before, s.cloud.Agents(s.projectID), cmpopts.EquateComparable(cloud.Token{})); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

// TestGitOpsWordForWord runs the commands of docs/gitops that need no Argo CD: the example of a repository, and the two
// commits that adopt an agent.
func TestGitOpsWordForWord(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.atWork()
	page := doc(t, "gitops/README.md")
	output := s.shell(line(t, page, "kubectl apply --server-side"))
	for _, words := range []string{"cloudproject.cloud.calyptia.com/calyptia condition met", "agent.cloud.calyptia.com/web-logs condition met"} {
		if !strings.Contains(output, words) {
			t.Errorf("the output lacks %q:\n%s", words, output)
		}
	}
	s.remote(1)
	s.elsewhere(token, "legacy-logs")
	var id string
	for _, remote := range s.cloud.Agents(s.projectID) {
		if remote.Name == "legacy-logs" {
			id = remote.ID
			s.cloud.Mutate(id, func(a *cloud.Agent) { a.Version = "v3.9.9" })
		}
	}
	const ready = "kubectl wait agent legacy-logs --namespace logging --for=condition=Ready --timeout=1m\n"
	for _, commit := range []struct{ name, drift, version string }{{"observe", "version", "v3.9.9"}, {"enforce", "", "v4.0.0"}} {
		manifest := strings.Replace(doc(t, "gitops/adopt/"+commit.name+".yaml"), exampleID, id, 1)
		s.shell("kubectl apply -f - <<'END'\n" + manifest + "\nEND\n" + ready)
		if drift := s.shell(line(t, page, "   kubectl get agent")); !strings.Contains(drift, commit.drift) || (drift == "") != (commit.drift == "") {
			t.Errorf("%s: drift %q, want %q", commit.name, drift, commit.drift)
		}
		if remote, _ := s.cloud.Agent(id); remote.Version != commit.version {
			t.Errorf("%s: version %s, want %s", commit.name, remote.Version, commit.version)
		}
	}
	s.leave()
	s.remote(1) // An adopted agent is retained.
}

// exampleID is the ID of a remote agent in the examples.
const exampleID = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"

// atWork installs and runs an operator for the public URL, and creates the Secret with the project token.
func (s *site) atWork() cloud.Token {
	s.Helper()
	s.atPublicService()
	s.operatorValues(values{"allowedHosts": []string{publicHost}})
	s.types("install")
	s.run()
	token := s.cloud.AddProject(s.projectID)
	if err := os.WriteFile(filepath.Join(s.dir, "token"), []byte(token.Reveal()), 0o600); err != nil {
		s.Fatal(err)
	}
	s.shell("kubectl create secret generic calyptia-project-token --namespace logging --from-file=token")
	return token
}

// leave deletes what the test and atWork created.
func (s *site) leave() {
	s.Helper()
	s.shell("kubectl delete agents,cloudprojects --all --namespace logging && kubectl delete secrets,configmaps --all --namespace logging")
	s.helm("uninstall", operatorName, "--namespace", operatorNamespace)
	s.running.stop()
	s.types("crds")
}

// elsewhere registers an agent externally.
func (s *site) elsewhere(token cloud.Token, name string) {
	s.Helper()
	body := strings.NewReader(`{"name":"` + name + `","machineID":"` + name + `","type":"fluentbit",` +
		`"version":"v4.0.0","edition":"community","flags":null,"rawConfig":"[INPUT]"}`)
	request := must(http.NewRequestWithContext(s.Context(), http.MethodPost, s.url+"/v1/agents", body))(s)
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		s.Fatal(err)
	}
}

// doc is a page of the documentation.
func doc(t testing.TB, name string) string {
	t.Helper()
	return string(must(os.ReadFile(filepath.Join(testenv.ModuleRoot(), "docs", name)))(t))
}

// line is the indented command of a page that begins so.
func line(t testing.TB, page, begin string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n    "+begin)
	if !found {
		t.Fatalf("no command begins with %q", begin)
	}
	command, _, _ := strings.Cut(rest, "\n\n")
	return begin + command + "\n"
}

// publicHost is the default host of a CloudProject.
const publicHost = "cloud-api.calyptia.com"

// atPublicService puts the fake cloud at the public URL: a proxy redirects the requests.
func (s *site) atPublicService() {
	s.Helper()
	certificate, key, err := cert.GenerateSelfSignedCertKey(publicHost, nil, nil)
	if err != nil {
		s.Fatal(err)
	}
	pair := must(tls.X509KeyPair(certificate, key))(s)
	service := httptest.NewUnstartedServer(s.cloud)
	service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	service.StartTLS()
	s.Cleanup(service.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != publicHost+":443" {
			http.Error(w, "only to "+publicHost, http.StatusForbidden)
			return
		}
		tunnel(w, service.Listener.Addr().String())
	}))
	s.Cleanup(proxy.Close)
	roots := filepath.Join(s.TempDir(), "roots.crt")
	if err := os.WriteFile(roots, certificate, 0o600); err != nil {
		s.Fatal(err)
	}
	s.env = []string{"HTTPS_PROXY=" + proxy.URL, "SSL_CERT_FILE=" + roots}
}

// tunnel connects the client of a proxy with its destination.
func tunnel(w http.ResponseWriter, to string) {
	server, err := net.Dial("tcp", to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	caller, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = server.Close()
		return
	}
	for _, way := range [][2]net.Conn{{server, caller}, {caller, server}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
		}()
	}
}
