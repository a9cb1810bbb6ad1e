package endorser

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
)

// What this file reads only names a document. A document that lies about its name is
// refused by whoever inspects it.

// issuedAt is when a document says it was issued; zero when it does not say.
func issuedAt(doc *attest.Document) time.Time {
	if cert, err := x509.ParseCertificate(doc.Data); err == nil {
		return cert.NotBefore
	}
	if l, err := x509.ParseRevocationList(doc.Data); err == nil {
		return l.ThisUpdate
	}
	if f, err := statement(doc.Data); err == nil && f != nil {
		return f.issued
	}
	return time.Time{}
}

// addJSON reads an envelope of our own, a statement of Intel, or a bundle of dcap-qvl.
func (c *collector) addJSON(b []byte, path string) (known bool, err error) {
	var shape struct {
		Kind   string `json:"kind"`
		Data   string `json:"data"`
		Bundle string `json:"tcb_info"`
	}
	if json.Unmarshal(b, &shape) != nil {
		return false, nil
	}
	switch {
	case shape.Bundle != "":
		return true, c.addBundle(b, path)
	case shape.Kind != "" && shape.Data != "":
		need, doc, err := decodeEnvelope(b, maxFile)
		if err != nil {
			return true, err
		}
		c.keep(&found{need: need, doc: doc, issued: issuedAt(doc)})
		return true, nil
	}
	f, err := statement(b)
	if f != nil {
		c.keep(f)
	}
	return f != nil, err
}

