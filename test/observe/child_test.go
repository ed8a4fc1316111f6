/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// child is one run of the operator's binary over the namespace of a World.
type child struct {
	*harness.World
	*process.Child
	log             string
	probes, metrics string // host:port
}

// launch starts the operator with a kubeconfig and further flags. It is stopped with the test.
func launch(w *harness.World, kubeconfig string, args ...string) *child {
	w.Helper()
	path, err := binary()
	if err != nil {
		w.Fatal(err)
	}
	c := &child{
		World: w, probes: freeAddress(w), metrics: freeAddress(w),
		log: filepath.Join(w.TempDir(), "operator.log"),
	}
	command := exec.Command(path, append([]string{
		"--kubeconfig=" + kubeconfig, "--cluster-id=observed", "--watch-namespaces=" + w.Namespace,
		"--allowed-hosts=127.0.0.1", "--allow-insecure-http",
		"--metrics-bind-address=" + c.metrics, "--health-probe-bind-address=" + c.probes,
	}, args...)...)
	file, err := os.Create(c.log)
	if err != nil {
		w.Fatal(err)
	}
	command.Stdout, command.Stderr = file, file
	if c.Child, err = process.Start(command, file); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		c.Kill()
		if w.Failed() {
			w.Logf("the output of the operator:\n%s", c.output())
		}
	})
	return c
}

func (c *child) output() string {
	content, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// end shuts the operator down cleanly.
func (c *child) end() {
	c.Helper()
	if err := c.Command.Process.Signal(syscall.SIGTERM); err != nil {
		c.Fatal(err)
	}
	<-c.Done()
}

// probe returns the status of /healthz or /readyz; 0 while there is no response.
func (c *child) probe(path string) int {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://" + c.probes + path)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// becomes waits until a probe returns a status.
func (c *child) becomes(path string, want int) {
	c.Helper()
	c.Eventually(fmt.Sprintf("%s becomes %d", path, want), func() error {
		if c.Ended() {
			c.Fatalf("the operator ended:\n%s", c.output())
		}
		if got := c.probe(path); got != want {
			return fmt.Errorf("it is %d", got)
		}
		return nil
	})
}

// scrape asks for the metrics with a bearer token; none if it is empty. config may be nil to trust any certificate.
func (c *child) scrape(token string, config *tls.Config) (status int, body string, err error) {
	if token != "" {
		token = "Bearer " + token
	}
	status, _, body, err = c.ask(token, config)
	return status, body, err
}

// ask asks for the metrics with a header of Authorization; none if it is empty.
func (c *child) ask(authorization string, config *tls.Config) (status int, header http.Header, body string, err error) {
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: true}
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequest(http.MethodGet, "https://"+c.metrics+"/metrics", nil)
	if err != nil {
		return 0, nil, "", err
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := (&http.Client{Transport: transport, Timeout: 15 * time.Second}).Do(request)
	if err != nil {
		return 0, nil, "", err
	}
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(content), errors.Join(err, response.Body.Close())
}

// serves waits until the metrics endpoint responds, with any status.
func (c *child) serves() {
	c.Helper()
	c.Eventually("the metrics are served", func() error {
		_, _, err := c.scrape("", nil)
		return err
	})
}

// freeAddress is an address that is currently free.
func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := process.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// kubeconfig writes a kubeconfig file for this configuration.
func kubeconfig(t testing.TB, from *rest.Config) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["it"] = &clientcmdapi.Cluster{Server: from.Host, CertificateAuthorityData: from.CAData}
	config.AuthInfos["it"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: from.CertData, ClientKeyData: from.KeyData,
		Impersonate: from.Impersonate.UserName, ImpersonateGroups: from.Impersonate.Groups,
	}
	config.Contexts["it"] = &clientcmdapi.Context{Cluster: "it", AuthInfo: "it"}
	config.CurrentContext = "it"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}
