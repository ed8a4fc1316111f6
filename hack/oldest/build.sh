#!/usr/bin/env bash
# Builds the control plane of the oldest supported Kubernetes into bin/oldest/<version>-<key>/, and prints that directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

export GOWORK=off CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' go.mod)
key=$( (cat main.go go.mod go.sum build.sh; go env GOOS GOARCH) | git hash-object --stdin | cut -c1-12)
out=$(cd ../.. && pwd)/bin/oldest/$version-$key
if [ ! -x "$out/kubectl" ]; then
	echo "oldest control plane: building Kubernetes $version, once; some minutes" >&2
	mkdir -p "$(dirname "$out")"
	tmp=$(mktemp -d "$out.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	chmod 755 "$tmp"
	# The cloud providers of that time are left out, and with them their modules.
	go build -tags providerless -o "$tmp/controlplane" \
		-ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version" .
	for program in etcd kube-apiserver kube-controller-manager kubectl; do
		ln -s controlplane "$tmp/$program"
	done
	[ -d "$out" ] || mv "$tmp" "$out"
fi
echo "$out"
