#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (5s each by default). A failing input is written to testdata/fuzz of its package:
# commit it with the fix, and `go test` runs it from then on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Listing builds the tests of a package, so only packages that can have a target are listed.
mapfile -t packages < <(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -r -n 1 dirname | sort -u)
ran=0
for package in "${packages[@]}"; do
	for target in $(go test -list '^Fuzz' "./$package" | grep '^Fuzz'); do
		echo "fuzz: $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-5s}" -fuzzminimizetime 5s "./$package"
		ran=$((ran + 1))
	done
done
echo "fuzz: $ran targets"
[ "$ran" -gt 0 ]
