/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kept has equal Secrets, and counts what is read and deleted.
type kept struct {
	client.Reader
	client.Writer
	secret         *corev1.Secret
	n              int
	reads, deletes int
}

func (k *kept) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	for i := range k.n {
		meta := *k.secret.ObjectMeta.DeepCopy()
		meta.Name = fmt.Sprint("secret-", i)
		items := &list.(*metav1.PartialObjectMetadataList).Items
		*items = append(*items, metav1.PartialObjectMetadata{ObjectMeta: meta})
	}
	return nil
}

func (k *kept) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	k.reads++
	k.secret.DeepCopyInto(object.(*corev1.Secret))
	object.SetName(key.Name)
	return nil
}

func (k *kept) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	k.deletes++
	return nil
}

func TestTidyReadsFewSecrets(t *testing.T) {
	deleting := labelled("web-1", owner("web", "web-1"))
	deleting.DeletionTimestamp = ptr.To(metav1.Now())
	for _, row := range []struct {
		name           string
		secret         *corev1.Secret
		n              int
		reads, deletes int
	}{
		{"left behind", labelled("web-1", owner("web", "web-1")), 3, 3, 3},
		{"with the owner, too many", labelled("web-1", owner("web", "web-1")), 1000, mostTidied, mostTidied},
		{"without an owner, too many", labelled("web-1"), 1000, mostTidied, 0},
		{"with the owner, being deleted", deleting, 1000, 0, 0},
		{"of another owner", labelled("web-1", owner("other", "other-1")), 1000, 0, 0},
		{"of another Agent", labelled("other-1", owner("web", "web-1")), 1000, 0, 0},
	} {
		k := &kept{secret: row.secret, n: row.n}
		if err := (Keeper{Reader: k, Agents: k, Writer: k}).Tidy(t.Context(), web(), client.MatchingFields{}); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if k.reads != row.reads || k.deletes != row.deletes {
			t.Errorf("%s: %d reads and %d deletions, want %d and %d", row.name, k.reads, k.deletes, row.reads, row.deletes)
		}
	}
}
