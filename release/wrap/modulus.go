package wrap

import (
	"crypto/rsa"
	"math/big"
	"sync"
)

// exponent is the only public exponent accepted, in its one spelling.
const exponent = "AQAB"

// parseRSA parses n and e. Refused are: sizes other than 2048, 3072 and 4096 bits,
// leading zero bytes, an even modulus and an exponent that is not 65537. It does no
// arithmetic: anyone may ask.
func parseRSA(n64, e64 string) (*rsa.PublicKey, error) {
	if e64 != exponent {
		return nil, badKey("RSA exponent is not 65537 (%s)", exponent)
	}
	b, err := decode(n64)
	if err != nil {
		return nil, badKey("n: %w", err)
	}
	if size := len(b); size != 256 && size != 384 && size != 512 || b[0] < 0x80 {
		return nil, badKey("RSA modulus of %d bytes, want exactly 2048, 3072 or 4096 bits", size)
	}
	if b[len(b)-1]&1 == 0 {
		return nil, badKey("RSA modulus is even")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(b), E: 65537}, nil
}

// checkModulus refuses what parseRSA let pass. Evidence that covers a key does not
// make it strong, so refused are: factors below 2^16, moduli with the fingerprint
// of CVE-2017-15361 (ROCA), squares and products of close primes, and primes.
func checkModulus(n *big.Int) error {
	switch {
	case hasSmallFactor(n):
		return badKey("RSA modulus has a factor below 65536")
	case IsROCA(n):
		return badKey("RSA modulus has the fingerprint of a ROCA key")
	case closePrimes(n):
		return badKey("RSA modulus is a square or a product of close primes")
	case isPrime(n):
		return badKey("RSA modulus is prime")
	}
	return nil
}

// primorial is the product of the primes below 2^16, a constant of 94 kbit
// that is built on first use.
var primorial = sync.OnceValue(func() *big.Int {
	const limit = 1 << 16
	var composite [limit]bool
	level := []*big.Int{big.NewInt(2)}
	for p := 3; p < limit; p += 2 {
		if composite[p] {
			continue
		}
		level = append(level, big.NewInt(int64(p)))
		for m := p * p; m < limit; m += 2 * p {
			composite[m] = true
		}
	}
	for len(level) > 1 { // multiply as a tree: equal sizes are fast
		var next []*big.Int
		for i := 0; i+1 < len(level); i += 2 {
			next = append(next, new(big.Int).Mul(level[i], level[i+1]))
		}
		if len(level)%2 == 1 {
			next = append(next, level[len(level)-1])
		}
		level = next
	}
	return level[0]
})

func hasSmallFactor(n *big.Int) bool {
	r := new(big.Int).Mod(primorial(), n)
	return r.GCD(nil, nil, r, n).Cmp(big.NewInt(1)) != 0
}

// isPrime is Fermat's test to base 2, one exponentiation: a composite that passes
// it by chance is refused too, and is rarer than a broken computer.
func isPrime(n *big.Int) bool {
	one := big.NewInt(1)
	return new(big.Int).Exp(big.NewInt(2), new(big.Int).Sub(n, one), n).Cmp(one) == 0
}

// fermatRounds is how many steps of Fermat's factorisation a modulus must stand;
// a square falls at the first.
const fermatRounds = 16

func closePrimes(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	root, rest := new(big.Int), new(big.Int)
	for range fermatRounds {
		if rest.Sub(rest.Mul(a, a), n); rest.Sign() >= 0 {
			if root.Sqrt(rest); root.Mul(root, root).Cmp(rest) == 0 {
				return true
			}
		}
		a.Add(a, big.NewInt(1))
	}
	return false
}

// IsROCA applies the fingerprint of the library behind CVE-2017-15361: its primes
// are k·M + (65537^a mod M), so modulo each small prime of M the modulus is a power
// of 65537. A sound modulus passes all 38 with a chance of 2^-28.
func IsROCA(n *big.Int) bool {
	primes := []int64{
		3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83,
		89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
	}
	for _, p := range primes {
		want := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		power, found := int64(1), false
		for range p {
			if power == want {
				found = true
				break
			}
			power = power * 65537 % p
		}
		if !found {
			return false
		}
	}
	return true
}
