/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

const (
	// listPage is how many Agents are read from the API server at once, and pageBytes how many bytes of them: any team may have
	// large Agents, and each CloudProject that is being deleted reads them.
	listPage  = 500
	pageBytes = 2 << 20
)

// pages divides the Agents of a namespace into pages, by the sizes that the cache knows. One that is not in the cache yet may make a
// page larger.
type pages []sized

// sized is an Agent in the cache.
type sized struct {
	key   string
	bytes int
}

// pagesOf reads the sizes of all Agents of a namespace, in the order in which the API server lists them. Of a namespace that was lost
// the cache knows none.
func pagesOf(ctx context.Context, cache client.Reader, namespace string) pages {
	var list v1alpha1.AgentList
	if err := cache.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	p := make(pages, 0, len(list.Items))
	for i := range list.Items {
		if encoded, err := json.Marshal(&list.Items[i]); err == nil {
			p = append(p, sized{listKey(&list.Items[i]), len(encoded) + list.Items[i].OmittedBytes})
		}
	}
	slices.SortFunc(p, func(a, b sized) int { return strings.Compare(a.key, b.key) })
	return p
}

func listKey(agent *v1alpha1.Agent) string { return agent.Namespace + "/" + agent.Name }

// limit is the number of Agents on the page after a key.
func (p pages) limit(last string) client.Limit {
	from, found := slices.BinarySearchFunc(p, last, func(s sized, key string) int { return cmp.Compare(s.key, key) })
	if found {
		from++
	}
	n, size := 0, 0
	for ; n < listPage && from+n < len(p); n++ {
		if size += p[from+n].bytes; size > pageBytes {
			return client.Limit(max(n, 1))
		}
	}
	return listPage
}
