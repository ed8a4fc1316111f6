/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// life is the whole life of some Agents, for which the operator needs all of its RBAC rules.
type life struct {
	c           client.Client
	cloud       *cloudtest.Server
	url         string
	projectID   string
	token       cloud.Token
	home, other string // namespaces; the CloudProject of home allows other by label
	system      string // the operator's namespace
	metrics     string // URL
	reader      string // token of a user who may read the metrics
	stranger    string // token of a user who may not
}

// allowedLabel is the label by which the CloudProject allows a namespace.
const allowedLabel = "charts-test/allowed"

func newLife(t testing.TB, c client.Client) *life {
	t.Helper()
	server := cloudtest.New(cloudtest.Settings{})
	http := server.Start()
	t.Cleanup(http.Close)
	l := &life{c: c, cloud: server, url: http.URL, projectID: uuid.NewString()}
	l.token = server.AddProject(l.projectID)
	return l
}

// run runs the life until the first failure.
func (l *life) run(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"lead", l.lead}, {"register", l.register}, {"update", l.update}, {"source", l.source}, {"repair", l.repair},
		{"rename", l.rename}, {"foreign Secret", l.foreign}, {"rotate", l.rotate}, {"metrics", l.readMetrics},
		{"drift", l.drift}, {"lost finalizer", l.lostFinalizer}, {"agent set", l.agentSet}, {"delete", l.delete},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, errors.Join(err, context.Cause(ctx)))
		}
	}
	return nil
}

func (l *life) lead(ctx context.Context) error {
	return await.Until(ctx, "nobody leads", func(ctx context.Context) error {
		var lease coordinationv1.Lease
		err := l.c.Get(ctx, client.ObjectKey{Namespace: l.system, Name: "calyptia-agent-operator.cloud.calyptia.com"}, &lease)
		if err == nil && (lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "") {
			return errors.New("the lease has no holder")
		}
		return err
	})
}

func (l *life) project(name string) []client.Object {
	none := int32(0)
	return []client.Object{
		&corev1.Secret{ObjectMeta: l.at(name + "-token-source"), StringData: map[string]string{"token": l.token.Reveal()}},
		&v1alpha1.CloudProject{ObjectMeta: l.at(name), Spec: v1alpha1.CloudProjectSpec{
			URL:            l.url,
			TokenSecretRef: v1alpha1.TokenSecretReference{Name: name + "-token-source"},
			RateLimit:      &v1alpha1.RateLimit{RequestsPerSecond: &none},
			AllowedNamespaces: &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector,
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{allowedLabel: "true"}}},
		}},
	}
}

func (l *life) at(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: l.home, Name: name}
}

func (l *life) agent(at metav1.ObjectMeta, changes ...func(*v1alpha1.AgentSpec)) *v1alpha1.Agent {
	a := &v1alpha1.Agent{ObjectMeta: at, Spec: v1alpha1.AgentSpec{
		ProjectRef: &v1alpha1.CloudProjectReference{Name: "calyptia", Namespace: l.home},
		Type:       v1alpha1.AgentTypeFluentBit, Version: "v4.0.0", RawConfig: "[INPUT]\n    name dummy\n",
	}}
	for _, change := range changes {
		change(&a.Spec)
	}
	return a
}

func (l *life) create(ctx context.Context, objects ...client.Object) error {
	for _, object := range objects {
		if err := l.c.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// change patches an object.
func change[T client.Object](ctx context.Context, c client.Client, object T, f func(T)) error {
	if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		return err
	}
	base := object.DeepCopyObject().(client.Object)
	f(object)
	return c.Patch(ctx, object, client.MergeFrom(base))
}

// condition waits for a condition of the latest generation of an Agent.
func (l *life) condition(ctx context.Context, at metav1.ObjectMeta, name string) error {
	return await.Until(ctx, fmt.Sprintf("Agent %s is not %s", at.Name, name), func(ctx context.Context) error {
		var a v1alpha1.Agent
		if err := l.c.Get(ctx, client.ObjectKey{Namespace: at.Namespace, Name: at.Name}, &a); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(a.Status.Conditions, name); c == nil || c.Status != metav1.ConditionTrue ||
			c.ObservedGeneration != a.Generation {
			return fmt.Errorf("conditions: %v", a.Status.Conditions)
		}
		return nil
	})
}

// remote waits until the remote agent with the name is as expected.
func (l *life) remote(ctx context.Context, name string, right func(cloud.Agent) bool) error {
	return await.Until(ctx, "the remote agent "+name+" is not as expected", func(context.Context) error {
		for _, a := range l.cloud.Agents(l.projectID) {
			if a.Name == name && right(a) {
				return nil
			}
		}
		return fmt.Errorf("there are %d", len(l.cloud.Agents(l.projectID)))
	})
}

// secret waits until a Secret is as expected.
func (l *life) secret(ctx context.Context, name string, right func(map[string][]byte) bool) error {
	return await.Until(ctx, "the Secret "+name+" is not as expected", func(ctx context.Context) error {
		var s corev1.Secret
		if err := l.c.Get(ctx, client.ObjectKey{Namespace: l.home, Name: name}, &s); err != nil {
			return err
		}
		if !right(s.Data) {
			return errors.New("it has other contents")
		}
		return nil
	})
}

func (l *life) gone(ctx context.Context, object client.Object) error {
	return await.Until(ctx, object.GetName()+" is still there", func(ctx context.Context) error {
		err := l.c.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("finalizers %v", object.GetFinalizers()))
	})
}

