/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

func TestJudgeShardReturnsTheOwnerOfASecretWithSessions(t *testing.T) {
	set := &v1alpha1.AgentSet{ObjectMeta: metav1.ObjectMeta{Name: "logs", UID: "set-2"}}
	owner := func(kind, name, uid string) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: name, UID: types.UID(uid), Controller: new(true)}
	}
	ours := func(uid string, owners ...metav1.OwnerReference) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				OwnerReferences: owners, Labels: map[string]string{v1alpha1.LabelAgentSet: "logs", v1alpha1.LabelAgentSetUID: uid},
			},
			Type: corev1.SecretTypeOpaque, Data: Entry("node-a", map[string][]byte{SessionKey: []byte("x")}),
		}
	}
	with := func(secret *corev1.Secret, change func(*corev1.Secret)) *corev1.Secret {
		change(secret)
		return secret
	}
	for _, row := range []struct {
		name   string
		secret *corev1.Secret
		want   Verdict
	}{
		{"the set's own", ours("set-2", owner("AgentSet", "logs", "set-2")), Ours},
		{"the set's own, being deleted", with(ours("set-2", owner("AgentSet", "logs", "set-2")), func(s *corev1.Secret) {
			s.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}), Doomed},
		{"of a former set of the name, which garbage collection deletes", ours("set-1", owner("AgentSet", "logs", "set-1")), Doomed},
		{"of another set", ours("set-3", owner("AgentSet", "other", "set-3")), Foreign},
		{"of something else", ours("set-2", owner("Deployment", "logs", "set-2")), Foreign},
		{"restored from a backup", ours("set-1"), Ownerless},
		{"restored, empty", with(ours("set-1"), func(s *corev1.Secret) { s.Data = nil }), Ownerless},
		{"restored, being deleted", with(ours("set-1"), func(s *corev1.Secret) {
			s.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}), Doomed},
		{"restored, with another key", with(ours("set-1"), func(s *corev1.Secret) { s.Data["password"] = nil }), Foreign},
		{"restored, of a set with another name", with(ours("set-1"), func(s *corev1.Secret) { s.Labels[v1alpha1.LabelAgentSet] = "other" }), Foreign},
		{"restored, without the label", with(ours("set-1"), func(s *corev1.Secret) { delete(s.Labels, v1alpha1.LabelAgentSetUID) }), Foreign},
		{"restored, immutable", with(ours("set-1"), func(s *corev1.Secret) { s.Immutable = new(true) }), Foreign},
		{"restored, of another type", with(ours("set-1"), func(s *corev1.Secret) { s.Type = corev1.SecretTypeTLS }), Foreign},
		{"with an owner that is no controller", ours("set-1", metav1.OwnerReference{Kind: "AgentSet", Name: "logs", UID: "set-1"}), Foreign},
		{"of a user", &corev1.Secret{Type: corev1.SecretTypeOpaque}, Foreign},
	} {
		if got := JudgeShard(set, row.secret); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
}
