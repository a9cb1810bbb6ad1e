package agent

import (
	"crypto/ecdh"
	"crypto/ecdsa"

	"github.com/openskr/openskr/attest/tpm/guest"
)

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

// ECDH is k for crypto/ecdh, as k.ECDH gives it. That, like every use of k that needs its
// private half, puts a copy into a table of package ecdsa, which lets it go after a
// collection has found k unused: the copy outlives [Erasing].
func ECDH(k *ecdsa.PrivateKey) (*ecdh.PrivateKey, error) {
	public, err := k.PublicKey.ECDH()
	if err != nil {
		return nil, err
	}
	scalar := make([]byte, (k.Params().BitSize+7)/8)
	defer clear(scalar)
	//lint:ignore SA1019 it is only read, and what is to be used in its place keeps the copy
	return public.Curve().NewPrivateKey(k.D.FillBytes(scalar))
}
