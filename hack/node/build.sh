#!/usr/bin/env bash
# Builds the programs of a Kubernetes node into bin/node/<version>-<key>/ and points bin/node/current at it: kubelet,
# kube-proxy, kube-scheduler, containerd and CoreDNS. The key covers this directory and the platform, so that a second
# call costs nothing. The others (runc, CNI plugins, iptables, busybox) are packages of Debian, which it installs.
set -euo pipefail

say() { echo "node: $*" >&2; }
fail() {
	say "$*"
	exit 1
}

[ "$(uname -s)" = Linux ] || fail "needs Linux, and this is $(uname -s): use E2E_KUBECONFIG with a cluster that is there, such as kind"
[ "$(id -u)" = 0 ] || fail "needs root, for namespaces, mounts and cgroups: use sudo, or E2E_KUBECONFIG with a cluster that is there, such as kind"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/node
cd "$here"

# Each package, and a file by which to see that it is installed.
packages() {
	[ -x "$(command -v runc)" ] || echo runc
	[ -x /usr/lib/cni/ptp ] || echo containernetworking-plugins
	[ -x "$(command -v iptables)" ] || echo iptables
	[ -x "$(command -v ip)" ] || echo iproute2
	[ -x "$(command -v nsenter)" ] || echo util-linux
	if ! [ -x /bin/busybox ] || ldd /bin/busybox >/dev/null 2>&1; then echo busybox-static; fi # ldd fails at a static one
}
missing=$(packages | tr '\n' ' ')
if [ -n "$missing" ]; then
	say "installing $missing"
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>"/tmp/node-apt.$$" ||
		fail "apt-get cannot install $missing: install them yourself ($(tail -n1 "/tmp/node-apt.$$"; rm -f "/tmp/node-apt.$$"))"
	rm -f "/tmp/node-apt.$$"
fi

export GOWORK=off CGO_ENABLED=0
version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' kubernetes/go.mod)
containerd=$(awk '$1 == "github.com/containerd/containerd/v2" { print $2; exit }' containerd/go.mod)
key=$( (cat build.sh ./*/go.mod ./*/go.sum ./*/*.go; go env GOOS GOARCH) | git hash-object --stdin | cut -c1-12)
name=$version-$key

# The messages of the compiler, without the names of packages and modules.
build() {
	local module=$1
	shift
	say "building $module ..."
	go -C "$module" build -mod=readonly -trimpath "$@" 2> >(grep -v '^go: downloading' >&2)
}

if [ ! -x "$out/$name/coredns" ]; then
	say "building Kubernetes $version and containerd $containerd, once; some minutes"
	mkdir -p "$out"
	tmp=$(mktemp -d "$out/.building.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	chmod 755 "$tmp"
	build containerd -tags no_btrfs,no_devmapper,no_zfs -o "$tmp/" \
		-ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$containerd" \
		github.com/containerd/containerd/v2/cmd/containerd github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
	build kubernetes -o "$tmp/node" \
		-ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version" .
	for program in kubelet kube-proxy kube-scheduler node-init; do
		ln -s node "$tmp/$program"
	done
	build coredns -o "$tmp/" -ldflags "-s -w" .
	# A concurrent build has the same result.
	[ -d "$out/$name" ] || mv "$tmp" "$out/$name"
	say "built in $((SECONDS / 60))m$((SECONDS % 60))s"
fi

if [ "$(readlink "$out/current" || true)" != "$name" ]; then
	ln -sfn "$name" "$out/current"
fi
