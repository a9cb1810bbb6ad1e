package main

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/openskr/openskr/attest"
	azure "github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/dcap"
	gce "github.com/openskr/openskr/attest/gce/format"
	nitro "github.com/openskr/openskr/attest/nitro/format"
	sgx "github.com/openskr/openskr/attest/sgx/format"
	snp "github.com/openskr/openskr/attest/snp/format"
	tdx "github.com/openskr/openskr/attest/tdx/format"
	token "github.com/openskr/openskr/attest/token/format"
	tpm "github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/strict"
)

// evidenceFiles says which raw files each type is made of.
func evidenceFiles() map[attest.Type][]string {
	tpmFiles := []string{"attestation", "quote", "signature", "ak", "pcrs", "eventlog", "ak-cert"}
	return map[attest.Type][]string{
		attest.TypeTPM:      append([]string{"ak-roots"}, tpmFiles...),
		attest.TypeSNP:      {"report", "endorsement"},
		attest.TypeTDX:      {"quote", "ccel"},
		attest.TypeSGX:      {"quote"},
		attest.TypeAzureCVM: {"hcl", "quote", "signature", "pcrs", "eventlog", "td-quote", "ak-cert", "endorsement"},
		attest.TypeNitro:    {"document"},
		attest.TypeGCE:      append([]string{"report", "td-quote", "endorsement"}, tpmFiles...),
		attest.TypeToken:    {"token", "jwks"},
		typeCCA:             {"token", "document", "report"},
		typeNVGPU:           {"report", "endorsement"},
	}
}

// Types that other verifiers know and this version refuses by name.
const (
	typeCCA   attest.Type = "cca"
	typeNVGPU attest.Type = "nvgpu"
)

// fits refuses a type that does not exist, and files that are not part of it.
func (f *evidenceFlags) fits(fl *pflag.FlagSet) (err error) {
	files := evidenceFiles()
	own, ok := files[attest.Type(f.typ)]
	if !ok && (f.typ != "" || f.body == "") {
		return usagef("--type %q: want tpm, snp, tdx, sgx, azure-cvm, nitro, gce or token", f.typ)
	}
	fl.Visit(func(g *pflag.Flag) {
		part := false
		for _, names := range files {
			part = part || slices.Contains(names, g.Name)
		}
		switch {
		case err != nil:
		case g.Value.Type() == "string" && g.Value.String() == "": // an unset variable of a script must not turn a check off
			err = usagef("--%s is empty", g.Name)
		case !part:
		case f.body != "" && !slices.Contains([]string{"ak-cert", "ak-roots", "jwks", "endorsement"}, g.Name):
			err = usagef("--evidence holds everything: do not give --%s too", g.Name)
		case f.typ != "" && !slices.Contains(own, g.Name):
			err = usagef("--%s is not part of evidence of type %s", g.Name, f.typ)
		}
	})
	return err
}

// trusts refuses what verifying evidence of type t would not look at.
func (f *evidenceFlags) trusts(t attest.Type) error {
	quoted := []attest.Type{attest.TypeSNP, attest.TypeTDX, attest.TypeSGX, attest.TypeGCE}
	for _, g := range []struct {
		name  string
		given bool
		types []attest.Type
	}{
		{"root", len(f.roots) > 0, append(quoted, attest.TypeNitro, attest.TypeAzureCVM)},
		{"collateral", len(f.collateral) > 0, append(quoted, attest.TypeAzureCVM)},
		{"ak-roots", f.akRoots != "", []attest.Type{attest.TypeTPM}},
		{"jwks", f.jwks != "", []attest.Type{attest.TypeToken}},
	} {
		if g.given && !slices.Contains(g.types, t) {
			return usagef("--%s says nothing about evidence of type %.32q", g.name, t)
		}
	}
	return nil
}

// parts makes the body of ev, whose type is not tpm, from raw files.
func (a *app) parts(f *evidenceFlags, ev *attest.Evidence) error {
	var body any
	var err error
	switch ev.Type {
	case attest.TypeSNP:
		b := snp.Evidence{Type: ev.Type}
		err, body = a.files(rawFile{"report", f.report, &b.Report, true}), &b
	case attest.TypeTDX:
		b := tdx.Evidence{Type: ev.Type}
		err, body = a.files(rawFile{"quote", f.quote, &b.Quote, true}, rawFile{"ccel", f.ccel, &b.EventLog, false}), &b
		b.Quote, b.EventLog = dcap.TrimQuote(b.Quote), tdx.TrimCCEL(b.EventLog)
	case attest.TypeSGX:
		b := sgx.Evidence{Type: ev.Type}
		err, body = a.files(rawFile{"quote", f.quote, &b.Quote, true}), &b
		b.Quote = dcap.TrimQuote(b.Quote)
	case attest.TypeNitro:
		b := nitro.Evidence{Type: ev.Type}
		err, body = a.files(rawFile{"document", f.document, &b.Document, true}), &b
	case attest.TypeAzureCVM:
		if body, err = a.azureParts(f); err == nil && f.akCert != "" {
			err = a.readAKCert(f.akCert, ev)
		}
	case attest.TypeGCE:
		body, err = a.gceParts(f, ev)
	case attest.TypeToken:
		var text attest.Bytes
		err = a.files(rawFile{"token", f.token, &text, true})
		body = token.Evidence{Type: ev.Type, Token: strings.TrimSpace(string(text))}
	}
	if err == nil {
		ev.Body, err = strict.Marshal(body)
	}
	return err
}

