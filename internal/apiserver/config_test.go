/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package apiserver_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/internal/apiserver"
)

// A warning may repeat a Secret. No client logs it, in contrast to a client with another configuration.
func TestConfig_APIServerWarns_NothingIsLogged(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Warning", `299 - "no static credentials: token=secret"`)
		_, _ = w.Write([]byte(`{"kind":"Secret","apiVersion":"v1","metadata":{"namespace":"default","name":"web-token"}}`))
	}))
	t.Cleanup(server.Close)
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["c"] = &clientcmdapi.Cluster{Server: server.URL}
	kubeconfig.Contexts["c"] = &clientcmdapi.Context{Cluster: "c"}
	kubeconfig.CurrentContext = "c"
	loaded, err := apiserver.ConfigOf(clientcmd.NewDefaultClientConfig(*kubeconfig, nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		config *rest.Config
		logged int // by the two clients
	}{
		"loaded":                  {loaded, 0},
		"configured":              {apiserver.Configure(&rest.Config{Host: server.URL}), 0},
		"with a handler":          {apiserver.Configure(&rest.Config{Host: server.URL, WarningHandler: rest.WarningLogger{}}), 0},
		"copied":                  {rest.CopyConfig(loaded), 0},
		"without a configuration": {&rest.Config{Host: server.URL}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var lines []string
			logger := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{Verbosity: 7})
			ctx := klog.NewContext(log.IntoContext(t.Context(), logger), logger)
			written := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-token"}}
			typed, err := kubernetes.NewForConfig(row.config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := typed.CoreV1().Secrets("default").Create(ctx, written, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			mapper := meta.NewDefaultRESTMapper(nil)
			mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
			ofRuntime, err := client.New(row.config, client.Options{Scheme: clientgoscheme.Scheme, Mapper: mapper})
			if err != nil {
				t.Fatal(err)
			}
			if err := ofRuntime.Create(ctx, written); err != nil {
				t.Fatal(err)
			}
			if logged := strings.Count(strings.Join(lines, "\n"), "token=secret"); logged != row.logged {
				t.Errorf("logged %d times: %q", logged, lines)
			}
		})
	}
}
