#!/bin/sh
# Runs every fuzz target for a time (default 10s), four per core at once. A
# failing input is kept in the package's testdata/fuzz and is then a test; inputs that
# reach new code are kept where `go test -fuzz` keeps them, and the next run begins there.
set -eu
time=${1:-10s}
jobs=$((4 * $(nproc 2>/dev/null || echo 1)))
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# One instrumented binary a package, not one a target: linking costs more than it seems.
targets=$tmp/targets
: >"$targets"
for dir in $(git grep -lE '^func Fuzz' -- '*_test.go' | xargs -n 1 dirname | sort -u); do
	bin=$tmp/$(echo "$dir" | tr / _).test
	(cd "$dir" && go test -c -fuzz '^Fuzz' -o "$bin" .) # there: interop/ is a module of its own
	(cd "$dir" && "$bin" -test.list '^Fuzz') | sed "s|^|$dir $bin |" >>"$targets"
done
[ -s "$targets" ] || { echo "no fuzz targets found" >&2; exit 1; }
echo "$(wc -l <"$targets") targets, $time each, $jobs at once"

# shellcheck disable=SC2016 # expanded by the inner shell
FUZZTIME=$time CACHE=$(go env GOCACHE)/fuzz/$(go list -m) xargs -n 3 -P "$jobs" sh -c '
	cd "$1"
	fuzz() { "$2" -test.run "^\$" -test.fuzz "^$3\$" -test.fuzztime "$FUZZTIME" -test.parallel 1 -test.fuzzcachedir "$CACHE/$1" 2>&1; }
	out=$(fuzz "$@") && rc=0 || rc=$?
	# On a busy machine the fuzzer itself can end so when its time is over, with no input
	# that fails (golang.org/issue/48591). Once more; a second time is a failure.
	if [ "$rc" != 0 ] && echo "$out" | grep -q "^ *context deadline exceeded" && ! echo "$out" | grep -q "Failing input"; then
		printf "again %s %s\n" "$1" "$3"
		out=$(fuzz "$@") && rc=0 || rc=$?
	fi
	if [ "$rc" = 0 ]; then
		printf "ok    %s %s  %s\n" "$1" "$3" "$(echo "$out" | grep -o "execs: [0-9]*" | tail -n 1)"
	else
		printf "FAIL  %s %s\n%s\n" "$1" "$3" "$out"
		exit 1 # xargs goes on and then answers 123
	fi' fuzz <"$targets"
