/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

const opaqueToken = "opaque-canary-0123456789abcdef0123456789"

func TestAGoodTokenIsVerified(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
		opaque   bool
		change   func(*v1alpha1.CloudProjectSpec)
		want     v1alpha1.CloudProjectStatus
	}{{
		name: "Auto uses Bearer if the API accepts it",
		want: v1alpha1.CloudProjectStatus{
			ProjectID: projectID, Authentication: v1alpha1.AuthenticationBearer, ListSupported: ptr.To(true),
		},
	}, {
		name:     "Auto uses ProjectToken if Bearer is rejected",
		settings: cloudtest.Settings{Schemes: []cloud.Scheme{cloud.SchemeProjectToken}},
		want: v1alpha1.CloudProjectStatus{
			ProjectID: projectID, Authentication: v1alpha1.AuthenticationProjectToken, ListSupported: ptr.To(true),
		},
	}, {
		name:   "a scheme that is named is the only one tried",
		change: func(spec *v1alpha1.CloudProjectSpec) { spec.Authentication = v1alpha1.AuthenticationProjectToken },
		want: v1alpha1.CloudProjectStatus{
			ProjectID: projectID, Authentication: v1alpha1.AuthenticationProjectToken, ListSupported: ptr.To(true),
		},
	}, {
		name:     "without a list a read verifies the token",
		settings: cloudtest.Settings{NoList: true},
		want: v1alpha1.CloudProjectStatus{
			ProjectID: projectID, Authentication: v1alpha1.AuthenticationBearer, ListSupported: ptr.To(false),
		},
	}, {
		name:   "a token that does not reveal its project is verified without a list",
		opaque: true,
		want: v1alpha1.CloudProjectStatus{
			Authentication: v1alpha1.AuthenticationBearer, ListSupported: ptr.To(false),
		},
	}, {
		name:   "with spec.projectID such a token lists too",
		opaque: true,
		change: func(spec *v1alpha1.CloudProjectSpec) { spec.ProjectID = projectID },
		want: v1alpha1.CloudProjectStatus{
			ProjectID: projectID, Authentication: v1alpha1.AuthenticationBearer, ListSupported: ptr.To(true),
		},
	}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *options) { o.settings = row.settings })
			if row.opaque {
				w.cloud.AddToken(projectID, opaqueToken)
				w.token = cloud.NewToken(opaqueToken)
				w.hide(opaqueToken)
			}
			cp := w.create(func(cp *v1alpha1.CloudProject) {
				if row.change != nil {
					row.change(&cp.Spec)
				}
			})
			got := w.becomes(cp, verified)
			want := row.want
			want.ObservedGeneration, want.URL = 1, w.url
			want.ResyncInterval = &metav1.Duration{Duration: 10 * time.Minute}
			want.Conditions = []metav1.Condition{{
				Type: ready, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCredentialsVerified, ObservedGeneration: 1,
				Message: "Calyptia Cloud accepts the credentials",
			}}
			if diff := cmp.Diff(want, got.Status, cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime")); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			if got := w.cloud.Count("POST", ""); got != 0 {
				t.Errorf("the check made %d POSTs", got)
			}
			w.eventually("the Agents to be woken", func() bool { return w.wakes() > 0 })
			if _, err := w.projects.Get(got, got.Namespace); err != nil {
				t.Errorf("the project cannot be used: %v", err)
			}
		})
	}
}

func TestAnExpiredCertificateIsReportedWithoutTheTimeAndTheWrongAdvice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	private := httptest.NewUnstartedServer(w.cloud)
	private.Config.ErrorLog = log.New(io.Discard, "", 0) // It would log the distrust that is tested.
	pair, tries := expired(t), atomic.Int32{}
	private.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	private.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		tries.Add(1)
		return nil, nil
	}
	private.StartTLS()
	t.Cleanup(private.Close)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	w.SetSecret("ca", map[string]string{"ca.crt": string(bundle)})
	cp := w.create(func(cp *v1alpha1.CloudProject) {
		cp.Spec.URL = private.URL
		cp.Spec.CABundle = &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "ca", Key: "ca.crt"}}
	})
	got := w.becomes(cp, unverified("cannot be used: the server's certificate has expired: renew it; retrying automatically"))
	if message := apimeta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady).Message; strings.Contains(message, "caBundle") {
		t.Errorf("it says %q", message)
	}
	seen := tries.Load()
	w.eventually("more tries", func() bool { return tries.Load() > seen+1 })
	after := &v1alpha1.CloudProject{}
	noError(t, w.Client.Get(t.Context(), client.ObjectKeyFromObject(cp), after))
	if after.ResourceVersion != got.ResourceVersion {
		t.Errorf("another try changed the status to %v", after.Status)
	}
}

