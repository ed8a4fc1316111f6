/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
	"github.com/calyptia-agent-operator/operator/test/harness"
	"github.com/calyptia-agent-operator/operator/test/harness/objects"
)

// thiefsWorld is what the thief has and knows.
type thiefsWorld struct {
	token      cloud.Token       // of the thief's project
	intents    []string          // that it saw on its Agents
	lastIntent map[string]string // of each Agent, by its name
	secrets    []corev1.Secret
	agents     []string          // the names of its Agents, of all lives
	excused    map[string]string // why agents with a machine ID may be left in the shared project
	faults     []func()          // remove what is between the operator and the API
	tokens     []string          // all that the thief's CloudProjects have
	disallowed bool              // the shared CloudProject does not allow it now
	uncertain  bool              // something in between may have responded to a request of the victim
}

// CloudProjects that an Agent of the thief may refer to.
const (
	sharedProject   = "calyptia" // of the shared namespace
	ownedProject    = "own"      // the same API, with a token of the thief's project
	pretendsProject = "pretends" // the same, and claims the shared project
	liarProject     = "liar"     // the thief's server
)

func newWalk(t *testing.T, seed uint64) *walk {
	t.Helper()
	v := drawVariant(seed)
	base := harness.New(t, v.settings, harness.Idle, func(w *harness.World, cp *v1alpha1.CloudProject) {
		if v.opaque {
			w.Token = cloud.NewToken("opaque-token-of-the-shared-project-" + uuid.NewString())
			w.Cloud.AddToken(w.ProjectID, w.Token.Reveal())
			cp.Spec.ProjectID = w.ProjectID
		}
		allows(cp, w.Namespace+"-victim", w.Namespace+"-thief")
	})
	w := &walk{World: base, seed: seed, variant: v, decoys: map[string]string{}, thiefs: thiefsWorld{
		lastIntent: map[string]string{}, excused: map[string]string{}}}
	t.Cleanup(w.report)
	w.victim, w.thief = base.In(base.AddNamespace("victim")), base.In(base.AddNamespace("thief"))
	w.start()
	w.makeVictims()
	if v.granted { // Documented: whoever may write a status stalls a younger Agent.
		older(w.victim, "hidden")
	}
	w.server = newMoodyServer(t, seed)
	w.makeProjects()
	w.guard = newGuard(w)
	return w
}

// allows has a CloudProject allow the Agents of some namespaces.
func allows(cp *v1alpha1.CloudProject, namespaces ...string) {
	cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: namespaces,
		}},
	}}
}

func (w *walk) start() { w.World.Start(w.victim.Namespace, w.thief.Namespace) }

// makeVictims makes the agents that the thief must not get, and ages them: what is younger than the thief's registrations may be theirs.
func (w *walk) makeVictims() {
	w.Helper()
	shared := in(w.Namespace, sharedProject)
	for _, name := range []string{"derived", "hidden-derived", "suspended", "retained"} {
		w.victim.Apply(name, shared)
	}
	w.victim.Apply("chosen", shared, machine("machine-of-the-victim"))
	w.victim.Apply("hidden", shared, machine("machine-hidden"))
	ids := map[string]string{}
	for _, name := range []string{"derived", "hidden-derived", "suspended", "retained", "chosen", "hidden"} {
		ids[w.victim.Ready(name).Status.ID] = name
	}
	w.victim.Change("suspended", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	w.victim.Change("retained", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	w.victim.Ready("retained")
	w.victim.Delete("retained")
	w.victim.Gone("retained")
	w.Register("elsewhere", "machine-elsewhere")
	w.Register("hidden-elsewhere", "machine-hidden-elsewhere")
	for _, remote := range w.Remote() {
		w.age(remote.ID)
	}
	for _, remote := range w.Remote() {
		v := &target{Agent: remote, agent: ids[remote.ID]}
		switch v.agent {
		case "hidden", "hidden-derived":
			v.hidden = true
		case "retained":
			v.agent = ""
		case "":
			v.hidden = remote.Name == "hidden-elsewhere"
		}
		// Documented: whoever may write a status can have an agent that no Agent of this cluster has.
		if v.agent != "" || !w.variant.granted {
			w.victims = append(w.victims, v)
		}
	}
}

// age has an agent be older than it is.
func (w *walk) age(id string) {
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-10 * time.Minute) })
}

// makeProjects makes the thief's CloudProjects, and decoys in its own project.
func (w *walk) makeProjects() {
	w.Helper()
	own := uuid.NewString()
	w.thiefs.token = w.Cloud.AddProject(own)
	opaque := "opaque-token-of-the-thief-" + uuid.NewString()
	w.Cloud.AddToken(own, opaque)
	w.thiefs.tokens = []string{w.thiefs.token.Reveal(), opaque}
	for name, token := range map[string]string{ownedProject: w.thiefs.token.Reveal(), pretendsProject: opaque, liarProject: opaque} {
		w.thief.Create(w.thief.TokenSecret("token-of-"+name, token))
		w.thief.Create(w.thiefsProject(name))
	}
	for _, v := range w.victims {
		w.decoy(v)
	}
}

