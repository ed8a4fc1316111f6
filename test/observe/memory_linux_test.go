/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// memory is a figure of the operator's process, in bytes: VmRSS for what is resident now, VmHWM for the most that ever was.
func (c *child) memory(figure string) int {
	c.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Command.Process.Pid))
	if err != nil {
		c.Fatal(err) // also if the operator was killed
	}
	_, rest, _ := strings.Cut(string(content), figure+":")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.Atoi(number)
	if err != nil {
		c.Fatal(err)
	}
	return kib << 10
}

// The whole way of an object into the memory of the process: the first list, the watch and the cache. What each kind of object may take is
// tested with the cache's transforms.
func TestLargeObjectsOfATeamDoNotFillTheMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "100MiB")
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	stranger := w.In(w.AddNamespace("stranger"))
	start := func() *child {
		return launch(w, harness.Plane().Kubeconfig, "--watch-namespaces="+w.Namespace+","+stranger.Namespace, "--agent-sets")
	}
	c := start()
	w.Ready(w.Apply("before"))
	kube, err := kubernetes.NewForConfig(harness.Plane().Config)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 { // As Go objects 260 MB.
		body := fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"large-%d"},"spec":{"selector":{"matchLabels":{"a":"b"}},`+
			`"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}],"affinity":{"nodeAffinity":`+
			`{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{}%s]}}}}}}}`, i, strings.Repeat(",{}", 450_000))
		err := kube.AppsV1().RESTClient().Post().Namespace(stranger.Namespace).Resource("daemonsets").
			SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(t.Context()).Error()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 { // As Go objects 40 MB.
		agent := stranger.NewAgent(fmt.Sprint("large-", i), func(a *v1alpha1.Agent) {
			for n := range 30_000 {
				metav1.SetMetaDataLabel(&a.ObjectMeta, strconv.Itoa(i*30_000+n), "")
			}
		})
		stranger.Create(agent)
		stranger.NotReady(agent.Name, v1alpha1.ReasonProjectNotFound)
	}
	const most = 200 << 20
	if got := c.memory("VmRSS"); got > most {
		t.Errorf("the operator takes %d MiB, want %d at most", got>>20, most>>20)
	}
	c.end()
	c = start()
	c.becomes("/readyz", http.StatusOK)
	w.Ready(w.Apply("after"))
	if got := c.memory("VmRSS"); got > most {
		t.Errorf("after a restart the operator takes %d MiB, want %d at most", got>>20, most>>20)
	}
}

// The server of a team responds to the lists of all its CloudProjects at one moment. None is so large that it
// needs a place before it has ended.
func TestManySmallListsAtOnceDoNotFillTheMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", strconv.Itoa(memoryLimit*9/10))
	const lists = 150
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	stranger := w.In(w.AddNamespace("stranger"))
	members := `{` + strings.Repeat(`"":0,`, 104_000) + `"":0}`
	var waiting, registrations atomic.Int64
	release := make(chan struct{})
	respond := sync.OnceFunc(func() { close(release) })
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			registrations.Add(1)
			fallthrough
		case !strings.HasSuffix(r.URL.Path, "/agents"):
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write([]byte(`{"error":"agent not found"}`))
			return
		case r.URL.Query().Get("last") == "1": // a credential check
			_, _ = rw.Write([]byte(`[]`))
			return
		}
		metadata := members
		if waiting.Add(1)%2 == 0 {
			metadata = `{"a":` + members + `}`
		}
		if waiting.Load() >= lists*2/3 {
			respond()
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = fmt.Fprintf(rw, `[{"id":%q,"machineID":"m","type":"fluentbit","metadata":%s}]`, uuid.NewString(), metadata)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(respond)
	stranger.Create(stranger.TokenSecret("calyptia-token", "a-token"))
	for i := range lists {
		cp := stranger.NewCloudProject(fmt.Sprint("cp-", i))
		cp.Spec.URL, cp.Spec.ProjectID = server.URL, uuid.NewString()
		stranger.Create(cp)
		stranger.Apply(fmt.Sprint("agent-", i), func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = cp.Name })
	}
	c := launch(w, harness.Plane().Kubeconfig, "--watch-namespaces="+w.Namespace+","+stranger.Namespace)
	w.Eventually("the lists are read", func() error {
		if n := registrations.Load(); n < lists*2/3 {
			return fmt.Errorf("of %d lists %d are followed by a registration", waiting.Load(), n)
		}
		return nil
	})
	w.Ready(w.Apply("after"))
	if most := c.memory("VmHWM"); most > memoryLimit*3/4 {
		t.Errorf("the operator took %d MiB, and the chart allows %d", most>>20, memoryLimit>>20)
	} else {
		t.Logf("the operator took %d MiB", most>>20)
	}
}
