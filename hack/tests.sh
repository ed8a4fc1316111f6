#!/usr/bin/env bash
# Prints the packages with tests of a kind among those given: "unit" needs no control plane, "plane" needs one.
# Packages whose tests depend on internal/testenv, directly or indirectly, need one. The slowest packages come first, so
# that the others run at the same time: a slow one at the end would run alone.
set -euo pipefail

kind=${1:?"usage: hack/tests.sh unit|plane package..."}
shift

# The import path of a test program ends in ".test"; its dependencies are those of all test files.
list=$(go list -test -f '{{.ImportPath}} {{join .Deps " "}}' "$@")
awk -v kind="$kind" '
	$1 ~ /\.test$/ {
		needs = "unit"
		for (i = 2; i <= NF; i++) if ($i ~ /\/operator\/internal\/testenv$/) needs = "plane"
		if (needs != kind) next
		package = substr($1, 1, length($1) - length(".test"))
		print (package ~ /\/(hack\/bench|test\/reliability)$/ ? 0 : 1), package
	}' <<<"$list" | sort -k1,1n -k2r | cut -d" " -f2
