package snp

import (
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The names of AMD's product lines, as certificates and the Key Distribution Service
// write them. Siena and Bergamo have the keys of Genoa.
const (
	Milan = "Milan"
	Genoa = "Genoa"
	Turin = "Turin"
)

// Product is the keys of one product line: its root (ARK), which certifies the key
// that signs chip keys (ASK) and the one that signs keys loaded by a cloud (ASVK).
type Product struct {
	Name string // Milan, Genoa or Turin
	ARK  *x509.Certificate
	ASK  *x509.Certificate // issuer of VCEKs
	ASVK *x509.Certificate // issuer of VLEKs; nil: none are accepted
}

// AMD's own keys, each file ARK, ASK and ASVK, as published at
// https://kdsintf.amd.com/vcek/v1/<product>/cert_chain and .../vlek/v1/<product>/cert_chain.
// SHA-256 of the roots' DER:
//
//	Milan 69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd
//	Genoa 4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1
//	Turin 1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a
var (
	//go:embed roots/milan.pem
	milanPEM []byte
	//go:embed roots/genoa.pem
	genoaPEM []byte
	//go:embed roots/turin.pem
	turinPEM []byte
)

// AMD gives the product lines of AMD itself. To trust a private root beside them,
// append what [ParseProducts] reads.
func AMD() ([]Product, error) { return ParseProducts(milanPEM, genoaPEM, turinPEM) }

// ParseProducts reads product lines from PEM files, one line a file: its ARK, ASK and,
// where keys loaded by a cloud are accepted, ASVK, in any order and told apart by
// their names ("ARK-Milan", "SEV-Milan", "SEV-VLEK-Milan").
func ParseProducts(files ...[]byte) ([]Product, error) {
	var out []Product
	for i, text := range files {
		p, err := parseProduct(text)
		if err != nil {
			return nil, fmt.Errorf("product %d: %w", i, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func parseProduct(text []byte) (p Product, err error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != pemType {
			return p, fmt.Errorf("PEM of type %.32q, want %s", block.Type, pemType)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return p, err
		}
		if err := p.add(cert); err != nil {
			return p, err
		}
	}
	if strings.TrimSpace(string(text)) != "" {
		return p, errors.New("text that is no PEM")
	}
	return p, p.check()
}

// add puts cert where its name says.
func (p *Product) add(cert *x509.Certificate) error {
	name := cert.Subject.CommonName
	role, line := &p.ASK, strings.TrimPrefix(name, "SEV-")
	switch {
	case strings.HasPrefix(name, "ARK-"):
		role, line = &p.ARK, strings.TrimPrefix(name, "ARK-")
	case strings.HasPrefix(name, "SEV-VLEK-"):
		role, line = &p.ASVK, strings.TrimPrefix(name, "SEV-VLEK-")
	}
	if *role != nil || p.Name != "" && p.Name != line {
		return fmt.Errorf("%q: want the ARK, ASK and ASVK of one product, each once", name)
	}
	*role, p.Name = cert, line
	return nil
}

// check refuses a product whose certificates do not certify each other.
func (p *Product) check() error {
	if !slices.Contains([]string{Milan, Genoa, Turin}, p.Name) {
		return fmt.Errorf("product %.32q is none of %s, %s, %s", p.Name, Milan, Genoa, Turin)
	}
	if p.ARK == nil || p.ASK == nil {
		return fmt.Errorf("%s: ARK and ASK are both required", p.Name)
	}
	certs := []*x509.Certificate{p.ARK, p.ASK}
	if p.ASVK != nil {
		certs = append(certs, p.ASVK)
	}
	for _, c := range certs {
		if err := issued(p.ARK, c); err != nil {
			return fmt.Errorf("%s: %q by its ARK: %w", p.Name, c.Subject.CommonName, err)
		}
		if !c.IsCA {
			return fmt.Errorf("%s: %q is no CA", p.Name, c.Subject.CommonName)
		}
	}
	return nil
}

// issuer is the certificate that must have signed the leaf of a report.
func (p *Product) issuer(key SigningKey) *x509.Certificate {
	if key == VLEK {
		return p.ASVK
	}
	return p.ASK
}

// lineOf gives the product line of a CPU (KDS specification 57230, "Determining the
// Product Name"); "" when none has keys that this version knows.
func lineOf(family, model byte) string {
	switch {
	case family == 0x19 && model <= 0x0f:
		return Milan
	case family == 0x19 && model <= 0x1f, family == 0x19 && model >= 0xa0 && model <= 0xaf:
		return Genoa // A0h to AFh are Siena and Bergamo
	case family == 0x1a && model <= 0x1f:
		return Turin
	}
	return ""
}
