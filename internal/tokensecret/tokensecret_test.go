/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

var secrets = schema.GroupResource{Resource: "secrets"}

// living lists the living Agents by name, or fails.
type living struct {
	client.Reader
	agents map[string]types.UID
	err    error
}

func (l living) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	uid, found := l.agents[key.Name]
	switch {
	case l.err != nil:
		return l.err
	case !found || key.Namespace != "tenant":
		return apierrors.NewNotFound(schema.GroupResource{Resource: "agents"}, key.Name)
	}
	object.SetUID(uid)
	return nil
}

func (l living) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	for name, uid := range l.agents {
		list.(*v1alpha1.AgentList).Items = append(list.(*v1alpha1.AgentList).Items,
			v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: name, UID: uid}})
	}
	return l.err
}

func web() *v1alpha1.Agent {
	return &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "web", UID: "web-1"}}
}

func owner(name string, uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: "cloud.calyptia.com/v1alpha1", Kind: "Agent", Name: name, UID: uid,
		Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(false),
	}
}

func labelled(uid string, owners ...metav1.OwnerReference) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "tenant", Name: "web-token", OwnerReferences: owners,
		Labels: map[string]string{v1alpha1.LabelAgentUID: uid},
	}}
}

func TestJudgeReturnsTheOwnerOfASecret(t *testing.T) {
	unlabelled := labelled("", owner("web", "web-1"))
	unlabelled.Labels = nil
	going := labelled("web-1", owner("web", "web-1"))
	going.DeletionTimestamp = ptr.To(metav1.Now())
	otherKind, otherGroup := owner("web", "web-0"), owner("web", "web-0")
	otherKind.Kind, otherGroup.APIVersion = "CloudProject", "apps/v1"
	alive := map[string]types.UID{"web": "web-1", "other": "other-1"}
	recorded := web()
	recorded.Status.ID = "remote-1"
	recorded.Status.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "web-keys"}
	recorded.Status.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: "web-run"}
	named := func(name string) *corev1.Secret {
		s := labelled("web-1")
		s.Name = name
		return s
	}
	holding := func(uid, id string) *corev1.Secret {
		s := labelled(uid)
		s.Data = map[string][]byte{v1alpha1.IDKey: []byte(id)}
		return s
	}
	copied := holding("web-1", "remote-1")
	copied.Data["password"] = []byte("of a user")
	for _, row := range []struct {
		name   string
		secret *corev1.Secret
		want   Verdict
	}{
		{"our label and our UID as owner", labelled("web-1", owner("web", "web-1")), Ours},
		{"a further owner makes it no less ours", labelled("web-1", owner("other", "other-1"), owner("web", "web-1")), Ours},
		{"our label, owner stripped", labelled("web-1"), Ownerless},
		{"our label on a Secret of which the status knows nothing", named("other-secret"), Ownerless},
		{"our label, named by the status as the token's", named("web-keys"), Ours},
		{"our label, named by the status as the session's", named("web-run"), Ours},
		{"our label, with our remote agent's id", holding("web-1", "remote-1"), Ours},
		{"our label, with our remote agent's id and a key of a user", copied, Ownerless},
		{"our label, with another id", holding("web-1", "remote-2"), Ownerless},
		{"kept for a former Agent of the name, disowned", labelled("web-0"), Ownerless},
		{"kept for a former Agent, with our remote agent's id", holding("web-0", "remote-1"), Ownerless},
		{"retained by another living Agent", labelled("other-1"), Foreign},
		{"retained by another living Agent, with our remote agent's id", holding("other-1", "remote-1"), Foreign},
		{"kept for a former Agent of the name, restored with its owner", labelled("web-0", owner("web", "web-0")), Doomed},
		{"owned by an Agent that was deleted", labelled("gone-1", owner("gone", "gone-1")), Doomed},
		{"owned by an Agent of which only the name lives", labelled("other-0", owner("other", "other-0")), Doomed},
		{"another living Agent's", labelled("other-1", owner("other", "other-1")), Foreign},
		{"another living Agent's among the dead", labelled("other-1", owner("gone", "gone-1"), owner("other", "other-1")), Foreign},
		{"owned by more deleted Agents than are looked at", labelled("gone-1", slices.Repeat(
			[]metav1.OwnerReference{owner("gone", "gone-1")}, MostOwners+1)...), Foreign},
		{"our label on another living Agent's", labelled("web-1", owner("other", "other-1")), Foreign},
		{"another Agent's label on ours", labelled("other-1", owner("web", "web-1")), Foreign},
		{"an empty label on ours", labelled("", owner("web", "web-1")), Foreign},
		{"no label, though we own it", unlabelled, Foreign},
		{"no label and no owner: a user's", &corev1.Secret{}, Foreign},
		{"owned by another kind", labelled("web-0", otherKind), Foreign},
		{"owned by another group", labelled("web-0", otherGroup), Foreign},
		{"being deleted", going, Foreign},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Keeper{Reader: living{agents: alive}, Agents: living{agents: alive}}.judge(t.Context(), recorded, row.secret)
			if err != nil || got != row.want {
				t.Errorf("verdict %d, want %d; error %v", got, row.want, err)
			}
		})
	}
}

