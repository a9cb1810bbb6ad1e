package main

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/openskr/openskr/attest"
	azure "github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/strict"
)

// readEvidence makes evidence of files.
func (a *app) readEvidence(f *evidenceFlags) (attest.Evidence, attest.Expect, error) {
	ev := attest.Evidence{Type: attest.Type(f.typ)}
	want, runtimeData, err := a.expectation(f)
	if err != nil {
		return ev, want, err
	}
	ev.RuntimeData = runtimeData
	parts := f.quote + f.signature + f.ak + f.pcrs + f.log
	switch {
	case (f.attestation != "" || f.body != "") && parts != "" || f.attestation != "" && f.body+f.akCert != "":
		return ev, want, usagef("--attestation and --evidence hold everything: do not give parts too")
	case f.body != "":
		err = a.readEnvelope(f, &ev)
	case ev.Type != attest.TypeTPM:
		err = a.parts(f, &ev)
	case f.attestation != "":
		err = a.readAttestation(f.attestation, &ev)
	default:
		err = a.readParts(f, &ev)
	}
	if err == nil {
		err = a.readEndorsements(f.endorsements, &ev)
	}
	return ev, want, err
}

// readParts reads the files of tpm2-tools or of `openskr-agent evidence`.
func (a *app) readParts(f *evidenceFlags, ev *attest.Evidence) error {
	body := format.Evidence{Type: attest.TypeTPM}
	var pcrs []byte
	for _, p := range []struct {
		flag, path string
		into       *[]byte
	}{
		{"--quote", f.quote, (*[]byte)(&body.Quote)},
		{"--signature", f.signature, (*[]byte)(&body.Signature)},
		{"--ak", f.ak, (*[]byte)(&body.AK)},
		{"--pcrs", f.pcrs, &pcrs},
	} {
		if p.path == "" {
			return usagef("%s FILE is missing (or give --attestation)", p.flag)
		}
		var err error
		if *p.into, err = a.input(p.path); err != nil {
			return err
		}
	}
	body.Quote, body.AK = unwrap2B(body.Quote), unwrap2B(body.AK)
	if bytes.HasPrefix(body.AK, []byte("-----BEGIN")) {
		return usagef("--ak %s is PEM, which does not say what the key may do: give the TPM public area (tpm2_readpublic -f tss)", f.ak)
	}
	var err error
	if body.PCRs, err = readPCRs(pcrs); err != nil {
		return unreadable(fmt.Errorf("--pcrs %s: %w", f.pcrs, err))
	}
	if f.log != "" {
		if body.EventLog, err = a.input(f.log); err != nil {
			return err
		}
	}
	if f.akCert != "" {
		if err := a.readAKCert(f.akCert, ev); err != nil {
			return err
		}
	}
	ev.Body, err = strict.Marshal(body)
	return err
}

// readAKCert puts the certificate, PEM or DER, in the place of the one that ev has. The
// NV index of an Azure vTPM may be longer than what it holds.
func (a *app) readAKCert(path string, ev *attest.Evidence) error {
	b, err := a.input(path)
	if err != nil {
		return err
	}
	var cert *x509.Certificate
	if block, rest := pem.Decode(b); block == nil {
		cert, err = azure.ParseAKCertificate(b)
	} else if cert, err = x509.ParseCertificate(block.Bytes); len(bytes.TrimSpace(rest)) > 0 {
		err = errors.New("more than one PEM block")
	}
	if err != nil {
		return usagef("--ak-cert %s: want one certificate: %v", path, err)
	}
	ev.Endorsements = slices.DeleteFunc(ev.Endorsements, func(e attest.Endorsement) bool { return e.Type == attest.EndorsementAKCertificate })
	ev.Endorsements = append(ev.Endorsements, attest.Endorsement{Type: attest.EndorsementAKCertificate, Data: cert.Raw})
	return nil
}

// readAttestation reads the protobuf of go-tpm-tools.
func (a *app) readAttestation(path string, ev *attest.Evidence) error {
	b, err := a.input(path)
	if err != nil {
		return err
	}
	got, err := tpm.FromAttestation(b)
	if err != nil {
		return unreadable(fmt.Errorf("--attestation %s: %w", path, err))
	}
	ev.Body, ev.Endorsements = got.Body, got.Endorsements
	return nil
}

// unwrap2B takes the length off a TPM2B as tpm2-tools writes it. A TPMS_ATTEST
// starts with 0xff54 and a TPMT_PUBLIC with a small number: neither can be its
// own length.
func unwrap2B(b []byte) []byte {
	if len(b) > 2 && int(binary.BigEndian.Uint16(b)) == len(b)-2 {
		return b[2:]
	}
	return b
}

// readPCRs reads PCR values: JSON with hex, 24 lines of hex, or the binary form of
// tpm2_quote -o.
func readPCRs(b []byte) (map[string]map[string]attest.Bytes, error) {
	if out := linePCRs(b); out != nil {
		return out, nil
	}
	if !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) {
		return toolsPCRs(b)
	}
	var in map[string]map[string]string
	if err := strict.Unmarshal(b, maxTrust, &in); err != nil {
		return nil, err
	}
	out := map[string]map[string]attest.Bytes{}
	for bank, values := range in {
		out[bank] = map[string]attest.Bytes{}
		for i, v := range values {
			raw, err := hex.DecodeString(v)
			if err != nil {
				return nil, fmt.Errorf("PCR %s: want hex", i)
			}
			out[bank][i] = raw
		}
	}
	return out, nil
}

