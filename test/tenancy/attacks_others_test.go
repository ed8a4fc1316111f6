/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// try ends the test if a call of the administrator fails.
func (s *scene) try(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *scene) list(tenant *harness.World, list client.ObjectList) {
	s.Helper()
	s.try(s.Client.List(context.Background(), list, client.InNamespace(tenant.Namespace)))
}

func labelLikeTheSelector(s *scene) {
	s.Guest(s.stranger, s.name("labeled"), func(a *v1alpha1.Agent) { a.Labels = map[string]string{"team": "guest"} })
	s.stranger.Stalled(s.name("labeled"), v1alpha1.ReasonProjectNotAllowed)
}

// victimsSecret is a Secret like those of the operator for an Agent of the victim.
func (s *scene) victimsSecret(name, of string) *corev1.Secret {
	owner := metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Agent", Name: of, UID: types.UID(s.uids[of])}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{owner},
		Labels: map[string]string{v1alpha1.LabelAgentUID: s.uids[of]}}}
}

func labelSecretsAsTheVictims(s *scene) {
	for _, tenant := range s.tenants() {
		for i, of := range []string{"derived", "chosen"} {
			secret := s.victimsSecret(of+"-token", of)
			secret.Namespace, secret.StringData = tenant.Namespace, map[string]string{v1alpha1.IDKey: s.victims[i].ID}
			tenant.Create(secret)
			s.Guest(tenant, of, machine(s.victims[i].MachineID))
		}
		tenant.ReadyOrStalled("derived")
		tenant.ReadyOrStalled("chosen")
		ends(tenant, "derived", "chosen")
	}
}

func labelAgentsAsTheVictims(s *scene) {
	names := s.claims(func(a *v1alpha1.Agent) {
		a.Labels = map[string]string{v1alpha1.LabelAgentUID: s.uids["derived"], v1alpha1.LabelCloudProjectUID: "x"}
	})
	s.handled(names...)
	s.endAll(names)
}

func labelFlips(s *scene) {
	name := s.registered(1)[0]
	for i := range 50 {
		s.guest.Change(name, func(a *v1alpha1.Agent) { a.Labels = map[string]string{"flip": fmt.Sprint(i)} })
	}
	s.guest.Ready(name)
}

func labelManySecrets(s *scene) {
	for i := range 60 {
		secret := s.victimsSecret(fmt.Sprintf("many-%d-token", i), "derived")
		secret.Namespace = s.stranger.Namespace
		s.stranger.Create(secret)
	}
}

func labelAndOwn(s *scene) {
	cp := s.Project()
	s.Guest(s.stranger, s.name("owned"), finalized, func(a *v1alpha1.Agent) {
		a.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "CloudProject",
			Name: cp.Name, UID: cp.UID, BlockOwnerDeletion: new(true)}}
		a.Labels = map[string]string{v1alpha1.LabelCloudProjectUID: string(cp.UID)}
	})
	ends(s.guest, s.guestAgents()...)
}

// forge patches the status of an Agent as a user with the roles that come with the operator.
func forge(patch string) func(*scene) {
	return func(s *scene) {
		s.Helper()
		name := s.Guest(s.stranger, s.name("forged"))
		user := s.user(s.stranger)
		a := s.stranger.Get(name)
		data := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, patch, s.victims[0].ID))
		for _, err := range []error{
			user.Status().Patch(s.Context(), a.DeepCopy(), data),
			user.Status().Update(s.Context(), a.DeepCopy()),
		} {
			if !apierrors.IsForbidden(err) {
				s.Errorf("writing the status gave: %v, want it forbidden", err)
				continue
			}
			s.refusals++
		}
		// The API server ignores the status in a write of the object itself.
		s.try(user.Patch(s.Context(), a, data))
		if id := s.stranger.Get(name).Status.ID; id != "" {
			s.Errorf("the status has the ID %s", id)
		}
	}
}

// user is a user with the admin role for Agents in the namespace of a tenant.
func (s *scene) user(tenant *harness.World) client.Client {
	s.Helper()
	name := "tenant-" + tenant.Namespace
	for _, object := range userRoles(s) {
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: tenant.Namespace, Name: object.Name}, Rules: object.Rules}
		s.try(client.IgnoreAlreadyExists(s.Client.Create(s.Context(), role)))
		s.try(client.IgnoreAlreadyExists(s.Client.Create(s.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: tenant.Namespace, Name: object.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: object.Name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
		})))
	}
	config, err := harness.Plane().AddUser(name)
	s.try(err)
	c, err := client.New(config, client.Options{Scheme: s.Client.Scheme()})
	s.try(err)
	s.Eventually("the role takes effect", func() error { // The authorizer gets it through a watch.
		return c.List(s.Context(), &v1alpha1.AgentList{}, client.InNamespace(tenant.Namespace))
	})
	return c
}

