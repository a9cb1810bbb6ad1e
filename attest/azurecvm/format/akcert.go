package format

import (
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Microsoft's authority for the AKs of vTPMs, and the intermediate whose leaves do not
// say where to find it. Both from learn.microsoft.com/azure/virtual-machines/
// trusted-launch-faq, section Certificates (source: github.com/MicrosoftDocs/azure-docs,
// articles/virtual-machines/trusted-launch-faq.md, which also states the root's SHA-1,
// cdb9bc34197a5355f652f1583fbd4e9a1d4801f0); the same bytes are in github.com/
// agentrust-io/cmcp and github.com/flashbots/cvm-reverse-proxy. SHA-256 fingerprints:
//
//	root, "Azure Virtual TPM Root Certificate Authority 2023", to 2048-06-01
//	e6c596b17f8ffefba5c300f714cfb1260c6028704ecf7becc4ab5018efb00e95  https://www.microsoft.com/pkiops/certs/Azure%20Virtual%20TPM%20Root%20Certificate%20Authority%202023.crt
//	intermediate, "Global Virtual TPM CA - 03", to 2027-04-24
//	fd7c92dabce4dcec9feaa30f8b087ada0598413189182152b881f5564064a29c  in that page only
//
// Other intermediates ("Azure Cloud Virtual TPM CA …") come with the evidence.
// "Microsoft RSA Devices Root CA 2021" is not here: it signs secure boot keys, and no
// AK certificate below it is known to us.
var (
	//go:embed microsoft-root.pem
	rootPEM []byte
	//go:embed microsoft-intermediates.pem
	intermediatesPEM []byte
)

// Microsoft gives its pinned root and intermediates.
func Microsoft() (roots, intermediates []*x509.Certificate, err error) {
	if roots, err = pinned(rootPEM); err != nil {
		return nil, nil, err
	}
	intermediates, err = pinned(intermediatesPEM)
	return roots, intermediates, err
}

func pinned(b []byte) (out []*x509.Certificate, err error) {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// MaxAKCertificate bounds NV index 0x01C101D0, in bytes.
const MaxAKCertificate = 8 << 10

// ParseAKCertificate takes the certificate of the AK out of what NV index 0x01C101D0
// holds; what pads the index is left away.
func ParseAKCertificate(nv []byte) (*x509.Certificate, error) {
	if len(nv) > MaxAKCertificate {
		return nil, fmt.Errorf("AK certificate of %d bytes, limit %d", len(nv), MaxAKCertificate)
	}
	var der asn1.RawValue
	rest, err := asn1.Unmarshal(nv, &der)
	if err != nil {
		return nil, fmt.Errorf("AK certificate: %w", err)
	}
	if slices.ContainsFunc(rest, func(b byte) bool { return b != 0 && b != 0xff }) {
		return nil, errors.New("AK certificate: something other than padding behind it")
	}
	c, err := x509.ParseCertificate(slices.Clone(der.FullBytes))
	if err != nil {
		return nil, fmt.Errorf("AK certificate: %w", err)
	}
	return c, nil
}

var oidKeyPurposeAIK = asn1.ObjectIdentifier{2, 23, 133, 8, 3} // tcg-kp-AIKCertificate

// CheckAKCertificate tells the certificate of an AK from any other below the same
// root: it is no CA's, signs, and has the purpose that TCG gave to attestation keys.
func CheckAKCertificate(c *x509.Certificate) error {
	switch {
	case c.IsCA:
		return errors.New("AK certificate: of a CA")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("AK certificate: its key usage is not signatures")
	case !slices.ContainsFunc(c.UnknownExtKeyUsage, oidKeyPurposeAIK.Equal):
		return errors.New("AK certificate: not of an attestation key (tcg-kp-AIKCertificate)")
	}
	return nil
}