// expired returns an expired certificate for the loopback address.
func expired(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "private"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	noError(t, err)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func TestACABundleMakesAPrivateAuthorityTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	private := httptest.NewUnstartedServer(w.cloud)
	private.Config.ErrorLog = log.New(io.Discard, "", 0) // It would log the distrust that is tested.
	private.StartTLS()
	t.Cleanup(private.Close)
	cp := w.create(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = private.URL })
	w.becomes(cp, unverified("certificate is signed by an unknown authority", "add the authority to spec.caBundle"))

	w.Edit(cp, func() {
		cp.Spec.CABundle = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"}}
	})
	w.becomes(cp, waitingFor(v1alpha1.ReasonSourceNotFound, `ConfigMap "ca"`))
	w.putCA("ca", pemOf(private))
	w.becomes(cp, verified)
	if got := string(w.Secret("main-credentials").Data[v1alpha1.CABundleKey]); got != pemOf(private) {
		t.Errorf("the copy holds the CA bundle %q", got)
	}
}

func TestRetryAfterIsRespected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cloud.Inject(cloudtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}, Times: 1})
	cp := w.create()
	w.becomes(cp, waitingFor(v1alpha1.ReasonRateLimited))
	w.poke(cp)
	w.becomes(cp, verified)
	requests := w.cloud.Requests()
	if len(requests) != 2 {
		t.Fatalf("%d requests, want 2", len(requests))
	}
	if waited := requests[1].Time.Sub(requests[0].Time); waited < 2*time.Second {
		t.Errorf("the second request came after %s", waited)
	}
}

func TestAnOutageShowsAndPasses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp := w.becomes(w.create(), verified)
	remove := w.cloud.Inject(cloudtest.Fault{Cut: cloudtest.CutBefore})
	w.poke(cp)
	w.becomes(cp, waitingFor(v1alpha1.ReasonUnavailable, w.url, "retrying automatically"))
	if _, err := w.projects.Get(cp, cp.Namespace); err != nil {
		t.Errorf("requests are already blocked after one failed check: %v", err)
	}
	remove()
	w.becomes(cp, verified)
	want := []string{"Normal CredentialsVerified", "Warning Unavailable", "Normal CredentialsVerified"}
	w.eventually("the event, which comes after the status", func() bool { return len(w.events.all()) >= len(want) })
	if diff := cmp.Diff(want, kinds(w.events.all())); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestARevokedTokenIsDetectedByARequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp := w.becomes(w.create(), verified)
	p, err := w.projects.Get(cp, cp.Namespace)
	noError(t, err)
	w.cloud.RevokeToken(w.token)
	if _, err := p.Get(t.Context(), ratelimit.Caller{UID: "somebody"}, otherID); err == nil {
		t.Fatal("the revoked token is accepted")
	}
	w.becomes(cp, stalledBy(v1alpha1.ReasonUnauthorized))
	fresh := w.cloud.AddProject(projectID)
	w.hide(fresh.Reveal())
	w.putToken(fresh.Reveal())
	w.becomes(cp, verified)
}

func TestNothingIsWrittenWhenNothingChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp := w.becomes(w.create(), verified)
	w.eventually("the copy", func() bool { return w.Secret("main-credentials") != nil })
	w.stays("the status is written once", func() bool { return true })
	cp = w.becomes(cp, verified)
	copied := w.Secret("main-credentials")
	reconciled := w.reader.count(tokenName)
	for _, name := range []string{tokenName, "main-credentials"} {
		source := w.Secret(name)
		if name == tokenName {
			w.Edit(source, func() { metav1.SetMetaDataLabel(&source.ObjectMeta, "touched", "yes") })
		}
	}
	w.eventually("a reconciliation", func() bool { return w.reader.count(tokenName) > reconciled })
	w.stays("nothing is written", func() bool {
		return w.becomes(cp, verified).ResourceVersion == cp.ResourceVersion &&
			w.Secret("main-credentials").ResourceVersion == copied.ResourceVersion
	})
	if got := len(w.cloud.Requests()); got != 1 {
		t.Errorf("%d requests, want the one of the first check", got)
	}
	if got := kinds(w.events.all()); len(got) != 1 {
		t.Errorf("events: %v, want one", got)
	}
	if got := strings.Count(w.logged(), "Ready changed"); got != 1 {
		t.Errorf("the log has %d changes:\n%s", got, w.logged())
	}
}

func TestARestartVerifiesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp := w.becomes(w.create(), verified)
	w.restart()
	w.eventually("a second check", func() bool { return len(w.cloud.Requests()) == 2 })
	w.eventually("the project to be usable", func() bool { _, err := w.projects.Get(cp, cp.Namespace); return err == nil })
	if again := w.becomes(cp, verified); again.ResourceVersion != cp.ResourceVersion {
		t.Error("the restart wrote the status")
	}
}

func kinds(events []string) []string {
	var short []string
	for _, e := range events {
		words := strings.Fields(e)
		short = append(short, words[0]+" "+words[1])
	}
	return short
}

func (w *world) putCA(name, ca string) {
	w.Helper()
	noError(w, client.IgnoreAlreadyExists(w.Client.Create(w.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name}, Data: map[string]string{"ca.crt": ca},
	})))
}

func pemOf(server *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}