func secretsOfOthers(s *scene) {
	s.own(s.guest, "own")
	s.Eventually("the copy of the credentials is kept", func() error {
		if s.guest.Secret("own-credentials") == nil {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	own := s.registered(1)[0]
	for i, secret := range []string{"own-credentials", "token-of-own", own + "-token"} {
		name := s.Guest(s.guest, s.name("takes-%d", i), func(a *v1alpha1.Agent) {
			a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: secret}
		})
		s.guest.Stalled(name, v1alpha1.ReasonSecretConflict)
	}
	for i, secret := range []string{"calyptia-token", "calyptia-credentials", "derived-token"} { // Of the victim's namespace.
		name := s.Guest(s.guest, s.name("reads-%d", i), func(a *v1alpha1.Agent) {
			a.Spec.RawConfig, a.Spec.RawConfigFrom = "", &v1alpha1.KeySource{
				SecretKeyRef: &v1alpha1.SecretKeyReference{Name: secret, Key: v1alpha1.TokenKey}}
		})
		s.guest.NotReady(name, v1alpha1.ReasonSourceNotFound)
	}
}

func (s *scene) editSecret(name string, data map[string]string) {
	s.Helper()
	s.guest.Eventually("Secret "+name+" is edited", func() error { // The operator may write it at the same time.
		secret := s.guest.Secret(name)
		if secret == nil {
			return fmt.Errorf("there is none")
		}
		secret.StringData = data
		return s.guest.Client.Update(context.Background(), secret)
	})
}

func secretsWithForeignIDs(s *scene) {
	names := s.registered(len(s.victims))
	for i, name := range names {
		s.editSecret(name+"-token", map[string]string{v1alpha1.IDKey: s.victims[i].ID, v1alpha1.TokenKey: ""})
		s.guest.Poke(name)
	}
	ends(s.guest, names...)
}

func secretsWithForeignSessions(s *scene) {
	name := s.Guest(s.guest, s.name("session"), func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} })
	s.guest.Ready(name)
	s.editSecret(name+"-session", map[string]string{"session.CALYPTIA": s.victims[0].ID, "calyptia.conf": s.victims[0].MachineID})
	s.guest.Poke(name)
	ends(s.guest, name)
}

func secretsEdited(s *scene) {
	name := s.registered(1)[0]
	for i := range 30 {
		s.editSecret(name+"-token", map[string]string{v1alpha1.TokenKey: fmt.Sprint("garbage-", i)})
	}
	s.guest.Ready(name)
}

func secretsHuge(s *scene) {
	for i := range 15 {
		s.guest.SetSecret(s.name("huge-%d-token", i), map[string]string{"huge": strings.Repeat("x", 500_000)})
		s.Guest(s.guest, s.name("huge-%d", i))
	}
}

func secretsLikeTheCredentials(s *scene) {
	cp := s.Project()
	s.stranger.Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.stranger.Namespace, Name: "calyptia-credentials", Finalizers: []string{v1alpha1.CredentialsFinalizer},
		Labels: map[string]string{v1alpha1.LabelCloudProjectUID: string(cp.UID)},
	}})
	ends(s.guest, s.guestAgents()...)
}

func from(configMap string) change {
	return func(a *v1alpha1.Agent) {
		a.Spec.RawConfig, a.Spec.RawConfigFrom = "", &v1alpha1.KeySource{
			ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: configMap, Key: "fluent-bit.conf"}}
	}
}

func configMapsOfOthers(s *scene) {
	s.guest.NotReady(s.Guest(s.guest, s.name("reads"), from("private")), v1alpha1.ReasonSourceNotFound)
}

func configMapsWithForeignSessions(s *scene) {
	s.guest.ConfigMap("stolen", "fluent-bit.conf", "[CUSTOM]\n    name calyptia\n    machine_id "+s.victims[0].MachineID+"\n")
	name := s.Guest(s.guest, s.name("session"), from("stolen"))
	s.guest.Ready(name)
	ends(s.guest, name)
}

func configMapsNamedAsTheVictims(s *scene) {
	s.guest.ConfigMap("private", "fluent-bit.conf", "# of the thief")
	s.guest.Ready(s.Guest(s.guest, "derived", from("private")))
	s.Poke("derived")
}

func configMapsEdited(s *scene) {
	s.guest.ConfigMap("edited", "fluent-bit.conf", "# first")
	name := s.Guest(s.guest, s.name("edited"), from("edited"))
	s.guest.Ready(name)
	for i := range 30 {
		s.guest.ConfigMap("edited", "fluent-bit.conf", fmt.Sprint("# ", i))
	}
	s.guest.Ready(name)
}