func TestJudgeDoesNotGuessIfAReadFails(t *testing.T) {
	cause := apierrors.NewTimeoutError("slow", 1)
	verdict, err := Keeper{Reader: living{err: cause}}.judge(t.Context(), web(), labelled("other-1", owner("other", "other-1")))
	f, ok := fault.As(err)
	if !ok || f.Class != fault.Retryable || f.Reason != v1alpha1.ReasonAPIServer || !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
	if verdict != Foreign {
		t.Errorf("verdict %d: what is not known must not be written", verdict)
	}
}

func TestFindDistinguishesAbsentFromUnreadable(t *testing.T) {
	_, verdict, err := Keeper{Reader: living{}}.Find(t.Context(), web(), "web-token")
	if verdict != Absent || err != nil {
		t.Errorf("verdict %d, error %v", verdict, err)
	}
	_, _, err = Keeper{Reader: living{err: apierrors.NewForbidden(secrets, "web-token", errors.New("no"))}}.Find(t.Context(), web(), "web-token")
	if f, ok := fault.As(err); !ok || f.Class != fault.Retryable || !strings.Contains(f.Message, `"web-token"`) {
		t.Errorf("error %v", err)
	}
}

func TestShapeSetsWhatIsDesiredAndNothingElse(t *testing.T) {
	desired := Desired{
		Name:         "web-token",
		Data:         map[string][]byte{"id": []byte("1"), "token": []byte("t")},
		Registration: "intent",
	}
	done := func(changes ...func(*corev1.Secret)) *corev1.Secret {
		s := labelled("web-1", owner("web", "web-1"))
		s.Labels["app.kubernetes.io/managed-by"] = "calyptia-agent-operator"
		s.Annotations = map[string]string{v1alpha1.AnnotationRegistrationIntent: "intent"}
		s.Data = map[string][]byte{"id": []byte("1"), "token": []byte("t")}
		for _, change := range changes {
			change(s)
		}
		return s
	}
	extra := func(s *corev1.Secret) {
		s.Labels["team"], s.Annotations["note"], s.Data["ca.crt"] = "payments", "n", []byte("pem")
	}
	for _, row := range []struct {
		name    string
		before  *corev1.Secret
		desired Desired
		after   *corev1.Secret
		changed bool
	}{
		{"an empty Secret gets everything", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "web-token"}}, desired, done(), true},
		{"a right one stays as it is", done(), desired, done(), false},
		{"what others added stays", done(extra), desired, done(extra), false},
		{"an edited token is corrected", done(extra, func(s *corev1.Secret) { s.Data["token"] = []byte("x") }), desired, done(extra), true},
		{"a deleted key is restored", done(func(s *corev1.Secret) { delete(s.Data, "id") }), desired, done(), true},
		{"an emptied Secret is filled", done(func(s *corev1.Secret) { s.Data = nil }), desired, done(), true},
		{"a removed owner is restored", done(func(s *corev1.Secret) { s.OwnerReferences = nil }), desired, done(), true},
		{"a dead owner is replaced", done(func(s *corev1.Secret) { s.OwnerReferences[0].UID = "web-0" }), desired, done(), true},
		{"the label of an earlier Agent is replaced", done(func(s *corev1.Secret) { s.Labels[v1alpha1.LabelAgentUID] = "web-0" }), desired, done(), true},
		{"no new registration leaves the record", done(), Desired{Data: desired.Data}, done(), false},
		{"a new registration is recorded", done(func(s *corev1.Secret) { s.Annotations = nil }), desired, done(), true},
		{"a key desired empty is made", done(func(s *corev1.Secret) { delete(s.Data, "token") }), Desired{Data: map[string][]byte{"token": {}}},
			done(func(s *corev1.Secret) { s.Data["token"] = []byte{} }), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if changed := shape(row.before, web(), row.desired); changed != row.changed {
				t.Errorf("changed: %v", changed)
			}
			if diff := cmp.Diff(row.after, row.before); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if shape(row.before, web(), row.desired) {
				t.Error("it is not idempotent")
			}
		})
	}
}

