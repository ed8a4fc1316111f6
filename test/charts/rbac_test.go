/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// refused reads from the audit log the requests of a user that the API server refused since the last call.
type refused struct {
	user   string
	offset int64
}

func (r *refused) next() ([]string, error) {
	file, err := os.Open(filepath.Join(work, "audit.log"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(r.offset, io.SeekStart); err != nil {
		return nil, err
	}
	var found []string
	for reader := bufio.NewReader(file); ; {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // An incomplete line is read again.
			return found, nil
		} else if err != nil {
			return nil, err
		}
		r.offset += int64(len(line))
		if !bytes.Contains(line, []byte(`"username":"`+r.user+`"`)) || !bytes.Contains(line, []byte("403")) {
			continue
		}
		var event struct {
			Verb, RequestURI string
			ResponseStatus   struct{ Code int }
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, err
		}
		if event.ResponseStatus.Code == http.StatusForbidden {
			found = append(found, event.Verb+" "+event.RequestURI)
		}
	}
}

// installation is the operator of one life: where it runs, and what it was installed from.
type installation struct {
	*life
	plane      *testenv.ControlPlane
	objects    []*unstructured.Unstructured
	deployment *appsv1.Deployment
	account    string // user name of the ServiceAccount
}

// atOnce limits how many operators run on the shared control plane.
var atOnce = make(chan struct{}, 6)

// install renders the chart, applies change to its roles, and creates everything.
func install(t testing.TB, name string, namespaced bool, change func(roles []*unstructured.Unstructured)) *installation {
	t.Helper()
	atOnce <- struct{}{}
	t.Cleanup(func() { <-atOnce })
	return installOn(t, must(shared())(t), name, namespaced, change)
}

func installOn(t testing.TB, plane *testenv.ControlPlane, name string, namespaced bool,
	change func(roles []*unstructured.Unstructured)) *installation {
	t.Helper()
	c := admin(t, plane)
	i := &installation{life: newLife(t, c), plane: plane}
	i.system, i.home, i.other = name+"-system", name+"-home", name+"-other"
	createNamespace(t, c, i.system)
	createNamespace(t, c, i.home)
	createNamespace(t, c, i.other, allowedLabel)
	metrics, probes := freePorts(t)
	i.metrics = fmt.Sprintf("https://127.0.0.1:%d/metrics", metrics)
	v := values{
		"fullnameOverride": name, "crds": values{"enabled": false}, "rbac": values{"aggregate": false}, "tests": values{"enabled": false},
		"allowedHosts": []string{"127.0.0.1"}, "allowInsecureHTTP": true, "probes": values{"port": probes},
		"metrics": values{"port": metrics, "rbac": values{"readers": []values{{"kind": "ServiceAccount", "name": "reader", "namespace": i.system}}}},
	}
	if namespaced {
		v = merge(v, values{"watchNamespaces": []string{i.home, i.other}, "clusterID": name})
	}
	i.objects = render(t, operatorChart, i.system, v)
	if change != nil {
		change(i.objects)
	}
	for _, object := range i.objects {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		if object.GetNamespace() == "" {
			t.Cleanup(func() { _ = c.Delete(context.Background(), object) }) // The rest is in the namespaces of this life.
		}
	}
	for _, person := range []struct {
		name  string
		token *string
	}{{"reader", &i.reader}, {"stranger", &i.stranger}} {
		if err := c.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: i.system, Name: person.name}}); err != nil {
			t.Fatal(err)
		}
		*person.token = must(tokenOf(t.Context(), c, i.system, person.name))(t)
	}
	i.deployment = typed[appsv1.Deployment](t, only(t, i.objects, "Deployment"))
	i.account = "system:serviceaccount:" + i.system + ":" + i.deployment.Spec.Template.Spec.ServiceAccountName
	return i
}

// live starts the operator and runs the life, until the end or until a request is refused, and returns that request.
func (i *installation) live(t testing.TB, env ...string) (refusals []string, err error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	audit := &refused{user: i.account}
	watched := make(chan struct{})
	o := startOperator(t, i.plane, i.deployment, env...)
	go func() {
		defer close(watched)
		for tick := time.NewTicker(100 * time.Millisecond); len(refusals) == 0 && ctx.Err() == nil; {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
			found, auditErr := audit.next()
			if refusals = found; auditErr != nil || len(found) > 0 {
				cancel(errors.Join(auditErr, fmt.Errorf("refused: %s", found)))
			}
		}
	}()
	if err = o.ready(ctx, i.deployment); err == nil {
		err = i.run(ctx)
	}
	if ctx.Err() != nil {
		o.Kill() // Without its rights it does not exit in time.
	}
	o.stop()
	cancel(nil)
	<-watched
	rest, auditErr := audit.next()
	return append(refusals, rest...), errors.Join(err, auditErr)
}