// isText says whether b is printable to its last byte, as no report, quote, log,
// signature or document is.
func isText(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\r' && r != '\t' })
}

// rawFile is one file of evidence.
type rawFile struct {
	flag, path string
	into       *attest.Bytes
	required   bool
}

func (a *app) files(list ...rawFile) (err error) {
	for _, f := range list {
		switch {
		case f.path != "":
			if *f.into, err = a.input(f.path); err != nil {
				return err
			}
			if len(*f.into) == 0 {
				return unreadable(fmt.Errorf("--%s %s is empty", f.flag, f.path))
			}
			if isText(*f.into) && f.flag != "pcrs" && f.flag != "token" {
				return unreadable(fmt.Errorf("--%s %s is text: give the bytes themselves, without hex, base64 or JSON around them", f.flag, f.path))
			}
		case f.required:
			return usagef("--%s FILE is missing", f.flag)
		}
	}
	return nil
}

func (a *app) azureParts(f *evidenceFlags) (*azure.Evidence, error) {
	b := &azure.Evidence{Type: attest.TypeAzureCVM, TPM: tpm.Evidence{Type: attest.TypeTPM}}
	quoted := f.quote != "" || f.signature != ""
	var pcrs attest.Bytes
	if err := a.files(
		rawFile{"hcl", f.hcl, &b.HCL, true}, rawFile{"quote", f.quote, &b.TPM.Quote, quoted}, rawFile{"signature", f.signature, &b.TPM.Signature, quoted},
		rawFile{"pcrs", f.pcrs, &pcrs, false}, rawFile{"eventlog", f.log, &b.TPM.EventLog, false}, rawFile{"td-quote", f.tdQuote, &b.TDQuote, false},
	); err != nil {
		return nil, err
	}
	b.TPM.Quote, b.TPM.Signature = unwrap2B(b.TPM.Quote), tpmtSignature(b.TPM.Signature)
	b.TDQuote = dcap.TrimQuote(b.TDQuote)
	if pcrs != nil {
		var err error
		if b.TPM.PCRs, err = readPCRs(pcrs); err != nil {
			return nil, unreadable(fmt.Errorf("--pcrs %s: %w", f.pcrs, err))
		}
	}
	return b, nil
}

// tpmtSignature puts the header of a TPMT_SIGNATURE before a bare RSA signature, as
// Azure's clients keep it: RSASSA with SHA-256, the scheme of that AK.
func tpmtSignature(b []byte) []byte {
	if len(b) != 256 && len(b) != 384 && len(b) != 512 {
		return b
	}
	return append([]byte{0, 0x14, 0, 0x0b, byte(len(b) >> 8), byte(len(b))}, b...)
}

func (a *app) gceParts(f *evidenceFlags, ev *attest.Evidence) (*gce.Evidence, error) {
	b := &gce.Evidence{Type: attest.TypeGCE}
	if err := a.files(rawFile{"report", f.report, &b.SNPReport, false}, rawFile{"td-quote", f.tdQuote, &b.TDXQuote, false}); err != nil {
		return nil, err
	}
	part := attest.Evidence{Type: attest.TypeTPM}
	read := a.readParts
	if f.attestation != "" {
		read = func(f *evidenceFlags, ev *attest.Evidence) error { return a.readAttestation(f.attestation, ev) }
	}
	if err := read(f, &part); err != nil {
		return nil, err
	}
	ev.Endorsements = append(ev.Endorsements, part.Endorsements...)
	return b, strict.Unmarshal(part.Body, len(part.Body), &b.TPM)
}

// certificateTable says whether the first entry of b (GUID, offset, length) leads to
// something in b.
func certificateTable(b []byte) bool {
	const entry = 16 + 4 + 4
	if len(b) < 2*entry {
		return false
	}
	offset, length := uint64(binary.LittleEndian.Uint32(b[16:])), uint64(binary.LittleEndian.Uint32(b[20:]))
	return offset >= 2*entry && length > 0 && offset+length <= uint64(len(b))
}

// hasPEM says whether there is a block of PEM in b: its first line has to be one of b,
// which it is not in JSON.
func hasPEM(b []byte) bool {
	block, _ := pem.Decode(b)
	return block != nil
}

// readEndorsements reads certificates of the hardware.
func (a *app) readEndorsements(paths []string, ev *attest.Evidence) error {
	for _, p := range paths {
		b, err := a.input(p)
		if err != nil {
			return err
		}
		kind := attest.EndorsementCertificate
		switch {
		case bytes.HasPrefix(b, []byte{0x30}):
		case certificateTable(b): // which may hold PEM
			kind = attest.EndorsementCertificateTable
		case hasPEM(b):
		default:
			return unreadable(fmt.Errorf("--endorsement %s is neither a certificate, PEM or DER, nor the certificate table of a SEV-SNP host", p))
		}
		ev.Endorsements = append(ev.Endorsements, attest.Endorsement{Type: kind, Data: b})
	}
	return nil
}