func (l *life) register(ctx context.Context) error {
	source := &corev1.ConfigMap{ObjectMeta: l.at("source"), Data: map[string]string{"conf": "[INPUT]\n    name cpu\n"}}
	session := func(s *v1alpha1.AgentSpec) { s.SessionSecretRef = &v1alpha1.LocalSecretReference{} }
	sourced := func(s *v1alpha1.AgentSpec) {
		s.RawConfig = ""
		s.RawConfigFrom = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "source", Key: "conf"}}
	}
	far := metav1.ObjectMeta{Namespace: l.other, Name: "far"}
	objects := append(l.project("calyptia"), source, l.agent(l.at("web"), session), l.agent(l.at("sourced"), sourced), l.agent(far))
	if err := l.create(ctx, objects...); err != nil {
		return err
	}
	return errors.Join(l.condition(ctx, l.at("web"), v1alpha1.ConditionReady), l.condition(ctx, l.at("sourced"), v1alpha1.ConditionReady),
		l.condition(ctx, far, v1alpha1.ConditionReady),
		l.secret(ctx, "web-session", func(data map[string][]byte) bool { return len(data) > 0 }))
}

func (l *life) update(ctx context.Context) error {
	for _, version := range []string{"v4.0.1", "v4.0.2"} {
		err := change(ctx, l.c, &v1alpha1.Agent{ObjectMeta: l.at("web")}, func(a *v1alpha1.Agent) { a.Spec.Version = version })
		if err == nil {
			err = l.remote(ctx, "web", func(a cloud.Agent) bool { return a.Version == version })
		}
		if err == nil {
			err = l.condition(ctx, l.at("web"), v1alpha1.ConditionReady)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *life) source(ctx context.Context) error {
	const conf = "[INPUT]\n    name mem\n"
	err := change(ctx, l.c, &corev1.ConfigMap{ObjectMeta: l.at("source")}, func(m *corev1.ConfigMap) { m.Data["conf"] = conf })
	if err != nil {
		return err
	}
	return l.remote(ctx, "sourced", func(a cloud.Agent) bool { return a.RawConfig == conf })
}

func (l *life) repair(ctx context.Context) error {
	err := change(ctx, l.c, &corev1.Secret{ObjectMeta: l.at("web-token")}, func(s *corev1.Secret) { s.Data["token"] = []byte("edited") })
	if err != nil {
		return err
	}
	return l.secret(ctx, "web-token", func(data map[string][]byte) bool {
		return len(data["token"]) > 0 && string(data["token"]) != "edited"
	})
}

func (l *life) rename(ctx context.Context) error {
	err := change(ctx, l.c, &v1alpha1.Agent{ObjectMeta: l.at("web")}, func(a *v1alpha1.Agent) {
		a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "web-renamed"}
	})
	if err != nil {
		return err
	}
	return errors.Join(l.secret(ctx, "web-renamed", func(data map[string][]byte) bool { return len(data["token"]) > 0 }),
		l.gone(ctx, &corev1.Secret{ObjectMeta: l.at("web-token")}))
}

// foreign has an Agent name a Secret of another one; the operator reads its owner.
func (l *life) foreign(ctx context.Context) error {
	thief := l.agent(l.at("thief"), func(s *v1alpha1.AgentSpec) {
		s.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "web-renamed"}
	})
	if err := l.create(ctx, thief); err != nil {
		return err
	}
	return l.condition(ctx, l.at("thief"), v1alpha1.ConditionStalled)
}

