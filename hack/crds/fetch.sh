#!/usr/bin/env bash
# Puts the CRDs of others, whose kinds the docs and the chart show, into bin/crds/. They come out of the Go modules of
# their projects, which the checksum database vouches for; nothing of those is built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/crds
key=$(git hash-object "${BASH_SOURCE[0]}")
if [ "$(cat "$out/.key" 2>/dev/null)" = "$key" ]; then
	exit 0
fi

rm -rf "$out"
mkdir -p "$out"
cd / # No go.mod has a say there.
export GOWORK=off GOFLAGS=

# fetch <module@version> <file>...
fetch() {
	local module=$1 dir file
	shift
	dir=$(go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
	if [ -z "$dir" ]; then
		echo "crds: $module cannot be downloaded" >&2
		exit 1
	fi
	for file in "$@"; do
		install -m 0644 "$dir/$file" "$out/"
	done
}

fetch github.com/argoproj/argo-cd/v3@v3.2.0 manifests/crds/application-crd.yaml
fetch github.com/fluxcd/helm-controller@v1.6.0 config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml
fetch github.com/fluxcd/kustomize-controller@v1.6.0 config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml
fetch github.com/fluxcd/source-controller@v1.7.0 config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml
fetch github.com/prometheus-operator/prometheus-operator@v0.94.0 \
	example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml \
	example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml
echo "$key" >"$out/.key"
