package keyvault

import (
	"crypto/rsa"
	"math/big"

	"github.com/openskr/openskr/release/wrap"
)

// soundRSA refuses RSA keys that are malformed or known to be weak (security:
// CR-12). Import is the only way in for keys that were made elsewhere, and an
// owner who imports a broken key should learn it here.
func soundRSA(k *rsa.PrivateKey) error {
	switch {
	case len(k.Primes) != 2:
		return invalid("RSA key with %d primes, want 2", len(k.Primes))
	case k.E != publicExponent:
		return invalid("RSA public exponent %d, want %d", k.E, publicExponent)
	case k.N.Bit(0) == 0:
		return invalid("RSA modulus is even")
	case !rsaSize(k.N.BitLen()):
		return invalid("RSA modulus of %d bits, want 2048, 3072 or 4096", k.N.BitLen())
	case wrap.IsROCA(k.N):
		return invalid("RSA modulus has the structure of CVE-2017-15361 (ROCA) and can be factored")
	}
	half := k.N.BitLen() / 2
	p, q := k.Primes[0], k.Primes[1]
	if p.BitLen() != half || q.BitLen() != half {
		return invalid("RSA primes are not half as long as the modulus")
	}
	// FIPS 186-5 A.1.3: |p-q| > 2^(half-100), or Fermat's method finds them.
	if gap := new(big.Int).Sub(p, q); gap.BitLen() <= half-100 {
		return invalid("RSA primes are too close to each other")
	}
	if !p.ProbablyPrime(20) || !q.ProbablyPrime(20) {
		return invalid("RSA factors are not prime")
	}
	if k.D.BitLen() <= half {
		return invalid("RSA private exponent is too small")
	}
	if err := k.Validate(); err != nil {
		return invalid("RSA key is inconsistent: %w", err)
	}
	return nil
}