func TestARetainedSecretHasNoOwner(t *testing.T) {
	for _, row := range []struct {
		name              string
		before            []metav1.OwnerReference
		retained          bool
		changed, hasOwner bool
	}{
		{"made for an Agent that retains", nil, true, false, false},
		{"the Agent begins to retain", []metav1.OwnerReference{owner("web", "web-1")}, true, true, false},
		{"the Agent retains no longer", nil, false, true, true},
		{"a dead owner of a restored one", []metav1.OwnerReference{owner("web", "web-0")}, true, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := labelled("web-1", row.before...)
			s.Labels["app.kubernetes.io/managed-by"] = "calyptia-agent-operator"
			changed := shape(s, web(), Desired{Retained: row.retained})
			if changed != row.changed || (len(s.OwnerReferences) == 1) != row.hasOwner {
				t.Errorf("changed %v, owners %v", changed, s.OwnerReferences)
			}
		})
	}
}

func TestPlainSecretsHoldOnlyWhatTheOperatorWrites(t *testing.T) {
	for _, row := range []struct {
		keys []string
		want bool
	}{
		{nil, true}, {[]string{"id", "token"}, true}, {[]string{SessionKey, ClassicKey, YAMLKey}, true},
		{[]string{"id", "token", "ca.crt"}, false}, {[]string{"password"}, false}, {[]string{"ID"}, false},
	} {
		s := labelled("web-1")
		s.Data = map[string][]byte{}
		for _, key := range row.keys {
			s.Data[key] = []byte("x")
		}
		if got := Plain(s); got != row.want {
			t.Errorf("%v: %v, want %v", row.keys, got, row.want)
		}
	}
}

func TestNilDataRemovesAValue(t *testing.T) {
	s := labelled("web-1", owner("web", "web-1"))
	s.Data = map[string][]byte{"id": []byte("1"), "token": []byte("another agent's")}
	without := Desired{Data: map[string][]byte{"token": nil}}
	if !shape(s, web(), without) || !Token(s).IsZero() || ID(s) != "1" {
		t.Errorf("it holds %v", s.Data)
	}
	if shape(s, web(), without) {
		t.Error("it is not idempotent")
	}
}

