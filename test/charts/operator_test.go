/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
)

// operator is a run of the operator's binary, as a Deployment describes it.
type operator struct {
	*process.Child
	log string
}

// tokenOf is a fresh token of a ServiceAccount, as a pod gets it.
func tokenOf(ctx context.Context, c client.Client, namespace, name string) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	request := &authenticationv1.TokenRequest{}
	err := c.SubResource("token").Create(ctx, account, request)
	return request.Status.Token, err
}

// kubeconfigFor is a kubeconfig with the token of a ServiceAccount and nothing else.
func kubeconfigFor(t testing.TB, plane *testenv.ControlPlane, namespace, account string) string {
	t.Helper()
	token := must(tokenOf(t.Context(), admin(t, plane), namespace, account))(t)
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: plane.Config.Host, CertificateAuthorityData: plane.Config.CAData}
	config.AuthInfos["c"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "c", Namespace: namespace}
	config.CurrentContext = "c"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// startOperator does what a kubelet does with a pod of the Deployment: the arguments and environment of the container, and
// the token of its ServiceAccount. more is added to the environment.
func startOperator(t testing.TB, plane *testenv.ControlPlane, deployment *appsv1.Deployment, more ...string) *operator {
	t.Helper()
	pod := deployment.Spec.Template.Spec
	container := pod.Containers[0]
	command := exec.Command(must(operatorPath())(t), container.Args...)
	command.Env = append(more, "KUBECONFIG="+kubeconfigFor(t, plane, deployment.Namespace, pod.ServiceAccountName))
	for _, env := range container.Env {
		command.Env = append(command.Env, env.Name+"="+env.Value)
	}
	o := &operator{log: filepath.Join(t.TempDir(), "operator.log")}
	file := must(os.Create(o.log))(t)
	command.Stdout, command.Stderr = file, file
	o.Child = must(process.Start(command, file))(t)
	t.Cleanup(func() {
		o.stop()
		if t.Failed() {
			t.Logf("the last output of the operator:\n%s", o.tail(25))
		}
	})
	return o
}

// ready waits until the readiness probe of the Deployment succeeds.
func (o *operator) ready(ctx context.Context, deployment *appsv1.Deployment) error {
	container := deployment.Spec.Template.Spec.Containers[0]
	probe := container.ReadinessProbe.HTTPGet
	var port int32
	for _, p := range container.Ports {
		if p.Name == probe.Port.StrVal {
			port = p.ContainerPort
		}
	}
	return await.Until(ctx, "the operator is not ready", func(ctx context.Context) error {
		if o.Ended() {
			return fmt.Errorf("it ended: %s: %s", o.Command.ProcessState, o.tail(5))
		}
		url := fmt.Sprintf("http://127.0.0.1:%d%s", port, probe.Path)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}

// stop stops the operator as a kubelet does.
func (o *operator) stop() { o.Stop(20 * time.Second) }

// tail is the end of the operator's output.
func (o *operator) tail(lines int) string {
	content, err := os.ReadFile(o.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// freePorts are two ports that are currently free.
func freePorts(t testing.TB) (metrics, probes int) {
	t.Helper()
	return must(process.FreePort("127.0.0.1"))(t), must(process.FreePort("127.0.0.1"))(t)
}
