#!/usr/bin/env bash
# Puts the CRDs of other projects, for examples in the docs and the chart, into bin/crds/. They come from the Go modules of
# these projects, which the checksum database verifies; nothing is built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/crds
key=$(git hash-object "${BASH_SOURCE[0]}")
if [ "$(cat "$out/.key" 2>/dev/null)" = "$key" ]; then
	exit 0
fi

rm -rf "$out"
mkdir -p "$out"
cd / # Outside of any Go module.
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