// statement reads what Intel signs as JSON: {"tcbInfo": {…}, "signature": "<hex>"} or
// {"enclaveIdentity": …}. Nil when b is neither.
func statement(b []byte) (*found, error) {
	var v struct {
		TCB       jsontext.Value `json:"tcbInfo"`
		Enclave   jsontext.Value `json:"enclaveIdentity"`
		Signature string         `json:"signature"`
	}
	if err := json.Unmarshal(b, &v); err != nil || v.TCB == nil && v.Enclave == nil {
		return nil, nil // it is something else
	}
	body := v.TCB
	if body == nil {
		body = v.Enclave
	}
	var said struct {
		ID     string    `json:"id"`
		FMSPC  string    `json:"fmspc"`
		Issued time.Time `json:"issueDate"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return nil, err
	}
	f := &found{doc: &attest.Document{Data: b}, issued: said.Issued, signed: func(c *x509.Certificate) bool { return signedRaw(c, body, v.Signature) }}
	switch {
	case v.TCB == nil && said.ID == "TD_QE":
		f.need = attest.Need{Kind: attest.NeedIntelQE, ID: "tdx"}
	case v.TCB == nil && said.ID == "QE":
		f.need = attest.Need{Kind: attest.NeedIntelQE, ID: "sgx"}
	case v.TCB != nil && (said.ID == "TDX" || said.ID == "SGX"):
		f.need = attest.Need{Kind: attest.NeedIntelTCB, ID: strings.ToLower(said.ID + "/" + said.FMSPC)}
	default:
		return nil, nil // the identity of another enclave, or a version without "id"
	}
	return f, nil
}

// signedRaw verifies r and s, 32 bytes each, over body.
func signedRaw(c *x509.Certificate, body []byte, signature string) bool {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	sig, err := hex.DecodeString(signature)
	if !ok || err != nil || len(sig) != 64 {
		return false
	}
	sum := sha256.Sum256(body)
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}

// revocationList names a CRL by its issuer; nil when der is none that is known.
func revocationList(der []byte, path string) *found {
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil
	}
	f := &found{doc: &attest.Document{Data: der}, issued: l.ThisUpdate}
	switch name := l.Issuer.CommonName; name {
	case "Intel SGX Root CA":
		f.need.Kind = attest.NeedIntelRootCRL
		return f
	case "Intel SGX PCK Platform CA":
		f.need = attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "platform"}
	case "Intel SGX PCK Processor CA":
		f.need = attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "processor"}
	default:
		line, ok := strings.CutPrefix(name, "ARK-")
		if !ok {
			return nil
		}
		key := "vcek/"
		if strings.Contains(strings.ToLower(path), "vlek") {
			key = "vlek/"
		}
		f.need = attest.Need{Kind: attest.NeedAMDCRL, ID: key + line}
		return f
	}
	f.signed = func(c *x509.Certificate) bool { return l.CheckSignatureFrom(c) == nil }
	return f
}

// chipCert names a VCEK by what it says (KDS specification 57230, table 8); nil when c
// is another certificate.
func chipCert(c *x509.Certificate) *found {
	if c.Subject.CommonName != "SEV-VCEK" {
		return nil
	}
	spl := map[string]int{}
	var product string
	var hwid []byte
	for _, e := range c.Extensions {
		rest, ok := strings.CutPrefix(e.Id.String(), "1.3.6.1.4.1.3704.1.")
		if !ok {
			continue
		}
		var n int
		switch _, err := asn1.Unmarshal(e.Value, &n); {
		case rest == "4":
			hwid = e.Value
		case rest == "2":
			_, _ = asn1.UnmarshalWithParams(e.Value, &product, "ia5")
		case err == nil:
			spl[rest] = n
		}
	}
	line, _, _ := strings.Cut(product, "-")
	id := fmt.Sprintf("%s/%x?", line, hwid)
	if line == "Turin" {
		id += fmt.Sprintf("fmcSPL=%02d&", spl["3.9"])
	}
	id += fmt.Sprintf("blSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", spl["3.1"], spl["3.2"], spl["3.3"], spl["3.8"])
	return &found{need: attest.Need{Kind: attest.NeedAMDVCEK, ID: id}, doc: &attest.Document{Data: c.Raw}, issued: c.NotBefore}
}

// addBundle reads the collateral of one platform as dcap-qvl writes it: statements as
// text beside their signatures, CRLs in hex, chains in PEM.
func (c *collector) addBundle(b []byte, path string) error {
	var v struct {
		PCKChain string `json:"pck_crl_issuer_chain"`
		RootCRL  string `json:"root_ca_crl"`
		PCKCRL   string `json:"pck_crl"`
		TCBChain string `json:"tcb_info_issuer_chain"`
		TCB      string `json:"tcb_info"`
		TCBSig   string `json:"tcb_info_signature"`
		QEChain  string `json:"qe_identity_issuer_chain"`
		QE       string `json:"qe_identity"`
		QESig    string `json:"qe_identity_signature"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	for _, s := range []struct{ member, body, sig, chain string }{
		{"tcbInfo", v.TCB, v.TCBSig, v.TCBChain}, {"enclaveIdentity", v.QE, v.QESig, v.QEChain},
	} {
		f, err := statement(fmt.Appendf(nil, `{%q:%s,"signature":%q}`, s.member, s.body, s.sig))
		if err != nil || f == nil {
			return fmt.Errorf("%s cannot be read: %w", s.member, cmp.Or(err, errNotCollateral))
		}
		if f.doc.Chain, err = cleanChain([]byte(s.chain)); err != nil {
			return fmt.Errorf("%s: %w", s.member, err)
		}
		c.keep(f)
	}
	for _, s := range []struct{ member, der, chain string }{{"root_ca_crl", v.RootCRL, ""}, {"pck_crl", v.PCKCRL, v.PCKChain}} {
		f := revocationList(fromHex([]byte(s.der)), path)
		if f == nil {
			return fmt.Errorf("%s is no CRL of Intel", s.member)
		}
		if s.chain != "" {
			chain, err := cleanChain([]byte(s.chain))
			if err != nil {
				return fmt.Errorf("%s: %w", s.member, err)
			}
			f.doc.Chain = chain
		}
		c.keep(f)
	}
	return nil
}