func configMapsHuge(s *scene) {
	for i := range 15 {
		s.guest.ConfigMap(s.name("huge-%d", i), "fluent-bit.conf", strings.Repeat("# filler\n", 100_000))
		s.Guest(s.guest, s.name("huge-%d", i), from(s.name("huge-%d", i)))
	}
}

func configMapsMissing(s *scene) {
	ends(s.guest, s.guestAgents()...)
	for _, tenant := range s.tenants() {
		s.Guest(tenant, s.name("waits"), from("missing"))
	}
	s.guest.NotReady(s.name("waits"), v1alpha1.ReasonSourceNotFound)
}

func projectsNamedAsTheVictims(s *scene) {
	var shown []string
	liar := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		shown = append(shown, fmt.Sprint(r.Header)) // Read once the CloudProject is deleted and the server closed.
		rw.WriteHeader(http.StatusUnauthorized)
	}))
	for _, tenant := range s.tenants() {
		s.own(tenant, "calyptia", func(cp *v1alpha1.CloudProject) { cp.Spec.URL = liar.URL })
		for _, secret := range []string{"calyptia-credentials", "private"} {
			s.own(tenant, "of-"+secret, func(cp *v1alpha1.CloudProject) { cp.Spec.URL, cp.Spec.TokenSecretRef.Name = liar.URL, secret })
		}
		s.Eventually("the CloudProject is refused", func() error {
			var list v1alpha1.CloudProjectList
			s.list(tenant, &list)
			for i := range list.Items {
				if len(list.Items[i].Status.Conditions) == 0 || list.Items[i].Status.ObservedGeneration < 1 {
					return fmt.Errorf("CloudProject %s has no conditions", list.Items[i].Name)
				}
			}
			return nil
		})
	}
	for _, tenant := range s.tenants() {
		s.try(s.Client.DeleteAllOf(s.Context(), &v1alpha1.CloudProject{}, client.InNamespace(tenant.Namespace)))
	}
	liar.Close()
	if strings.Contains(fmt.Sprint(shown), s.Token.Reveal()) {
		s.Error("the victim's project token was sent to a server of the tenant")
	}
}

func projectsThatLie(s *scene) {
	s.named = append(s.named, s.name("")) // The tenant learns the ID from its own server.
	victim := s.victims[2]
	liar := lying(s, victim)
	s.own(s.guest, "liar", func(cp *v1alpha1.CloudProject) { cp.Spec.URL = liar.URL })
	name := s.guest.Apply(s.name("thief"), in(s.guest.Namespace, "liar"), adopts(victim))
	s.guest.Ready(name)
	s.guest.Change(name, in(s.Namespace, "calyptia"))
	s.guest.Delete(name)
	s.guest.NotReady(name, v1alpha1.ReasonAdoptionNotAllowed)
	s.guest.Change(name, annotated(v1alpha1.AnnotationOrphan, "true"))
	s.guest.Gone(name)
}

func projectsWithTheVictimsID(s *scene) {
	s.Cloud.AddToken("0b7e0000-0000-4000-8000-000000000001", "an-opaque-token-of-the-tenant-0123456789")
	s.own(s.stranger, "pretends", func(cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = s.ProjectID })
	s.stranger.SetSecret("token-of-pretends", map[string]string{v1alpha1.TokenKey: "an-opaque-token-of-the-tenant-0123456789"})
	name := s.stranger.Apply(s.name("pretends"), in(s.stranger.Namespace, "pretends"), machine(s.victims[2].MachineID))
	s.stranger.Ready(name)
	ends(s.stranger, name)
}

func projectsWithoutALimit(s *scene) {
	s.own(s.stranger, "unlimited", func(cp *v1alpha1.CloudProject) { cp.Spec.ResyncInterval = &metav1.Duration{Duration: time.Minute} })
	for i := range 20 {
		s.stranger.Apply(s.name("unlimited-%d", i), in(s.stranger.Namespace, "unlimited"))
	}
	for i := range 20 {
		s.stranger.Ready(s.name("unlimited-%d", i))
	}
}

func projectsThatHang(s *scene) {
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}))
	s.Cleanup(hangs.Close)
	for i := range 3 {
		s.own(s.stranger, fmt.Sprintf("hangs-%d", i), func(cp *v1alpha1.CloudProject) { cp.Spec.URL = hangs.URL })
	}
}

func projectsThatStay(s *scene) {
	s.own(s.stranger, "stays")
	s.stranger.Ready(s.stranger.Apply(s.name("stays"), in(s.stranger.Namespace, "stays")))
	ends(s.guest, s.guestAgents()...)
}
