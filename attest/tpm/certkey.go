package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
)

// maxRSA is the largest RSA modulus of a certificate from outside, in bits: no
// TPM manufacturer uses a larger one, and a signature check grows with its square.
const maxRSA = 4096

// checkCertKey refuses a certificate from outside whose key makes a signature check
// costly. crypto/x509 verifies with any modulus and any 31-bit exponent that a
// certificate names, before it knows whether the chain leads anywhere.
func checkCertKey(c *x509.Certificate) error {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n > maxRSA || k.E != 65537 {
			return fmt.Errorf("RSA key of %d bits with exponent %d, want at most %d bits and 65537", n, k.E, maxRSA)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return fmt.Errorf("key on %s, want P-256, P-384 or P-521", k.Params().Name)
		}
	default:
		return fmt.Errorf("key of type %s, want RSA or ECDSA", c.PublicKeyAlgorithm)
	}
	return nil
}
