/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// pauseImage is the image of the sandbox of a pod.
const pauseImage = "registry.k8s.io/pause:3.10"

// Lowering the OOM score needs CAP_SYS_RESOURCE, which not every root user has.
const containerdConfig = `version = 3
[plugins.'io.containerd.cri.v1.images']
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "%[1]s"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "%[2]s/certs.d"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "%[2]s/net.d"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
`

// Every image comes from the registry of the cluster.
const hostsConfig = `[host."http://%s"]
  capabilities = ["pull", "resolve"]
`

// Each pod has its own link to the node, which routes between them: there is no bridge.
const cniConfig = `{
  "cniVersion": "1.0.0", "name": "pods",
  "plugins": [
    {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "%s"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// Only the API server reaches the kubelet, over a network that it shares with pods of tests only.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {}
imageGCHighThresholdPercent: 100
clusterDomain: cluster.local
clusterDNS: [%[3]s]
resolvConf: %[4]s/resolv.conf
serializeImagePulls: false
`

// configure writes the configuration files of a node's programs.
func (c *Cluster) configure(m *Machine) error {
	for _, dir := range []string{"certs.d/_default", "net.d"} {
		if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
			return err
		}
	}
	write := func(name, format string, args ...any) error {
		return os.WriteFile(m.path(name), fmt.Appendf(nil, format, args...), 0o600)
	}
	errs := []error{
		write("containerd.toml", containerdConfig, pauseImage, m.path()),
		write("certs.d/_default/hosts.toml", hostsConfig, c.Registry.address),
		write("net.d/10-pods.conflist", cniConfig, m.slot.pods(m.number)),
		write("kubelet.yaml", kubeletConfig, m.Address, m.slot.name(m.number), dnsAddress, m.path()),
		write("resolv.conf", "# Names of the cluster alone are resolved.\nnameserver 127.0.0.1\n"),
	}
	for file, user := range map[string][]string{
		"kubelet":    {"system:node:" + m.Name, "system:nodes"},
		"kube-proxy": {"system:kube-proxy"},
	} {
		config, err := c.Plane.AddUser(user[0], user[1:]...)
		if err != nil {
			return err
		}
		errs = append(errs, writeKubeconfig(m.path(file+".kubeconfig"), config))
	}
	return errors.Join(errs...)
}

func writeKubeconfig(path string, user *rest.Config) error {
	const name = "cluster"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: user.Host, CertificateAuthorityData: user.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: user.CertData, ClientKeyData: user.KeyData}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return clientcmd.WriteToFile(*config, filepath.Clean(path))
}
