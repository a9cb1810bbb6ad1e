#!/bin/sh
# Runs the race detector over whatever happens on several goroutines at once. What runs on
# one has nothing to find and takes most of the time, so it is left out: packages that
# neither start goroutines nor guard anything against them, nor test with what does; and of
# the verifiers all but the suite, which verifies from many goroutines at once.
# Load tests are left out by -short. go vet has its own step.
set -eu
concurrent='(^|[^[:alnum:]_.])go (func|[a-zA-Z])|\.Go\(|sync\.|atomic\.|(^|[^[:alnum:]_])chan([^[:alnum:]_]|$)|t\.Parallel|httptest\.|errgroup|AfterFunc'
helpers='"github.com/openskr/openskr/(attest/attesttest|internal/store/storetest|release/releasetest|enclave-agent/agenttest)"'

all= verifiers=
for dir in $(git ls-files '*_test.go' ':!interop' | xargs -n 1 dirname | sort -u); do
	case $dir in
	attest/*) if [ -e "$dir/suite_test.go" ]; then verifiers="$verifiers ./$dir" && continue; fi ;;
	esac
	if grep -qE "$concurrent|$helpers" "$dir"/*.go; then all="$all ./$dir"; fi
done

# The command line's scripts start a process a line, each with nothing at once in it; the
# demonstration is a script too. What a broker does at once is in the other tests.
scripts='^Test(Scripts|CollateralScripts|Demo)$'
# Long tables on one goroutine, what kills processes of its own, and scans of memory, which
# the detector's own fills.
alone='^Test(LibraryConditionsAreTested|ExplainDecidesAsEvaluate|JSONDifferential|CompileBombs|Vaults|Matrix|LargeBackup|ThrottleWeights|Kill|DrainEnds'
alone="$alone|KeyVault(Confused|Foreign|Kill9)|AttestedTokenKilled|EvidenceOfTPM2Tools|CanaryOfTheRecipient|CanaryOfTheKey|CanaryOfAProcess|DeathLeavesNoKey)\$"

rc=0
# shellcheck disable=SC2086 # lists
{
	CGO_ENABLED=1 go test -race -short -vet=off -skip "$scripts|$alone" $all || rc=$?
	CGO_ENABLED=1 go test -race -short -vet=off -run '^TestSuite' $verifiers || rc=$?
}
exit $rc