// decoy registers an agent with the machine ID of a victim's in the thief's project.
func (w *walk) decoy(v *target) {
	w.Helper()
	made, err := objects.Register(w, w.HTTP.URL, cloud.Credential{Scheme: cloud.SchemeBearer, Token: w.thiefs.token}, cloud.Registration{
		Name: "decoy", MachineID: v.MachineID, Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "# decoy",
	})
	if err != nil {
		w.Fatal(err)
	}
	w.decoys[v.MachineID] = made.ID
}

// thiefsProject is a CloudProject of the thief as it was at first.
func (w *walk) thiefsProject(name string) *v1alpha1.CloudProject {
	cp := w.thief.NewCloudProject(name)
	cp.Spec.TokenSecretRef.Name = "token-of-" + name
	switch name {
	case pretendsProject:
		cp.Spec.ProjectID = w.ProjectID
	case liarProject:
		cp.Spec.URL = w.server.URL
		if w.seed%2 == 0 {
			cp.Spec.ProjectID = w.ProjectID
		}
	}
	return cp
}

// found reads an Agent of the thief; nil if there is none.
func (w *walk) found(name string) *v1alpha1.Agent {
	w.Helper()
	var a v1alpha1.Agent
	err := w.Client.Get(context.Background(), w.thief.Key(name), &a)
	if client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return &a
}

// all are the Agents of the thief.
func (w *walk) all() []v1alpha1.Agent {
	w.Helper()
	var list v1alpha1.AgentList
	if err := w.Client.List(context.Background(), &list, client.InNamespace(w.thief.Namespace)); err != nil {
		w.Fatal(err)
	}
	return list.Items
}

// brief waits a while for a condition that may never come.
func (w *walk) brief(most time.Duration, check func() bool) bool {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	return await.Until(ctx, "a condition", func(context.Context) error {
		if !check() {
			return fmt.Errorf("not yet")
		}
		return nil
	}) == nil
}

// tried notes what the API server says about a write of the thief, which it may refuse.
func (w *walk) tried(err error) {
	w.Helper()
	switch {
	case err == nil:
	case apierrors.IsInvalid(err), apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err),
		apierrors.IsForbidden(err):
		w.did("   refused: %v", apierrors.ReasonForError(err))
	default:
		w.Fatalf("a move failed: %v", err)
	}
}

// edit patches an Agent of the thief.
func (w *walk) edit(name string, change func(*v1alpha1.Agent)) {
	w.Helper()
	a := w.found(name)
	if a == nil {
		w.did("   there is no Agent %s", name)
		return
	}
	base := a.DeepCopy()
	change(a)
	w.tried(w.Client.Patch(context.Background(), a, client.MergeFrom(base)))
}

// remember keeps what the thief can see in its namespace, for later.
func (w *walk) remember() {
	w.Helper()
	for _, a := range w.all() {
		for _, intent := range []string{a.Annotations[v1alpha1.AnnotationRegistrationIntent], a.Status.RegistrationIntent} {
			if registration.ParseIntent(intent).At.IsZero() || intent == unreadable || w.thiefs.lastIntent[a.Name] == intent {
				continue
			}
			w.thiefs.intents = append(w.thiefs.intents, intent)
			w.thiefs.lastIntent[a.Name] = intent
		}
	}
	var secrets corev1.SecretList
	if err := w.Client.List(context.Background(), &secrets, client.InNamespace(w.thief.Namespace),
		client.HasLabels{v1alpha1.LabelAgentUID}); err != nil {
		w.Fatal(err)
	}
	w.thiefs.secrets = append(w.thiefs.secrets, secrets.Items...)
	if most := 40; len(w.thiefs.secrets) > most {
		w.thiefs.secrets = w.thiefs.secrets[len(w.thiefs.secrets)-most:]
	}
}

// derivedID is the machine ID of an Agent of the thief that declares none.
func (w *walk) derivedID(name string) string {
	return registration.DerivedMachineID(w.Settings.ClusterID, w.thief.Namespace, name)
}

// excuse notes why agents of a thief's Agent may be left, as docs/reliability.md and docs/upgrade-uninstall.md say: they were retained or
// given up by request, a registration was in doubt and its evidence was removed, or the Agent does not refer to the shared CloudProject.
func (w *walk) excuse(name, why string) {
	for _, machineID := range []string{w.derivedID(name), w.explicit(name)} {
		if w.thiefs.excused[machineID] == "" {
			w.thiefs.excused[machineID] = why
		}
	}
}

// explicit is the machine ID that an Agent of the thief declares.
func (w *walk) explicit(name string) string {
	if a := w.found(name); a != nil {
		return a.Spec.MachineID
	}
	return ""
}
