/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package node

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// dnsAddress is the address of the Service of CoreDNS.
const dnsAddress = "10.0.0.10"

const dnsImage = "registry.k8s.io/coredns/coredns:built"

//go:embed coredns.yaml
var dnsManifest string

// pushOwnImages pushes the images that every pod needs.
func (c *Cluster) pushOwnImages(ctx context.Context) error {
	pause, err := Build(ctx, "./test/e2e/pause", c.slot.path("pause"))
	if err != nil {
		return err
	}
	for reference, file := range map[string]File{
		pauseImage: {Path: "/pause", Source: pause},
		dnsImage:   {Path: "/coredns", Source: filepath.Join(c.assets, "coredns")},
	} {
		image, err := Image("65532:65532", []string{file.Path}, file)
		if err != nil {
			return err
		}
		if err := c.Registry.Push(ctx, reference, image); err != nil {
			return err
		}
	}
	return nil
}

// Build builds a static program of this repository.
func Build(ctx context.Context, pkg, out string) (string, error) {
	dir := filepath.Join(testenv.ModuleRoot(), "test", "e2e")
	command := exec.CommandContext(ctx, "go", "-C", dir, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out,
		strings.Replace(pkg, "./test/e2e/", "./", 1))
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if said, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w: %s", pkg, err, said)
	}
	return out, nil
}

// startDNS starts CoreDNS as a pod, and waits until it is Ready.
func (c *Cluster) startDNS(ctx context.Context) error {
	command := c.Plane.Kubectl(ctx, "apply", "--server-side", "-f", "-")
	command.Stdin = strings.NewReader(strings.NewReplacer("IMAGE", dnsImage, "ADDRESS", dnsAddress).Replace(dnsManifest))
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("CoreDNS: %w: %s", err, said)
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	return eventually(ctx, "CoreDNS does not become Ready", 2*time.Minute, func(ctx context.Context) error {
		pods, err := client.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					return nil
				}
			}
		}
		return fmt.Errorf("there are %d pods, none Ready", len(pods.Items))
	})
}
