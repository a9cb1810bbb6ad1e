package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openskr/openskr/attest"
)

func newEvidenceCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "evidence", Short: "Verify evidence from files, offline"})
	cmd.AddCommand(newEvidenceVerifyCmd(a))
	return cmd
}

// evidenceFlags are those of `evidence verify`.
type evidenceFlags struct {
	typ                                              string
	body                                             string // --evidence
	attestation, quote, signature, ak, akCert        string
	log, pcrs, report, ccel, hcl, tdQuote            string
	document, token, jwks                            string
	endorsements, collateral, roots                  []string
	akRoots, at, nonce, runtimeData, simulation      string
	chain, freshness, binding, revoked, resides, tcb bool
}

// verification is what `evidence verify` prints. Each status is checked,
// not_checked or unknown.
type verification struct {
	Verified   bool             `json:"verified"`
	Check      attest.Check     `json:"check"` // that refused, "" when none did
	Message    string           `json:"message,omitempty"`
	Expected   string           `json:"expected,omitempty"`
	Got        string           `json:"got,omitempty"`
	Type       attest.Type      `json:"type"`
	At         string           `json:"at"`
	Authority  string           `json:"authority,omitempty"`
	Identity   *attest.Identity `json:"identity,omitempty"`
	Signature  attest.Status    `json:"signature,omitempty"`
	Chain      attest.Status    `json:"chain,omitempty"`
	Freshness  attest.Status    `json:"freshness,omitempty"`
	Binding    attest.Status    `json:"binding,omitempty"`
	Residency  attest.Status    `json:"residency,omitempty"`
	Revocation attest.Status    `json:"revocation,omitempty"`
	TCB        attest.Status    `json:"tcb,omitempty"`
	TCBStatus  string           `json:"tcb_status,omitempty"` // Intel's word, or unknown
	Recipient  json.RawMessage  `json:"recipient,omitempty"`
	Claims     attest.Claims    `json:"claims,omitempty"`
}

