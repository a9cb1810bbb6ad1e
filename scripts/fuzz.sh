#!/bin/sh
# Runs every fuzz target for a time (default 10s), one per core at once. A
# failing input is kept in the package's testdata/fuzz and is then a test.
set -eu
time=${1:-10s}
jobs=$(nproc 2>/dev/null || echo 1)

# `go test -list` prints the targets of a package, then "ok <package> <time>".
targets=$(go test -list '^Fuzz' ./... | awk '
	/^Fuzz/ { names[n++] = $1; next }
	$1 == "ok" { for (i = 0; i < n; i++) print $2, names[i]; n = 0; next }
	$1 == "FAIL" { exit 1 }')
[ -n "$targets" ] || { echo "no fuzz targets found" >&2; exit 1; }
echo "$(echo "$targets" | wc -l) targets, $time each, $jobs at once"

# shellcheck disable=SC2016 # expanded by the inner shell
echo "$targets" | FUZZTIME=$time xargs -n 2 -P "$jobs" sh -c '
	if out=$(go test -run "^\$" -fuzz "^$2\$" -fuzztime "$FUZZTIME" -parallel 1 "$1" 2>&1); then
		printf "ok    %s %s  %s\n" "$1" "$2" "$(echo "$out" | grep -o "execs: [0-9]*" | tail -n 1)"
	else
		printf "FAIL  %s %s\n%s\n" "$1" "$2" "$out"
		exit 1 # xargs goes on and then answers 123
	fi' fuzz
