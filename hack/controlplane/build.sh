#!/usr/bin/env bash
# Builds the control plane for tests into bin/controlplane/<version>-<key>/ and points bin/controlplane/current
# at it. The key covers this directory and the platform, so that a second call costs nothing.
# The first build compiles Kubernetes and etcd: some minutes.
set -euo pipefail

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
	echo "control plane: KUBEBUILDER_ASSETS is set, nothing to build" >&2
	exit 0
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/controlplane
cd "$here"

export GOWORK=off CGO_ENABLED=0
version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' go.mod)
key=$( (cat main.go parent/*.go go.mod go.sum build.sh; go env GOOS GOARCH) | git hash-object --stdin | cut -c1-12)
name=$version-$key

# One line that is overwritten on a terminal; without one, a line for every 200 packages.
progress() {
	local packages=0 modules=0 line
	while IFS= read -r line; do
		case $line in
		"go: downloading "*)
			modules=$((modules + 1))
			say "$modules" "control plane: $modules modules downloaded ..."
			;;
		*" "* | "#"*) printf '%s\n' "$line" >&2 ;; # not a package: what the compiler has to say
		*)
			packages=$((packages + 1))
			say "$packages" "control plane: $packages packages compiled ..."
			;;
		esac
	done
	if [ -t 2 ]; then echo >&2; fi
}
say() {
	if [ -t 2 ]; then
		printf '\r\033[K%s' "$2" >&2
	elif [ $(($1 % 200)) -eq 0 ]; then
		printf '%s\n' "$2" >&2
	fi
}

if [ ! -x "$out/$name/kubectl" ]; then
	echo "control plane: building Kubernetes $version, once; some minutes" >&2
	mkdir -p "$out"
	tmp=$(mktemp -d "$out/.building.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	chmod 755 "$tmp"
	ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version"
	go build -v -mod=readonly -trimpath -ldflags "$ldflags" -o "$tmp/controlplane" . 2>&1 | progress
	for program in etcd kube-apiserver kube-controller-manager kubectl; do
		ln -s controlplane "$tmp/$program"
	done
	# Whoever built the same at the same time was as right as we are.
	[ -d "$out/$name" ] || mv "$tmp" "$out/$name"
	echo "control plane: built in $((SECONDS / 60))m$((SECONDS % 60))s" >&2
fi

if [ "$(readlink "$out/current" || true)" != "$name" ]; then
	ln -sfn "$name" "$out/current"
fi