func newEvidenceVerifyCmd(a *app) *cobra.Command {
	var f evidenceFlags
	cmd := &cobra.Command{
		Use: "verify", Short: "Verify evidence from files and print its claims", Args: exactArgs(),
		Long: `Verifies evidence without a broker, configuration or network, and prints one JSON
object: verified, the check that refused, what was checked, and the claims.

Evidence is one FILE of ` + "`openskr-agent evidence`" + ` (--evidence), or raw files by type:

  tpm        --quote --signature --ak --pcrs [--eventlog] [--ak-cert], or --attestation
  snp        --report --endorsement…
  tdx        --quote [--ccel] [--collateral…]
  sgx        --quote [--collateral…]
  azure-cvm  --hcl [--quote --signature] [--pcrs] [--eventlog] [--td-quote] [--ak-cert] [--endorsement…]
  nitro      --document
  gce        as tpm, with [--report | --td-quote] and [--endorsement…]
  token      --token --jwks

Signature and chain always have to verify, and debug is always refused; a TPM's chain is
checked when --ak-roots is given. Freshness is checked when --nonce or --runtime-data is;
binding to a recipient when --runtime-data is; revocation and TCB when --collateral is,
which then has to hold all of it: the CRLs, and for TDX and SGX TCB info and QE identity.
What has no input is printed as not_checked or unknown, and refuses only with its
--require flag.

Files hold the bytes themselves, without hex, base64 or JSON around them.
Quote, signature and AK of a TPM may be raw structures or as tpm2-tools writes them
(tpm2_quote -m, -s; tpm2_createak -u). --pcrs is {"sha256":{"0":"<hex>",…}}, one line of
hex for each of PCR 0 to 23, or what tpm2_quote -o writes. --endorsement takes PEM or
DER certificates in any order, or the certificate table of a SEV-SNP host; also those
between --ak-cert and its root, where this program has no copy of them. --collateral
takes files or folders: what ` + "`openskr collateral fetch`" + ` wrote, or answers of the vendors.

Evidence of simulated hardware (openskr simulate) proves nothing to anyone but a
simulation; it is verified with --simulation, under roots made of that seed.`,
		Example: `  openskr evidence verify --type tpm --attestation attestation.pb --nonce 9009
  openskr evidence verify --type snp --report report.bin --endorsement vcek.der
  openskr evidence verify --type tdx --quote quote.bin --collateral collateral/ --require-tcb`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.fits(cmd.Flags()); err != nil {
				return err
			}
			return a.verifyEvidence(cmd.Context(), &f)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *evidenceFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.typ, "type", "", "`TYPE` of evidence: tpm, snp, tdx, sgx, azure-cvm, nitro, gce or token")
	fl.StringVar(&f.body, "evidence", "", "`FILE` that `openskr-agent evidence` printed, instead of raw files")
	fl.StringVar(&f.attestation, "attestation", "", "`FILE` of go-tpm-tools (protobuf), instead of the TPM's files")
	fl.StringVar(&f.quote, "quote", "", "`FILE` with the quote, of a TPM or of TDX or SGX")
	fl.StringVar(&f.signature, "signature", "", "`FILE` with the TPM quote's signature")
	fl.StringVar(&f.ak, "ak", "", "`FILE` with the AK's public area")
	fl.StringVar(&f.pcrs, "pcrs", "", "`FILE` with the quoted PCR values")
	fl.StringVar(&f.log, "eventlog", "", "`FILE` with the event log, for claims about the boot")
	fl.StringVar(&f.akCert, "ak-cert", "", "`FILE` with the AK's certificate, PEM or DER")
	fl.StringVar(&f.akRoots, "ak-roots", "", "`DIR` (or file) of CA certificates the AK's certificate must chain to")
	fl.StringVar(&f.report, "report", "", "`FILE` with the SEV-SNP report")
	fl.StringVar(&f.ccel, "ccel", "", "`FILE` with the event log of a TD (CCEL data)")
	fl.StringVar(&f.hcl, "hcl", "", "`FILE` with NV index 0x01400001 of an Azure vTPM")
	fl.StringVar(&f.tdQuote, "td-quote", "", "`FILE` with the TD quote beside a TPM's quote")
	fl.StringVar(&f.document, "document", "", "`FILE` with the Nitro attestation document")
	fl.StringVar(&f.token, "token", "", "`FILE` with the token, a compact JWS")
	fl.StringVar(&f.jwks, "jwks", "", "`FILE` with the issuer's keys, a JWK set")
	fl.StringArrayVar(&f.endorsements, "endorsement", nil, "`FILE` with certificates of the hardware (repeatable)")
	fl.StringArrayVar(&f.collateral, "collateral", nil, "`FILE` or folder with CRLs, TCB info, QE identity (repeatable)")
	fl.StringArrayVar(&f.roots, "root", nil, "`FILE` with a CA certificate to trust besides the vendor's own (repeatable)")
	fl.StringVar(&f.at, "at", "", "judge certificates at this `TIME` (RFC 3339; default now)")
	fl.StringVar(&f.nonce, "nonce", "", "`HEX` that the hardware must have signed: extraData of a TPM, report data (zeros may be left out), nonce")
	fl.StringVar(&f.runtimeData, "runtime-data", "", "`FILE` whose SHA-256 the hardware must have signed")
	fl.StringVar(&f.simulation, "simulation", "", "seed `FILE` of a deployment's simulated hardware, for evidence of type simulated-…")
	fl.BoolVar(&f.chain, "require-chain", false, "refuse when the chain is not checked")
	fl.BoolVar(&f.freshness, "require-freshness", false, "refuse when freshness is not checked")
	fl.BoolVar(&f.binding, "require-binding", false, "refuse when binding to a recipient is not checked")
	fl.BoolVar(&f.resides, "require-residency", false, "refuse when the recipient key is not proven to live in the TPM")
	fl.BoolVar(&f.revoked, "require-revocation", false, "refuse when revocation is not checked")
	fl.BoolVar(&f.tcb, "require-tcb", false, "refuse when the TCB status is unknown")
}

func (a *app) verifyEvidence(ctx context.Context, f *evidenceFlags) error {
	ev, want, err := a.readEvidence(f)
	if err != nil {
		return err
	}
	v, err := a.offlineVerifier(f, &ev)
	if err != nil {
		return err
	}
	res, err := judge(ctx, v, ev, want, f.akRoots != "")
	out := verification{Type: ev.Type, At: want.At.UTC().Format(time.RFC3339)}
	if err == nil {
		out.fill(res, want)
		err = f.require(&out)
	}
	if err != nil {
		out.refuse(err)
	}
	if err := a.printVerification(&out); err != nil {
		return err
	}
	return refused(err)
}

