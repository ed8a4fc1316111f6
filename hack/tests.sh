#!/usr/bin/env bash
# Prints the packages with tests of a kind among those given: "unit" needs no control plane, "plane" needs one.
# Packages whose tests depend on internal/testenv, directly or indirectly, need one. Those that take minutes come first, the
# longest at the beginning, so that the short ones fill the end.
set -euo pipefail

kind=${1:?"usage: hack/tests.sh unit|plane package..."}
shift

minutes="test/reliability test/charts test/agentset test/tenancy test/torture test/story hack/bench"

# The import path of a test program ends in ".test"; its dependencies are those of all test files.
list=$(go list -test -f '{{.ImportPath}} {{join .Deps " "}}' "$@")
awk -v kind="$kind" -v minutes="$minutes" '
	BEGIN { count = split(minutes, longest, " ") }
	$1 ~ /\.test$/ {
		needs = "unit"
		for (i = 2; i <= NF; i++) if ($i ~ /\/operator\/internal\/testenv$/) needs = "plane"
		if (needs != kind) next
		name = substr($1, 1, length($1) - length(".test"))
		for (rank = 1; rank <= count; rank++) if (index(name, "/operator/" longest[rank])) break
		print rank, name
	}' <<<"$list" | sort -k1,1n -k2,2r | cut -d" " -f2
