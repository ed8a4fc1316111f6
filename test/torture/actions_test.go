/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// subject is the name of an Agent that a worker creates, changes and deletes repeatedly.
type subject struct {
	number int
	place  *place
	key    types.NamespacedName
	// chosen machine IDs are only used where the cloud enforces that they are unique.
	machineID string
}

func newSubject(number int, p *place, unique bool) subject {
	namespaces := p.namespaces()
	s := subject{number: number, place: p, key: types.NamespacedName{
		Namespace: namespaces[number%len(namespaces)], Name: fmt.Sprintf("agent-%03d", number),
	}}
	if unique && number%5 < 2 {
		s.machineID = fmt.Sprintf("machine-%03d", number)
	}
	return s
}

// spec is a complete spec, depending on the variant.
func (s subject) spec(variant uint64) v1alpha1.AgentSpec {
	bit := func(n int) bool { return variant>>n&1 == 1 }
	spec := v1alpha1.AgentSpec{
		ProjectRef: &v1alpha1.CloudProjectReference{Namespace: s.place.namespace, Name: projectName},
		Type:       v1alpha1.AgentTypeFluentBit,
		Version:    fmt.Sprintf("v4.%d.%d", variant>>8%10, variant>>16%100),
		MachineID:  s.machineID,
	}
	if s.number%3 == 0 {
		spec.Type = v1alpha1.AgentTypeFluentd
	}
	if s.fromConfigMap() {
		spec.RawConfigFrom = &v1alpha1.KeySource{
			ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: s.configMap().Name, Key: configKey},
		}
	} else {
		spec.RawConfig = s.config(variant)
	}
	if bit(0) {
		spec.Name = fmt.Sprintf("host-%d.example", variant>>24%1000)
	}
	if bit(1) {
		spec.Flags = []string{"--verbose", fmt.Sprint(variant >> 32 % 100)}
	}
	if bit(2) {
		spec.Metadata = &apiextensionsv1.JSON{Raw: fmt.Appendf(nil, `{"team":"t%d"}`, variant>>40%100)}
	}
	if bit(3) {
		spec.Edition = "enterprise"
	}
	if bit(4) {
		spec.SessionSecretRef = &v1alpha1.LocalSecretReference{}
	}
	if bit(5) && bit(6) {
		spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: s.key.Name + "-moved"}
	}
	return spec
}

func (s subject) fromConfigMap() bool { return s.number%4 == 1 }

func (s subject) configMap() types.NamespacedName {
	return types.NamespacedName{Namespace: s.key.Namespace, Name: s.key.Name + "-config"}
}

func (s subject) config(variant uint64) string {
	return fmt.Sprintf("[INPUT]\n    name dummy\n    tag %x\n", variant)
}

// worker runs one action after the other on its own subjects.
type worker struct {
	*world
	rng      *rand.Rand
	subjects []subject
	actions  *atomic.Int64
	removals *atomic.Int64 // number of remote agents that may still be removed
}

// work runs until stop closes, and completes the current action.
func (w *worker) work(ctx context.Context, stop <-chan struct{}) error {
	for {
		// The draws do not depend on results, so that a seed gives the same sequence.
		s, which, variant := w.subjects[w.rng.IntN(len(w.subjects))], w.rng.IntN(100), w.rng.Uint64()
		wait := time.Duration(w.rng.Int64N(int64(250 * time.Millisecond)))
		if err := w.act(ctx, s, which, variant); err != nil {
			return err
		}
		w.actions.Add(1)
		select {
		case <-stop:
			return nil
		default:
		}
		if err := testenv.Pause(ctx, wait); err != nil {
			return err
		}
	}
}

func (w *worker) act(ctx context.Context, s subject, which int, variant uint64) error {
	if _, there := w.declared(s.key); !there {
		if s.fromConfigMap() {
			if err := w.configure(ctx, s.configMap(), s.config(variant)); err != nil {
				return err
			}
		}
		if _, err := w.declare(ctx, s.key, s.spec(variant)); err != nil || variant>>48%3 != 0 {
			return err
		}
		// Some are deleted again during their registration, or while its outcome is unknown.
		if err := testenv.Pause(ctx, time.Duration(variant>>50%1000)*time.Millisecond); err != nil {
			return err
		}
		return w.retract(ctx, s.key)
	}
	switch {
	case which < 45:
		return w.redeclare(ctx, s.key, s.spec(variant))
	case which < 68:
		return w.retract(ctx, s.key)
	case which < 78 && s.fromConfigMap():
		return w.configure(ctx, s.configMap(), s.config(variant))
	case which < 84:
		return w.deleteSecret(ctx, s)
	case which < 92:
		w.meddle(s, func(server *cloudtest.Server, id string) {
			named := w.onlyConfigNames(ctx, s, id)
			server.Mutate(id, func(a *cloud.Agent) {
				if a.Version = "v0.0.1"; !named {
					a.RawConfig = "# meddled with"
				}
			})
		})
	case which < 94:
		if w.removals.Add(-1) >= 0 {
			w.meddle(s, func(server *cloudtest.Server, id string) { server.Remove(id) })
		}
	default:
		return w.poke(ctx, s.key, fmt.Sprint(variant))
	}
	return nil
}

// deleteSecret deletes the token Secret, as a user might.
func (w *worker) deleteSecret(ctx context.Context, s subject) error {
	return persist(ctx, "delete the Secret of "+s.key.String(), func(ctx context.Context) error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: s.key.Name + "-token"}}
		return client.IgnoreNotFound(w.kube.Delete(ctx, secret))
	})
}

// onlyConfigNames reports whether only its configuration shows that a remote agent is the Agent's: one with a chosen machine ID, of another
// namespace than the CloudProject's, that is not recorded yet. Whoever changes it then has the Agent Stalled, as its page says.
func (w *worker) onlyConfigNames(ctx context.Context, s subject, id string) bool {
	if s.machineID == "" || s.key.Namespace == s.place.namespace {
		return false
	}
	var a v1alpha1.Agent
	return w.kube.Get(ctx, s.key, &a) != nil || a.Status.ID != id
}

// meddle changes the current remote agent of the Agent externally.
func (w *worker) meddle(s subject, change func(*cloudtest.Server, string)) {
	machineID := w.machineID(s.key, s.machineID)
	for _, remote := range s.place.cloud.Agents(s.place.projectID) {
		if remote.MachineID == machineID {
			change(s.place.cloud, remote.ID)
			return
		}
	}
}