// judge verifies ev, whose AK must have a certificate when certified is set.
func judge(ctx context.Context, v attest.Verifier, ev attest.Evidence, want attest.Expect, certified bool) (*attest.Result, error) {
	if certified && len(ev.Endorsements) == 0 {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "no certificate of the AK to hold against --ak-roots: give --ak-cert FILE (openskr-agent keeps it as ak-certificate.der in its --state folder)")
	}
	return attest.Set{ev.Type: v}.Verify(ctx, ev, want)
}

// expectation is what the quote is held against.
func (a *app) expectation(f *evidenceFlags) (attest.Expect, []byte, error) {
	want := attest.Expect{At: time.Now()}
	if f.at != "" {
		t, err := time.Parse(time.RFC3339, f.at)
		if err != nil {
			return want, nil, usagef("--at %q: want a time like 2027-01-31T00:00:00Z", f.at)
		}
		want.At = t
	}
	switch {
	case f.nonce != "" && f.runtimeData != "":
		return want, nil, usagef("--nonce and --runtime-data both say what the quote covers: give one")
	case f.nonce != "":
		b, err := hex.DecodeString(f.nonce)
		if err != nil || len(b) == 0 {
			return want, nil, usagef("--nonce %q: want hex", f.nonce)
		}
		want.SignedData = b
	case f.runtimeData != "":
		b, err := a.input(f.runtimeData)
		return want, b, err
	default:
		want.Unbound = true
	}
	return want, nil, nil
}

func status(ok bool) attest.Status {
	if ok {
		return attest.Checked
	}
	return attest.NotChecked
}

func (v *verification) fill(res *attest.Result, want attest.Expect) {
	v.Verified, v.Authority, v.Identity, v.Claims = true, res.Authority, &res.Identity, res.Claims
	v.Signature, v.Chain = status(res.Facts.Signature), status(res.Facts.Chain)
	v.Freshness, v.Binding = status(!want.Unbound), status(res.Facts.Bound && res.Facts.Recipient)
	v.Residency, v.Revocation, v.TCBStatus = status(res.Facts.Resident), res.Facts.Revocation, res.Facts.TCBStatus
	switch v.TCBStatus {
	case "":
		v.TCB = attest.NotChecked
	case attest.TCBUnknown:
		v.TCB = attest.Unknown
	default:
		v.TCB = attest.Checked
	}
	v.Recipient = res.Recipient
}

// require refuses what a --require flag asks for and nothing proved.
func (f *evidenceFlags) require(v *verification) error {
	tcb := "this type of evidence has no TCB status: compare the levels in its claims"
	if v.TCB == attest.Unknown {
		tcb = "the TCB status is unknown: give TCB info and QE identity with --collateral"
	}
	for _, r := range []struct {
		asked bool
		got   attest.Status
		check attest.Check
		need  string
	}{
		{f.chain, v.Chain, attest.CheckAKNotTrusted, "the AK's chain is not checked: give --ak-roots and a certificate"},
		{f.freshness, v.Freshness, attest.CheckReportData, "freshness is not checked: give --nonce or --runtime-data"},
		{f.binding, v.Binding, attest.CheckNoRecipient, "binding to a recipient is not checked: give --runtime-data"},
		{f.resides, v.Residency, attest.CheckRecipientUnbound, "the recipient key is not proven to live in the TPM"},
		{f.revoked, v.Revocation, attest.CheckCertRevoked, "revocation is not checked: give the CRLs with --collateral"},
		{f.tcb, v.TCB, attest.CheckTCBUnknown, tcb},
	} {
		if r.asked && r.got != attest.Checked {
			return attest.Reject(r.check, "%s", r.need)
		}
	}
	return nil
}

// refuse turns v into a refusal: no claim of evidence that is refused is printed.
func (v *verification) refuse(err error) {
	*v = verification{Type: v.Type, At: v.At, Check: attest.CheckInternal, Message: err.Error()}
	var r *attest.Rejection
	if errors.As(err, &r) {
		v.Check, v.Message, v.Expected, v.Got = r.Check, r.Err.Error(), r.Expected, r.Got
	}
}

func (a *app) printVerification(v *verification) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	if !a.json {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}