func TestWriteFailuresSayWhoCanEndThem(t *testing.T) {
	why := errors.New("exceeded quota: secrets=10")
	for _, row := range []struct {
		name  string
		err   error
		class fault.Class
		words []string
		quiet bool
	}{
		{"quota or policy", apierrors.NewForbidden(secrets, "web-token", why), fault.Terminal, []string{"exceeded quota", "spec.tokenSecretRef"}, false},
		{"a webhook that calls it invalid", apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "web-token", nil), fault.Terminal, []string{"change the policy"}, false},
		{"a bad request", apierrors.NewBadRequest("denied by policy"), fault.Terminal, []string{"denied by policy"}, false},
		{"too large", apierrors.NewRequestEntityTooLargeError("limit"), fault.Terminal, []string{"limit"}, false},
		{"somebody wrote it meanwhile", apierrors.NewConflict(secrets, "web-token", why), fault.Retryable, nil, true},
		{"somebody made it meanwhile", apierrors.NewAlreadyExists(secrets, "web-token"), fault.Retryable, nil, true},
		{"somebody deleted it meanwhile", apierrors.NewNotFound(secrets, "web-token"), fault.Retryable, nil, true},
		{"a slow API server", apierrors.NewTimeoutError("slow", 1), fault.Retryable, nil, false},
		{"no API server", errors.New("dial tcp 10.0.0.1:443: refused"), fault.Retryable, nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, ok := fault.As(writeFailure(row.err, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "web-token"}}))
			if !ok {
				t.Fatal("it has no class")
			}
			want := map[fault.Class]string{fault.Terminal: v1alpha1.ReasonSecretWriteRefused, fault.Retryable: v1alpha1.ReasonAPIServer}[row.class]
			if f.Class != row.class || f.Reason != want || f.Quiet != row.quiet || !errors.Is(f, row.err) {
				t.Errorf("%+v", f)
			}
			for _, word := range append(row.words, `"web-token"`) {
				if !strings.Contains(f.Message, word) {
					t.Errorf("the message %q lacks %q", f.Message, word)
				}
			}
		})
	}
}

// What rejects a Secret may repeat what is written and what was stored, whoever added it; IDs and addresses are no secrets.
func TestWriteFailures_WordsRepeatTheSecret_AreRedacted(t *testing.T) {
	id, session := "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11", Session{ID: "1", Token: cloud.NewToken("of-the-session-1"), URL: &url.URL{}}
	written := &corev1.Secret{Data: map[string][]byte{
		"id": []byte(id), "token": []byte("of-the-agent-1"), "of-a-user": []byte("p4ssw0rd"), SessionKey: session.chunk(), "flag": []byte("y"),
	}}
	stored := &corev1.Secret{Data: map[string][]byte{"token": []byte("of-the-agent-0")}}
	why := "any token of the Secret of " + id + ": of-the-agent-1, of-the-agent-0, p4ssw0rd, of-the-session-1"
	for _, err := range []error{apierrors.NewBadRequest(why), apierrors.NewInternalError(errors.New(why))} {
		shown := writeFailure(err, written, stored).Error()
		want := "any token of the Secret of " + id + ": [redacted], [redacted], [redacted], [redacted]"
		if !strings.Contains(shown, want) {
			t.Errorf("the message is %q", shown)
		}
	}
}

func TestTheContentOfASecret(t *testing.T) {
	s := labelled("web-1")
	s.Data = map[string][]byte{"id": []byte("1"), "token": []byte("t")}
	s.Annotations = map[string]string{v1alpha1.AnnotationRegistrationIntent: "intent"}
	if ID(s) != "1" || Token(s).Reveal() != "t" || Registration(s) != "intent" {
		t.Errorf("%q, %q", ID(s), Registration(s))
	}
	// People paste.
	s.Data = map[string][]byte{"id": []byte(" 5F0C9F6E-3C67-4B62-9D3C-6E2A3E9D7C11\n"), "token": []byte("\ufefft\r\n")}
	if ID(s) != "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11" || Token(s).Reveal() != "t" {
		t.Errorf("pasted: %q, %q", ID(s), Token(s).Reveal())
	}
	// A malformed token is kept, so that the Secret does not count as empty.
	s.Data["token"] = []byte("t\u200bt")
	if Token(s).IsZero() || Token(s).Usable() {
		t.Error("an invisible character is overlooked")
	}
	if uid, kept := Owner(s); uid != "web-1" || !kept {
		t.Errorf("kept for %q (%v)", uid, kept)
	}
	empty := &corev1.Secret{}
	if _, kept := Owner(empty); kept || ID(empty) != "" || !Token(empty).IsZero() || Registration(empty) != "" {
		t.Error("an empty Secret holds something")
	}
}
