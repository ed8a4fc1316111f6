/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// tokenFile is the path of the ServiceAccount token in a pod.
const tokenFile = "var/run/secrets/kubernetes.io/serviceaccount/token"

// A restarted kubelet has no tokens, and so gives each pod a new one, as it does before a token expires. Then the API
// server refuses the old ones. The operator has to use the new one, without a restart.
func TestTheKubeletRestartsAndTokensRotate_OnTheBuiltInNode(t *testing.T) {
	install(t)
	w := newTeam(t)
	w.declare("before")
	w.exact(1)
	running := must(pods(t.Context()))(t)
	before, count := map[string]string{}, restarts(t)
	for i := range running {
		before[running[i].Name] = tokenOf(t, &running[i])
	}
	seen := credentials(t)
	if err := here.node.RotateSigningKey(); err != nil {
		t.Fatal(err)
	}
	for _, m := range here.node.Nodes {
		if err := m.RestartKubelet(); err != nil {
			t.Fatal(err)
		}
	}
	w.declare("without-a-kubelet")
	w.exact(2)
	for i := range running {
		took := eventually(t, "the kubelet gives "+running[i].Name+" no new token", func(context.Context) error {
			if tokenOf(t, &running[i]) == before[running[i].Name] {
				return fmt.Errorf("it is still the one from before")
			}
			return nil
		})
		t.Logf("%s has a new token after %.0fs", running[i].Name, took.Seconds())
	}
	took := eventually(t, "the operator uses no new token", func(context.Context) error {
		now := credentials(t)
		for _, pod := range running {
			if used := now[pod.Name]; slices.Contains(seen[pod.Name], used[len(used)-1]) {
				return fmt.Errorf("%s uses the one from before", pod.Name)
			}
		}
		return nil
	})
	t.Logf("the operator uses its new token %.0fs after that", took.Seconds())

	if err := here.node.RefuseOldTokens(); err != nil {
		t.Fatal(err)
	}
	w.declare("after")
	w.exact(3)
	if got := restarts(t); got != count {
		t.Errorf("containers were started again %d times: %v", got-count, lastStates(t))
	}
	w.leave()
}

// tokenOf reads the token file of a pod.
func tokenOf(t testing.TB, pod *corev1.Pod) string {
	t.Helper()
	content := must(os.ReadFile(filepath.Join("/proc", strconv.Itoa(process(t, pod)), "root", tokenFile)))(t)
	return string(content)
}

// credentials are the IDs of the tokens that each of the operator's pods has used, from the audit log of the API server.
func credentials(t testing.TB) map[string][]string {
	t.Helper()
	file := must(os.Open(here.node.AuditLog()))(t)
	defer file.Close()
	all := map[string][]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var event struct {
			User struct {
				Username string
				Extra    map[string][]string
			}
		}
		if json.Unmarshal(lines.Bytes(), &event) != nil || !strings.HasSuffix(event.User.Username, ":"+operatorNamespace+":"+operator) {
			continue
		}
		pod, id := event.User.Extra["authentication.kubernetes.io/pod-name"], event.User.Extra["authentication.kubernetes.io/credential-id"]
		if len(pod) == 1 && len(id) == 1 {
			all[pod[0]] = append(slices.DeleteFunc(all[pod[0]], func(other string) bool { return other == id[0] }), id[0])
		}
	}
	return all
}