// linePCRs reads one line of hex for each of PCR 0 to 23; nil when b is not that.
func linePCRs(b []byte) map[string]map[string]attest.Bytes {
	values := map[string]attest.Bytes{}
	for i, line := range bytes.Fields(b) {
		raw, err := hex.DecodeString(string(line))
		if err != nil || i > 23 {
			return nil
		}
		values[strconv.Itoa(i)] = raw
	}
	if len(values) != 24 {
		return nil
	}
	bank := map[int]string{32: "sha256", 48: "sha384"}[len(values["0"])]
	return map[string]map[string]attest.Bytes{bank: values}
}

// Sizes of the serialized form of tpm2_quote -o (tpm2-tools, lib/pcr.c): C
// structures in little endian, padded to their full capacity.
const (
	toolsSelections = 4 + 16*8 // TPML_PCR_SELECTION
	toolsDigests    = 4 + 8*66 // TPML_DIGEST: eight TPM2B_DIGEST of 64 bytes
	toolsMaxLists   = 16 * 24 / 8
)

var toolsBanks = map[uint16]string{0x0004: "sha1", 0x000b: "sha256", 0x000c: "sha384", 0x000d: "sha512"}

// toolsPCRs reads that form: which PCRs of which bank, then their values.
func toolsPCRs(b []byte) (map[string]map[string]attest.Bytes, error) {
	bad := errors.New("neither JSON nor the serialized form of tpm2_quote -o")
	if len(b) < toolsSelections+4 {
		return nil, bad
	}
	le := binary.LittleEndian
	banks, lists := le.Uint32(b), le.Uint32(b[toolsSelections:])
	if banks == 0 || banks > 16 || lists == 0 || lists > toolsMaxLists || len(b) != toolsSelections+4+int(lists)*toolsDigests {
		return nil, bad
	}
	values := toolsValues(b[toolsSelections+4:])
	out := map[string]map[string]attest.Bytes{}
	for i := range int(banks) {
		s := b[4+8*i:]
		name, ok := toolsBanks[le.Uint16(s)]
		if !ok || s[2] > 4 || out[name] != nil {
			return nil, bad
		}
		bank := map[string]attest.Bytes{}
		for pcr := range int(s[2]) * 8 {
			if s[3+pcr/8]&(1<<(pcr%8)) == 0 {
				continue
			}
			if len(values) == 0 {
				return nil, errors.New("fewer values than PCRs selected")
			}
			bank[strconv.Itoa(pcr)], values = values[0], values[1:]
		}
		if len(bank) > 0 {
			out[name] = bank
		}
	}
	if len(values) > 0 {
		return nil, errors.New("more values than PCRs selected")
	}
	return out, nil
}

func toolsValues(b []byte) []attest.Bytes {
	var out []attest.Bytes
	le := binary.LittleEndian
	for ; len(b) >= toolsDigests; b = b[toolsDigests:] {
		for i := range min(int(le.Uint32(b)), 8) {
			d := b[4+66*i:]
			out = append(out, d[2:2+min(int(le.Uint16(d)), 64)])
		}
	}
	return out
}

// trustRoots are the certificates of --ak-roots.
type trustRoots struct {
	roots, intermediates []*x509.Certificate
}

// readRoots reads a file, or every file of a folder.
func (a *app) readRoots(path string) (*trustRoots, error) {
	t := &trustRoots{}
	if path == "" {
		return t, nil
	}
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		certs, err := certificates(b)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		for _, c := range certs {
			if bytes.Equal(c.RawIssuer, c.RawSubject) {
				t.roots = append(t.roots, c)
			} else {
				t.intermediates = append(t.intermediates, c)
			}
		}
		return nil
	})
	if err != nil {
		return nil, unreadable(err)
	}
	if len(t.roots) == 0 {
		return nil, usagef("--ak-roots %s: no self-signed CA certificate there", path)
	}
	return t, nil
}

// oidAKName is the extension of AK certificates that an OpenSKR enrolment issues
// (package attest/tpm).
var oidAKName = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 2, 1}

// config trusts the roots: for a certificate of an OpenSKR enrolment as its AK
// CA, with the stricter profile, for any other as an external authority.
func (t *trustRoots) config(ends []attest.Endorsement) tpm.Config {
	if len(t.roots) == 0 {
		return tpm.Config{AllowUncertifiedAK: true}
	}
	for _, e := range ends {
		c, err := x509.ParseCertificate(e.Data)
		if err == nil && slices.ContainsFunc(c.Extensions, func(x pkix.Extension) bool { return x.Id.Equal(oidAKName) }) {
			return tpm.Config{AKRoots: t.roots}
		}
	}
	return tpm.Config{ExternalRoots: t.roots, ExternalIntermediates: t.intermediates}
}

// certificates reads one or more, PEM or DER.
func certificates(b []byte) ([]*x509.Certificate, error) {
	block, rest := pem.Decode(b)
	if block == nil {
		return x509.ParseCertificates(b)
	}
	var out []*x509.Certificate
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %.32q is not a certificate", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
