/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/calyptia-agent-operator/operator/internal/agentset"
)

// node is what the cache keeps of a Node, because a corev1.Node takes 900 bytes even when it is empty.
type node struct {
	*metav1.ObjectMeta                       // noMeta: neither read nor written
	name, version      string                // of the resource
	traits             unique.Handle[string] // traits as JSON, which many nodes share
}

var noMeta = &metav1.ObjectMeta{}

// traits are what a DaemonSet selects nodes by, except for the name.
type traits struct {
	Labels map[string]string `json:"labels,omitempty"`
	Named  []string          `json:"named,omitempty"` // the labels whose value is the name of the node
	Taints []corev1.Taint    `json:"taints,omitempty"`
}

// GetObjectKind implements runtime.Object.
func (n *node) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (n *node) DeepCopyObject() runtime.Object {
	clone := *n
	return &clone
}

// GetName implements metav1.Object.
func (n *node) GetName() string { return n.name }

// GetResourceVersion implements metav1.Object.
func (n *node) GetResourceVersion() string { return n.version }

// maxTraits bounds traits: whoever may write a node may write a megabyte of labels.
const maxTraits = 64 << 10

// tooMany are the traits of a node with more than that.
var tooMany = unique.Make("")

// trimNode is the transform of the cache of nodes. It may get an object that it returned.
func trimNode(object any) (any, error) {
	full, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	t := traits{Labels: map[string]string{}}
	for key, value := range full.Labels {
		if value == full.Name {
			t.Named = append(t.Named, key)
		} else {
			t.Labels[key] = value
		}
	}
	slices.Sort(t.Named)
	for _, taint := range full.Spec.Taints {
		t.Taints = append(t.Taints, corev1.Taint{Key: taint.Key, Value: taint.Value, Effect: taint.Effect})
	}
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	kept := tooMany
	if len(text) <= maxTraits {
		kept = unique.Make(string(text))
	}
	return &node{ObjectMeta: noMeta, name: full.Name, version: full.ResourceVersion, traits: kept}, nil
}

// NewNodes returns a separate cache for nodes: the main cache may be restricted to some namespaces.
func NewNodes(config *rest.Config, scheme *runtime.Scheme) (cluster.Cluster, error) {
	return cluster.New(config, func(o *cluster.Options) {
		o.Scheme, o.Cache.DefaultTransform = scheme, trimNode
	})
}

// movesPods selects the changes of a node that the DaemonSet controller acts on.
func movesPods(e event.UpdateEvent) bool {
	was, ok := e.ObjectOld.(*node)
	is, also := e.ObjectNew.(*node)
	return !ok || !also || was.traits != is.traits
}

// fitting returns the nodes that a DaemonSet has pods on. A list by the cache's reader could only be of complete Nodes.
func fitting(ctx context.Context, nodes cache.Informers, daemonSet agentset.DaemonSet) (keys []agentset.Key, err error) {
	informer, err := nodes.GetInformer(ctx, &corev1.Node{})
	if err != nil {
		return nil, err
	}
	shared, ok := informer.(toolscache.SharedInformer)
	if !ok {
		return nil, fmt.Errorf("the cache of nodes has no store: %T", informer)
	}
	read := kinds{}
	for _, object := range shared.GetStore().List() {
		n, ok := object.(*node)
		if !ok {
			return nil, fmt.Errorf("the cache of nodes has a %T", object)
		}
		fit, err := read.fit(n, daemonSet)
		if err != nil {
			return nil, err
		}
		if fit != agentset.No {
			keys = append(keys, agentset.Key{Name: n.name, Fit: fit})
		}
	}
	return keys, nil
}

// kinds are the traits of nodes that were read.
type kinds map[unique.Handle[string]]*traits

// fit decides for one node. If its labels are too many, nobody knows whether it has a pod: none starts, and none ends.
func (k kinds) fit(n *node, daemonSet agentset.DaemonSet) (agentset.Fit, error) {
	if n.traits == tooMany {
		return agentset.Stays, nil
	}
	full, err := k.full(n)
	if err != nil {
		return agentset.No, err
	}
	return daemonSet.Fits(full), nil
}

// full returns what a DaemonSet selects a node by. The next node of the kind gets the same labels, with its own name.
func (k kinds) full(n *node) (*corev1.Node, error) {
	t := k[n.traits]
	if t == nil {
		t = &traits{Labels: map[string]string{}}
		if err := json.Unmarshal([]byte(n.traits.Value()), t); err != nil {
			return nil, err
		}
		k[n.traits] = t
	}
	for _, key := range t.Named {
		t.Labels[key] = n.name
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: t.Labels}, Spec: corev1.NodeSpec{Taints: t.Taints}}, nil
}
