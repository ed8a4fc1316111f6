/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package testenv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// One control plane serves all tests of this package, each in its own namespace.
var (
	plane    *testenv.ControlPlane
	auditLog string
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "testenv-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	auditLog = filepath.Join(dir, "audit.log")

	started := time.Now()
	plane, err = testenv.Start(context.Background(), testenv.Options{
		CRDDirs:  []string{filepath.Join("testdata", "crd")},
		AuditLog: auditLog,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "control plane started in %s\n", time.Since(started).Round(time.Millisecond))
	code := m.Run()

	stopping := time.Now()
	for range 2 { // the second is to do nothing
		if err := plane.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	fmt.Fprintf(os.Stderr, "control plane stopped in %s\n", time.Since(stopping).Round(time.Millisecond))
	if _, err := os.Stat(filepath.Dir(plane.Kubeconfig)); !os.IsNotExist(err) {
		fmt.Fprintln(os.Stderr, "Stop left the temporary directory behind:", err)
		code = 1
	}
	return code
}

func TestGarbageCollectionDeletesWhatIsOwned(t *testing.T) {
	client, namespace := newClient(t), newNamespace(t)
	owner, err := client.CoreV1().ConfigMaps(namespace).Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	noError(t, err)
	_, err = client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name:            "owned",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}},
	}}, metav1.CreateOptions{})
	noError(t, err)

	noError(t, client.CoreV1().ConfigMaps(namespace).Delete(t.Context(), owner.Name, metav1.DeleteOptions{}))

	eventuallyGone(t, func(ctx context.Context) error {
		_, err := client.CoreV1().Secrets(namespace).Get(ctx, "owned", metav1.GetOptions{})
		return err
	})
}

func TestNamespaceDeletionCompletes(t *testing.T) {
	client, namespace := newClient(t), newNamespace(t)
	_, err := client.CoreV1().Secrets(namespace).Create(t.Context(),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "inside"}}, metav1.CreateOptions{})
	noError(t, err)

	noError(t, client.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}))

	eventuallyGone(t, func(ctx context.Context) error {
		_, err := client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		return err
	})
}

func TestRestartOfTheAPIServerKeepsDataAndClients(t *testing.T) {
	client, namespace := newClient(t), newNamespace(t)
	before, err := client.CoreV1().Secrets(namespace).Create(t.Context(),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{})
	noError(t, err)

	started := time.Now()
	noError(t, plane.RestartAPIServer())
	t.Logf("restarted in %s", time.Since(started).Round(time.Millisecond))

	after, err := client.CoreV1().Secrets(namespace).Get(t.Context(), "kept", metav1.GetOptions{})
	noError(t, err)
	if after.UID != before.UID {
		t.Errorf("UID is %s after the restart, was %s", after.UID, before.UID)
	}
}

func TestRestartControllerManager_AnObjectIsOwned_CollectsItStill(t *testing.T) {
	noError(t, plane.RestartControllerManager())
	TestGarbageCollectionDeletesWhatIsOwned(t)
}

func TestKubectlServesTheInstalledCRD(t *testing.T) {
	namespace := newNamespace(t)
	command := plane.Kubectl(t.Context(), "apply", "-n", namespace, "-f", "-")
	command.Stdin = strings.NewReader("{apiVersion: test.calyptia.com/v1, kind: Widget, metadata: {name: one}}")
	out, err := command.CombinedOutput()
	if want := "widget.test.calyptia.com/one created\n"; err != nil || string(out) != want {
		t.Errorf("kubectl apply: %v, %q, want %q", err, out, want)
	}
}

func TestUsersHaveNoRightsByDefault(t *testing.T) {
	config, err := plane.AddUser("jane", "developers")
	noError(t, err)
	client, err := kubernetes.NewForConfig(config)
	noError(t, err)

	_, err = client.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "jane"`) {
		t.Errorf("listing Secrets: %v, want it forbidden to jane", err)
	}
}

func TestAuditLogNamesEachWrite(t *testing.T) {
	client, namespace := newClient(t), newNamespace(t)
	_, err := client.CoreV1().Secrets(namespace).Create(t.Context(),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "audited"}}, metav1.CreateOptions{})
	noError(t, err)

	want := fmt.Sprintf(`"objectRef":{"resource":"secrets","namespace":%q,"name":"audited"`, namespace)
	eventually(t, "a line with "+want, func(context.Context) bool {
		content, err := os.ReadFile(auditLog)
		return err == nil && strings.Contains(string(content), want)
	})
}

// A test that is killed cannot stop its control plane; the programs must notice that.
func TestProgramsEndWithAKilledParent(t *testing.T) {
	assets, err := testenv.Assets()
	noError(t, err)
	shell := exec.CommandContext(t.Context(), "sh", "-c", `"$0" "$@" 2>&1 & wait`,
		filepath.Join(assets, "etcd"), "--data-dir="+t.TempDir(),
		"--listen-client-urls=http://127.0.0.1:0", "--listen-peer-urls=http://127.0.0.1:0",
		"--advertise-client-urls=http://127.0.0.1:0")
	out, in, err := os.Pipe()
	noError(t, err)
	defer out.Close()
	shell.Stdout = in
	noError(t, shell.Start())
	noError(t, in.Close())
	_, err = out.Read(make([]byte, 1)) // etcd runs: it says something
	noError(t, err)

	noError(t, shell.Process.Kill())
	_ = shell.Wait()

	// The pipe ends when the last process that writes to it ends.
	noError(t, out.SetReadDeadline(time.Now().Add(30*time.Second)))
	_, err = io.Copy(io.Discard, out)
	noError(t, err)
}

func TestAMissingBuildIsExplained(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	t.Chdir(t.TempDir())
	_, err := testenv.Assets()
	if err == nil || !strings.Contains(err.Error(), "make control-plane") {
		t.Errorf("Assets() = %v, want an error that names make control-plane", err)
	}
}

func newClient(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(plane.Config)
	noError(t, err)
	return client
}

func newNamespace(t *testing.T) string {
	t.Helper()
	namespace, err := newClient(t).CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "testenv-"}}, metav1.CreateOptions{})
	noError(t, err)
	return namespace.Name
}

func eventuallyGone(t *testing.T, get func(context.Context) error) {
	t.Helper()
	eventually(t, "the deletion", func(ctx context.Context) bool { return apierrors.IsNotFound(get(ctx)) })
}

func eventually(t *testing.T, what string, done func(context.Context) bool) {
	t.Helper()
	await.Eventually(t, what, func() error {
		if !done(t.Context()) {
			return errors.New("not yet")
		}
		return nil
	})
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
