/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

type change = func(*v1alpha1.Agent)

func annotated(key, value string) change {
	return func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, key, value) }
}

// ends deletes Agents of a tenant and waits until they are gone.
func ends(tenant *harness.World, names ...string) {
	tenant.Helper()
	for _, name := range names {
		tenant.Delete(name)
	}
	for _, name := range names {
		tenant.Gone(name)
	}
}

// claims creates Agents, for each victim and tenant, that claim the victim's agent by ID and by machine ID.
func (s *scene) claims(changes ...change) (names []string) {
	s.Helper()
	for i, victim := range s.victims {
		for how, claim := range []change{adopts(victim), machine(victim.MachineID)} {
			name := s.name("claim-%d-%d", i, how)
			names = append(names, name)
			for _, tenant := range s.tenants() {
				s.Guest(tenant, name, append([]change{claim}, changes...)...)
			}
		}
	}
	return names
}

func (s *scene) handled(names ...string) {
	s.Helper()
	for _, tenant := range s.tenants() {
		for _, name := range names {
			tenant.ReadyOrStalled(name)
		}
	}
}

func (s *scene) endAll(names []string) {
	s.Helper()
	for _, tenant := range s.tenants() {
		ends(tenant, names...)
	}
}

func createClaims(s *scene) { s.handled(s.claims()...) }

func createClaimsAndDelete(s *scene) {
	names := s.claims()
	s.handled(names...)
	s.endAll(names)
}

func createNamesakes(s *scene) {
	for _, name := range []string{"derived", "chosen"} {
		s.guest.Ready(s.Guest(s.guest, name, func(a *v1alpha1.Agent) { a.Spec.Name = name }))
		ends(s.guest, name)
	}
}

func createMany(s *scene) {
	for i := range 30 {
		s.Guest(s.stranger, s.name("many-%d", i))
	}
	for i := range 15 {
		s.Guest(s.guest, s.name("many-%d", i))
	}
	for i := range 15 {
		s.guest.Ready(s.name("many-%d", i))
	}
}

func createHuge(s *scene) {
	for i := range 15 {
		for _, tenant := range s.tenants() {
			s.Guest(tenant, s.name("%s-%d", strings.Repeat("x", 200), i), func(a *v1alpha1.Agent) {
				a.Spec.RawConfig = strings.Repeat("# filler\n", 14_000)
				a.Spec.Name = strings.Repeat("a", 63)
				for range 128 {
					a.Spec.Flags = append(a.Spec.Flags, strings.Repeat("f", 1024))
				}
			})
		}
	}
}

func createUsers(s *scene) {
	s.guest.Ready(s.Guest(s.guest, s.name("user")))
	s.stranger.Stalled(s.Guest(s.stranger, s.name("user")), v1alpha1.ReasonProjectNotAllowed)
}

// registered creates Agents of the guest and waits until they are Ready.
func (s *scene) registered(n int) (names []string) {
	s.Helper()
	for i := range n {
		names = append(names, s.Guest(s.guest, s.name("own-%d", i)))
	}
	for _, name := range names {
		s.guest.Ready(name)
	}
	return names
}

func updateToAdopt(s *scene) {
	s.named = append(s.named, s.name(""))
	for i, name := range s.registered(len(s.victims)) {
		s.guest.Change(name, func(a *v1alpha1.Agent) {
			a.Spec.AgentID, a.Spec.TokenSecretRef = s.victims[i].ID, &v1alpha1.LocalSecretReference{Name: name + "-loot"}
		})
		s.guest.NotReady(name, v1alpha1.ReasonRemoteMismatch)
	}
}

func updateToAdoptAndDelete(s *scene) {
	s.named = append(s.named, s.name(""))
	names := s.registered(len(s.victims))
	for i, name := range names {
		s.guest.Change(name, func(a *v1alpha1.Agent) {
			a.Spec.AgentID, a.Spec.DeletionPolicy = s.victims[i].ID, v1alpha1.DeletionDelete
		})
	}
	ends(s.guest, names...)
}

// own creates a CloudProject of a tenant, in another project of the same API.
func (s *scene) own(tenant *harness.World, name string, changes ...func(*v1alpha1.CloudProject)) *v1alpha1.CloudProject {
	s.Helper()
	tenant.SetSecret("token-of-"+name, map[string]string{v1alpha1.TokenKey: s.Cloud.AddProject(uuid.NewString()).Reveal()})
	cp := tenant.NewCloudProject(name)
	cp.Spec.TokenSecretRef.Name = "token-of-" + name
	for _, change := range changes {
		change(cp)
	}
	tenant.Create(cp)
	return cp
}

func in(namespace, project string) change {
	return func(a *v1alpha1.Agent) {
		a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: project, Namespace: namespace}
	}
}

func updateProjectBackAndForth(s *scene) {
	s.own(s.guest, "own")
	name := s.registered(1)[0]
	for range 10 {
		s.guest.Change(name, in(s.guest.Namespace, "own"))
		s.guest.Change(name, in(s.Namespace, "calyptia"))
	}
	s.guest.Ready(name)
}

func updateSuspend(s *scene) {
	name := s.registered(1)[0]
	for i := range 40 {
		s.guest.Change(name, func(a *v1alpha1.Agent) { a.Spec.Suspend = i%2 == 0 })
	}
	s.guest.Ready(name)
}

func updateFast(s *scene) {
	name := s.registered(1)[0]
	for i := range 60 {
		s.guest.Change(name, func(a *v1alpha1.Agent) { a.Spec.RawConfig = fmt.Sprint("# ", i) })
	}
}

