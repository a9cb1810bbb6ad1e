package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
)

func newEvidenceCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "evidence", Short: "Verify evidence from files, offline"})
	cmd.AddCommand(newEvidenceVerifyCmd(a))
	return cmd
}

// evidenceFlags are those of `evidence verify`.
type evidenceFlags struct {
	typ                                         string
	attestation                                 string
	body                                        string // --evidence
	quote, signature, ak, akCert, log, pcrs     string
	akRoots, at, nonce, runtimeData             string
	chain, freshness, binding, revoked, resides bool
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
	Recipient  json.RawMessage  `json:"recipient,omitempty"`
	Claims     attest.Claims    `json:"claims,omitempty"`
}

func newEvidenceVerifyCmd(a *app) *cobra.Command {
	var f evidenceFlags
	cmd := &cobra.Command{
		Use: "verify", Short: "Verify evidence from files and print its claims", Args: exactArgs(),
		Long: `Verifies evidence without a broker, configuration or network, and prints one JSON
object: verified, the check that refused, what was checked, and the claims.

The signature always has to verify. The chain of the AK is checked when --ak-roots
is given; freshness when --nonce or --runtime-data is; binding to a recipient when
--runtime-data is. What has no input is printed as not_checked and refuses only
with its --require flag.

Quote, signature and AK may be raw TPM structures or as tpm2-tools writes them
(tpm2_quote -m, -s; tpm2_createak -u). --pcrs is {"sha256":{"0":"<hex>",…}} or what
tpm2_quote -o writes.`,
		Example: `  openskr evidence verify --type tpm --attestation attestation.pb --nonce 9009
  openskr evidence verify --type tpm --quote q.msg --signature q.sig --ak ak.pub --pcrs pcrs.out`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verifyEvidence(cmd.Context(), &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.typ, "type", "", "`TYPE` of evidence: tpm")
	fl.StringVar(&f.body, "evidence", "", "`FILE` that `openskr-agent evidence` printed, instead of the five parts")
	fl.StringVar(&f.attestation, "attestation", "", "`FILE` of go-tpm-tools (protobuf), instead of the next five")
	fl.StringVar(&f.quote, "quote", "", "`FILE` with the quote")
	fl.StringVar(&f.signature, "signature", "", "`FILE` with its signature")
	fl.StringVar(&f.ak, "ak", "", "`FILE` with the AK's public area")
	fl.StringVar(&f.pcrs, "pcrs", "", "`FILE` with the quoted PCR values")
	fl.StringVar(&f.log, "eventlog", "", "`FILE` with the event log, for claims about the boot")
	fl.StringVar(&f.akCert, "ak-cert", "", "`FILE` with the AK's certificate, PEM or DER")
	fl.StringVar(&f.akRoots, "ak-roots", "", "`DIR` (or file) of CA certificates the AK's certificate must chain to")
	fl.StringVar(&f.at, "at", "", "judge certificates at this `TIME` (RFC 3339; default now)")
	fl.StringVar(&f.nonce, "nonce", "", "`HEX` that the quote's extraData must be")
	fl.StringVar(&f.runtimeData, "runtime-data", "", "`FILE` whose SHA-256 the quote's extraData must be")
	fl.BoolVar(&f.chain, "require-chain", false, "refuse when the chain is not checked")
	fl.BoolVar(&f.freshness, "require-freshness", false, "refuse when freshness is not checked")
	fl.BoolVar(&f.binding, "require-binding", false, "refuse when binding to a recipient is not checked")
	fl.BoolVar(&f.resides, "require-residency", false, "refuse when the recipient key is not proven to live in the TPM")
	fl.BoolVar(&f.revoked, "require-revocation", false, "refuse when revocation is not checked")
	return cmd
}

func (a *app) verifyEvidence(ctx context.Context, f *evidenceFlags) error {
	if f.typ != string(attest.TypeTPM) {
		return usagef("--type %q: want tpm", f.typ)
	}
	ev, want, err := a.readEvidence(f)
	if err != nil {
		return err
	}
	roots, err := a.readRoots(f.akRoots)
	if err != nil {
		return err
	}
	if f.akRoots == "" {
		ev.Endorsements = nil // nothing to judge a certificate by
	}
	v, err := tpm.New(roots.config(ev.Endorsements))
	if err != nil {
		return unreadable(err)
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
	return attest.Set{attest.TypeTPM: v}.Verify(ctx, ev, want)
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
	v.Residency, v.Revocation, v.TCB = status(res.Facts.Resident), res.Facts.Revocation, attest.Unknown
	v.Recipient = res.Recipient
}

// require refuses what a --require flag asks for and nothing proved.
func (f *evidenceFlags) require(v *verification) error {
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
		{f.revoked, v.Revocation, attest.CheckCertRevoked, "revocation cannot be checked offline"},
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