func (l *life) rotate(ctx context.Context) error {
	second := l.cloud.AddProject(l.projectID).Reveal()
	err := change(ctx, l.c, &corev1.Secret{ObjectMeta: l.at("calyptia-token-source")}, func(s *corev1.Secret) {
		s.Data["token"] = []byte(second)
	})
	if err != nil {
		return err
	}
	return l.secret(ctx, "calyptia-credentials", func(data map[string][]byte) bool {
		for _, value := range data {
			if string(value) == second {
				return true
			}
		}
		return false
	})
}

// lostFinalizer removes the finalizer of a CloudProject: only the copy of its credentials is left, and the operator has to
// check that the CloudProject is really deleted.
func (l *life) lostFinalizer(ctx context.Context) error {
	if err := l.create(ctx, l.project("spare")...); err != nil {
		return err
	}
	if err := l.secret(ctx, "spare-credentials", func(data map[string][]byte) bool { return len(data) > 0 }); err != nil {
		return err
	}
	spare := &v1alpha1.CloudProject{ObjectMeta: l.at("spare")}
	err := change(ctx, l.c, spare, func(cp *v1alpha1.CloudProject) { controllerutil.RemoveFinalizer(cp, v1alpha1.CloudProjectFinalizer) })
	if err == nil {
		err = l.c.Delete(ctx, spare)
	}
	if err != nil {
		return err
	}
	return errors.Join(l.gone(ctx, spare), l.gone(ctx, &corev1.Secret{ObjectMeta: l.at("spare-credentials")}))
}

// agentSet adds and removes a node, and changes the number of Secrets with sessions.
func (l *life) agentSet(ctx context.Context) error {
	labels := map[string]string{"charts-test/life": l.home}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: l.home + "-node", Labels: labels}}
	pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
		NodeSelector: labels, Containers: []corev1.Container{{Name: "fluent-bit", Image: "fluent-bit"}},
		Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
	}}
	set := &v1alpha1.AgentSet{ObjectMeta: l.at("logs"), Spec: v1alpha1.AgentSetSpec{
		TargetRef: v1alpha1.WorkloadReference{Kind: v1alpha1.TargetDaemonSet, Name: "fluent-bit"},
		Template:  v1alpha1.AgentTemplate{Spec: l.agent(l.at("")).Spec}, RemovalDelay: &metav1.Duration{},
	}}
	err := l.create(ctx, node, &appsv1.DaemonSet{ObjectMeta: l.at("fluent-bit"), Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: pod,
	}}, set)
	if err != nil {
		return err
	}
	holds := func(shard string) error {
		return l.secret(ctx, shard, func(data map[string][]byte) bool { return len(data[node.Name+".session.CALYPTIA"]) > 0 })
	}
	if err := holds("logs-sessions-0"); err != nil {
		return err
	}
	err = change(ctx, l.c, set, func(s *v1alpha1.AgentSet) { s.Spec.Sessions.SecretName = "moved" })
	if err == nil {
		err = errors.Join(holds("moved-0"), l.gone(ctx, &corev1.Secret{ObjectMeta: l.at("logs-sessions-0")}))
	}
	if err == nil {
		err = l.c.Delete(ctx, node)
	}
	if err != nil {
		return err
	}
	return errors.Join(l.gone(ctx, &v1alpha1.Agent{ObjectMeta: l.at("logs-" + node.Name)}),
		l.secret(ctx, "moved-0", func(data map[string][]byte) bool { return len(data) == 0 }))
}

func (l *life) delete(ctx context.Context) error {
	objects := []client.Object{
		&v1alpha1.AgentSet{ObjectMeta: l.at("logs")}, &v1alpha1.CloudProject{ObjectMeta: l.at("calyptia")},
		&v1alpha1.Agent{ObjectMeta: l.at("web")}, &v1alpha1.Agent{ObjectMeta: l.at("sourced")}, &v1alpha1.Agent{ObjectMeta: l.at("thief")},
		&v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: l.other, Name: "far"}},
	}
	for _, object := range objects {
		if err := l.c.Delete(ctx, object); err != nil {
			return err
		}
	}
	for _, object := range append(objects, &corev1.Secret{ObjectMeta: l.at("calyptia-credentials")}) {
		if err := l.gone(ctx, object); err != nil {
			return err
		}
	}
	if left := l.cloud.Agents(l.projectID); len(left) > 0 {
		return fmt.Errorf("%d remote agents are left", len(left))
	}
	return nil
}