// Agents of a stranger in another project do not hold the victim's CloudProject.
func updateToForeignProject(s *scene) {
	s.own(s.stranger, "own")
	name := s.stranger.Apply(s.name("moves"), in(s.stranger.Namespace, "own"))
	s.stranger.Ready(name)
	s.stranger.Change(name, in(s.Namespace, "calyptia"))
	s.stranger.Stalled(name, v1alpha1.ReasonProjectNotAllowed)
	for _, name := range s.guestAgents() {
		ends(s.guest, name)
	}
}

// guestAgents are the Agents of the guest from earlier attacks of the scene.
func (s *scene) guestAgents() (names []string) {
	s.Helper()
	var list v1alpha1.AgentList
	s.list(s.guest, &list)
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp.IsZero() {
			names = append(names, list.Items[i].Name)
		}
	}
	return names
}

func deleteAndTakeTheName(s *scene) {
	name := s.registered(1)[0]
	for _, victim := range s.victims {
		ends(s.guest, name)
		s.Guest(s.guest, name, machine(victim.MachineID))
	}
	s.guest.ReadyOrStalled(name)
}

func deleteClaims(s *scene) {
	names := s.claims()
	for _, tenant := range s.tenants() {
		ends(tenant, names...)
	}
}

func deleteInDoubt(s *scene) {
	names := s.claims(forged, func(a *v1alpha1.Agent) { a.Spec.AgentID = "" }, filled)
	s.endAll(names)
}

// filled sets the fields that an Agent without agentID needs.
func filled(a *v1alpha1.Agent) {
	a.Spec.Type, a.Spec.Version, a.Spec.RawConfig = v1alpha1.AgentTypeFluentBit, "v4.0.0", "# of the thief"
}

func deleteChurn(s *scene) {
	var names []string
	for i := range 30 {
		name := s.Guest(s.guest, s.name("churn-%d", i))
		s.guest.Delete(name)
		names = append(names, name)
	}
	for _, name := range names {
		s.guest.Gone(name)
	}
}

// Agents that come and go without any request must not delay others.
func deleteChurnUnderALimit(s *scene) {
	limit, burst := int32(3), int32(2)
	s.World.ChangeProject(func(cp *v1alpha1.CloudProject) {
		cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: &limit, Burst: &burst}
	})
	for i := range 150 {
		s.guest.Delete(s.Guest(s.guest, s.name("churn-%d", i)))
	}
}

func deleteButStay(s *scene) {
	stays := s.Guest(s.guest, s.name("stays"), func(a *v1alpha1.Agent) { a.Finalizers = []string{"tenant.example.com/stays"} })
	s.guest.Ready(stays)
	for _, name := range s.guestAgents() {
		s.guest.Delete(name)
	}
}

func annotateWithAnothersIntent(s *scene) {
	intent := s.guest.Get(s.registered(1)[0]).Annotations[v1alpha1.AnnotationRegistrationIntent]
	s.handled(s.claims(annotated(v1alpha1.AnnotationRegistrationIntent, intent))...)
}

func annotateAndDelete(s *scene) {
	for _, at := range []time.Duration{-time.Hour, time.Hour} {
		s.number++
		intent := time.Now().Add(at).UTC().Format(time.RFC3339Nano) + "/forged"
		s.endAll(s.claims(annotated(v1alpha1.AnnotationRegistrationIntent, intent)))
	}
}

func annotateClaims(s *scene) {
	names := s.claims(annotated(v1alpha1.AnnotationOrphan, "true"), annotated(v1alpha1.AnnotationOrphanAgents, "true"))
	s.handled(names...)
	s.endAll(names)
}

func annotatePokes(s *scene) {
	name := s.registered(1)[0]
	stranger := s.Guest(s.stranger, s.name("pokes"))
	for range 100 {
		s.guest.Poke(name)
		s.stranger.Poke(stranger)
	}
	s.guest.Ready(name)
}

func annotateHuge(s *scene) {
	for i := range 10 {
		for _, tenant := range s.tenants() {
			s.Guest(tenant, s.name("huge-%d", i), annotated(v1alpha1.AnnotationReconcileAt, strings.Repeat("x", 200_000)))
		}
	}
}

func annotateIntents(s *scene) {
	for i := range 5 {
		s.Guest(s.stranger, s.name("intent-%d", i), forged, func(a *v1alpha1.Agent) { a.Finalizers = nil })
	}
	ends(s.guest, s.guestAgents()...)
}

func finalized(a *v1alpha1.Agent) { a.Finalizers = []string{v1alpha1.AgentFinalizer} }

func finalizeClaims(s *scene) { s.handled(s.claims(finalized)...) }

func finalizeClaimsAndDelete(s *scene) { s.endAll(s.claims(finalized)) }

func finalizersTaken(s *scene) {
	for _, name := range s.registered(3) {
		for range 5 {
			s.guest.Change(name, func(a *v1alpha1.Agent) { a.Finalizers = nil })
			s.guest.Poke(name)
		}
		ends(s.guest, name)
	}
}

func finalizersForgedByAStranger(s *scene) {
	var names []string
	for i := range 20 {
		names = append(names, s.Guest(s.stranger, s.name("forged-%d", i), forged))
	}
	ends(s.stranger, names...)
}

func finalizersOnSecrets(s *scene) {
	for _, name := range s.registered(5) {
		secret := s.guest.Secret(name + "-token")
		secret.Finalizers = []string{"tenant.example.com/stays"}
		s.try(s.guest.Client.Update(s.Context(), secret))
		s.try(s.guest.Client.Delete(s.Context(), secret))
		s.guest.Poke(name)
	}
}

func finalizersOnTheLiving(s *scene) {
	for i := range 5 {
		s.Guest(s.stranger, s.name("living-%d", i), finalized)
	}
	ends(s.guest, s.guestAgents()...)
}