func TestRightsAreEnough(t *testing.T) {
	for name, namespaced := range map[string]bool{"clusterwide": false, "namespaced": true} {
		t.Run(name, func(t *testing.T) {
			i := install(t, name, namespaced, nil)
			refusals, err := i.live(t)
			if len(refusals) > 0 {
				t.Errorf("the operator was refused: %s", refusals)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCloudProjectElsewhere has an Agent name a CloudProject in a namespace that the operator may not read.
func TestCloudProjectElsewhere(t *testing.T) {
	i := install(t, "elsewhere", true, nil)
	o := startOperator(t, i.plane, i.deployment)
	if err := o.ready(t.Context(), i.deployment); err != nil {
		t.Fatal(err)
	}
	agent := i.agent(i.at("lost"))
	agent.Spec.ProjectRef.Namespace = i.system
	if err := i.create(t.Context(), agent); err != nil {
		t.Fatal(err)
	}
	if err := i.condition(t.Context(), i.at("lost"), v1alpha1.ConditionStalled); err != nil {
		t.Fatal(err)
	}
	if err := i.c.Get(t.Context(), client.ObjectKeyFromObject(agent), agent); err != nil {
		t.Fatal(err)
	}
	const want = "add it to --watch-namespaces"
	if c := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady); c == nil || !strings.Contains(c.Message, want) {
		t.Errorf("conditions: %v, want one that says: %s", agent.Status.Conditions, want)
	}
	if err := i.c.Delete(t.Context(), agent); err != nil {
		t.Fatal(err)
	}
	if err := i.gone(t.Context(), agent); err != nil {
		t.Error(err)
	}
	if refusals, err := (&refused{user: i.account}).next(); err != nil || len(refusals) > 0 {
		t.Errorf("refused: %s, %v", refusals, err)
	}
}

// right is one verb on one resource in one role of the chart.
type right struct{ role, group, resource, verb string }

func (r right) String() string {
	return strings.TrimPrefix(r.role+" "+r.verb+" "+r.resource+"."+r.group, " ")
}

func TestEachRightIsNeeded(t *testing.T) {
	rights := rightsOf(t)
	if len(rights) < 20 {
		t.Fatalf("only %d rights: %v", len(rights), rights)
	}
	for n, right := range rights {
		t.Run(right.String(), func(t *testing.T) {
			t.Parallel()
			taken := 0
			i := install(t, fmt.Sprintf("needed-%d", n), true, func(objects []*unstructured.Unstructured) {
				for _, object := range objects {
					taken += take(t, object, right)
				}
			})
			if taken == 0 {
				t.Fatal("no role of the chart has it")
			}
			var env []string
			if right.verb == "list" {
				// If the server does not stream existing objects into a watch, the client lists them.
				env = []string{"KUBE_FEATURE_WatchListClient=false"}
			}
			refusals, err := i.live(t, env...)
			if len(refusals) == 0 {
				t.Errorf("nothing was refused without it (%v): remove it from the role, or extend the life to need it", err)
			}
		})
	}
}

// rightsOf lists the rights that the chart grants to its operator.
func rightsOf(t testing.TB) []right {
	t.Helper()
	seen := map[right]bool{}
	for _, object := range render(t, operatorChart, "ns", values{"watchNamespaces": []string{"a"}, "clusterID": "x",
		"fullnameOverride": "op", "rbac": values{"aggregate": false}, "tests": values{"enabled": false}}) {
		if !strings.HasSuffix(object.GetKind(), "Role") || strings.HasSuffix(object.GetName(), "-metrics-reader") {
			continue
		}
		for _, rule := range typed[rbacv1.Role](t, object).Rules {
			for _, r := range rights(strings.TrimPrefix(object.GetName(), "op-"), rule) {
				seen[r] = true
			}
		}
	}
	var all []right
	for r := range seen {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b right) int { return strings.Compare(a.String(), b.String()) })
	return all
}

func rights(role string, rule rbacv1.PolicyRule) (all []right) {
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				all = append(all, right{role, group, resource, verb})
			}
		}
	}
	return all
}

// take removes a right from a role, and returns how often it was there.
func take(t testing.TB, object *unstructured.Unstructured, without right) (taken int) {
	t.Helper()
	if !strings.HasSuffix(object.GetKind(), "Role") || !strings.HasSuffix(object.GetName(), "-"+without.role) {
		return 0
	}
	role := typed[rbacv1.Role](t, object)
	var left []rbacv1.PolicyRule
	for _, rule := range role.Rules {
		for _, r := range rights(without.role, rule) {
			if r == without {
				taken++
				continue
			}
			left = append(left, rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource},
				Verbs: []string{r.verb}, ResourceNames: rule.ResourceNames})
		}
	}
	role.Rules = left
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(role)
	if err != nil {
		t.Fatal(err)
	}
	object.Object["rules"] = content["rules"]
	return taken
}
