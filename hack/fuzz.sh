#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (5s each by default). A failing input is written to testdata/fuzz of its package:
# commit it with the fix, and `go test` runs it from then on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Listing builds the tests of a package, so only packages that can have a target are listed.
mapfile -t packages < <(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -r -n 1 dirname | sort -u)
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# The Go command sometimes fails because its own time ran out, without a failing input: then it runs again, once.
fuzz() {
	local attempt
	for attempt in first last; do
		if go test -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZTIME:-5s}" -fuzzminimizetime 5s "./$1" 2>&1 | tee "$output"; then
			return
		elif [ "$attempt" = last ] || grep -q 'Failing input written' "$output" || ! grep -qx ' *context deadline exceeded' "$output"; then
			return 1
		fi
	done
}

ran=0
for package in "${packages[@]}"; do
	for target in $(go test -list '^Fuzz' "./$package" | grep '^Fuzz'); do
		echo "fuzz: $package $target"
		fuzz "$package" "$target"
		ran=$((ran + 1))
	done
done
echo "fuzz: $ran targets"
[ "$ran" -gt 0 ]
