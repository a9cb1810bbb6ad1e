package azurecvm_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
	"github.com/openskr/openskr/internal/strict"
)

var (
	now   = time.Unix(1790000000, 0)
	nonce = []byte("0123456789abcdef0123456789abcdef")
)

// processor stands in for the verifier of a processor: it believes every report.
type processor struct {
	res attest.Result
	rej *attest.Rejection // instead of res
}

func (p processor) Appraise(_ context.Context, raw []byte, _ []attest.Endorsement, _ time.Time) (*attest.Result, []byte, *attest.Rejection) {
	res := p.res
	if p.rej != nil {
		return nil, nil, p.rej
	}
	if len(raw) == 1184 {
		return &res, raw[0x50:0x90], nil
	}
	return &res, raw[len(raw)-64:], nil
}

func (p processor) Anchors() [][]byte { return [][]byte{[]byte(p.res.Authority)} }

func sound(authority string) processor {
	return processor{res: attest.Result{Authority: authority, Claims: attest.Claims{
		"x-ms-attestation-type": authority, authority: map[string]any{"detail": "x"}, "flat": "y",
	}, Facts: attest.Facts{Chain: true, Signature: true, Revocation: attest.Checked}}}
}

// rsaKeys are made once: two machines' AKs.
var rsaKeys = sync.OnceValues(func() ([2]*rsa.PrivateKey, error) {
	a, errA := rsa.GenerateKey(rand.Reader, 2048)
	b, errB := rsa.GenerateKey(rand.Reader, 2048)
	return [2]*rsa.PrivateKey{a, b}, errors.Join(errA, errB)
})

// vm is a machine whose parts may be changed before evidence is made of them.
type vm struct {
	*tpmtest.Machine
	json   string
	hcl    format.HCL
	client *format.Client
	quote  []byte
}

func newVM(t testing.TB, which int, kind uint32) *vm {
	t.Helper()
	keys, err := rsaKeys()
	if err != nil {
		t.Fatal(err)
	}
	m, err := tpmtest.New(now)
	if err != nil {
		t.Fatal(err)
	}
	m.AKKey, m.AK = keys[which], tpmtest.AKTemplate(&keys[which].PublicKey)
	v := &vm{Machine: m, json: fmt.Sprintf(
		`{"keys":[{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":%q}],"vm-configuration":{"secure-boot":true,"vmUniqueId":"26f8bc30-774e-4290-8e7a-535f3b672aee","new":1.5},"user-data":"AB00"}`,
		base64.RawURLEncoding.EncodeToString(keys[which].N.Bytes()))}
	v.hcl = format.HCL{Version: 1, Kind: kind, Hash: format.HCLSHA256}
	v.report()
	return v
}

// report has the processor sign the present JSON.
func (v *vm) report() {
	d := sha256.Sum256([]byte(v.json))
	v.hcl.Runtime = []byte(v.json)
	if v.hcl.Kind == format.HCLSNP {
		v.hcl.Report = make([]byte, 1184)
		copy(v.hcl.Report[0x50:], d[:])
		return
	}
	r := make([]byte, 1024)
	_, _ = rand.Read(r[256:495])
	_, _ = rand.Read(r[512:])
	r[0] = 0x81
	copy(r[128:192], d[:])
	tcb, info := sha512.Sum384(r[256:495]), sha512.Sum384(r[512:])
	copy(r[32:], tcb[:])
	copy(r[80:], info[:])
	v.hcl.Report = r
	v.quote = tdQuote(4, r)
}

// tdQuote is header and body of a TD quote of the report.
func tdQuote(version uint16, report []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, version)
	b = append(b, make([]byte, 46)...)
	if version == 5 {
		b = append(b, 2, 0, 0x48, 2, 0, 0)
	}
	b = append(b, report[264:384]...)
	b = append(b, report[512:912]...)
	return append(b, report[128:192]...)
}

func (v *vm) body(t testing.TB) *format.Evidence {
	t.Helper()
	part, err := v.Body(v.RuntimeData(nonce))
	if err != nil {
		t.Fatal(err)
	}
	part.AK = nil
	return &format.Evidence{Type: attest.TypeAzureCVM, HCL: v.hcl.Encode(), TPM: *part, TDQuote: v.quote, Client: v.client}
}

func (v *vm) evidence(t testing.TB, body *format.Evidence) attest.Evidence {
	t.Helper()
	b, err := strict.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return attest.Evidence{Type: attest.TypeAzureCVM, Body: b, RuntimeData: v.RuntimeData(nonce)}
}

func verifier(t testing.TB, cfg azurecvm.Config) *azurecvm.Verifier {
	t.Helper()
	v, err := azurecvm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func both() azurecvm.Config { return azurecvm.Config{SNP: sound("snp"), TDX: sound("tdx")} }

// wantCheck fails unless err is a Rejection with that check.
func wantCheck(t *testing.T, err error, want attest.Check) *attest.Rejection {
	t.Helper()
	var r *attest.Rejection
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a rejection with %s", err, want)
	}
	if r.Check != want {
		t.Fatalf("got %v, want %s", r, want)
	}
	return r
}
