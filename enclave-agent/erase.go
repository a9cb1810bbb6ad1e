package agent

import "github.com/openskr/openskr/attest/tpm/guest"

// Erasing calls f, which uses a released key, and erases what f leaves of it in
// registers, on the stack and on the heap: the expanded forms that the standard library
// makes and that nobody can clear by hand. What f makes and is kept, such as a content
// key, is erased when nothing holds it any more and the collector runs. It does so in a
// program that was built with GOEXPERIMENT=runtimesecret, as `make build` does; in
// another it only calls f. What other goroutines do for f is theirs.
func Erasing(f func()) {
	guest.Erasing(f)
	guest.Collect()
}
