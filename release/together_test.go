package release_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/challenge"
	"github.com/openskr/openskr/release/receipt"
	rt "github.com/openskr/openskr/release/releasetest"
	"github.com/openskr/openskr/release/wrap"
)

// joined is a Broker with real nonces and real wrapping; the rest is scripted.
type joined struct {
	*rt.Ports
	t      *testing.T
	secret hpke.PrivateKey
	jwk    jsontext.Value
	issuer *challenge.Issuer
	broker *release.Broker
}

func join(t *testing.T) *joined {
	t.Helper()
	sk, err := hpke.DHKEM(ecdh.P256()).GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	pub := base64.RawURLEncoding.EncodeToString(sk.PublicKey().Bytes())
	j := &joined{Ports: rt.NewPorts(), t: t, secret: sk, jwk: jsontext.Value(fmt.Sprintf(`{"kty":"HPKE","kem":16,"pub":%q}`, pub))}
	j.Result.Recipient = j.jwk
	j.restart()
	return j
}

// restart forgets what the process knew; what reached the log is still spent.
func (j *joined) restart() {
	j.t.Helper()
	c := j.Config()
	var err error
	j.issuer, err = challenge.New(challenge.Config{
		Key: make([]byte, 32), Deployment: rt.Deployment, Now: c.Now,
		Spent: func(_ context.Context, h [32]byte) (bool, error) {
			for _, r := range j.Records {
				if r.Nonce == receipt.Digest(h) {
					return true, nil
				}
			}
			return false, nil
		},
	})
	if err != nil {
		j.t.Fatal(err)
	}
	c.Challenges, c.Wrapper = j.issuer, wrap.Wrapper{}
	if j.broker, err = release.New(c); err != nil {
		j.t.Fatal(err)
	}
}

func (j *joined) request() release.Request {
	j.t.Helper()
	nonce, _, err := j.issuer.Issue(release.Scope{Purpose: binding.PurposeRelease, Key: rt.KeyURL})
	if err != nil {
		j.t.Fatal(err)
	}
	return rt.Request(rt.RuntimeData(func(r *binding.RuntimeData) { r.Nonce, r.Keys[0] = nonce, j.jwk }))
}

func (j *joined) want(what string, req release.Request, reason release.Reason) {
	j.t.Helper()
	j.Material = []byte("key material")
	out, err := j.broker.Release(j.t.Context(), req)
	switch {
	case reason == "" && err != nil, reason != "" && (err == nil || release.ReasonOf(err) != reason):
		j.t.Errorf("%s: got %v, want %q", what, err, reason)
	case (out == nil) != (reason != ""):
		j.t.Errorf("%s: answer %v", what, out)
	}
}

func (j *joined) allows() (n int) {
	for _, r := range j.Records {
		if r.Decision == receipt.Allow {
			n++
		}
	}
	return n
}

// TestReplay is FR-04, FR-05, FR-12 and FR-13.
func TestReplay(t *testing.T) {
	j := join(t)
	req := j.request()
	j.want("first", req, "")
	j.want("FR-04: byte for byte", req, release.ReasonNonceReplayed)
	fresh := req
	fresh.Evidence.Body = []byte(`{"type":"tpm","again":1}`)
	j.want("FR-05: other evidence", fresh, release.ReasonNonceReplayed)
	j.restart()
	j.want("FR-13: after a restart", req, release.ReasonNonceReplayed)

	req = j.request()
	j.Fail[rt.CallVerify] = attest.Reject(attest.CheckSignature, "no")
	j.want("a bad signature", req, release.Reason(attest.CheckSignature))
	delete(j.Fail, rt.CallVerify)
	j.want("FR-12: then a good one", req, release.ReasonNonceReplayed)

	req = j.request()
	j.restart()
	j.want("FR-13: issued before a restart", req, "")
	j.restart()
	j.want("and only once", req, release.ReasonNonceReplayed)
	if n := j.allows(); n != 2 || j.Opened != 2 {
		t.Errorf("%d allows, opened %d times, want 2", n, j.Opened)
	}
}

// TestOnlyTheRecipientOpens is KB-18 and KB-19's half in the ciphertext: context
// and record are part of what opens.
func TestOnlyTheRecipientOpens(t *testing.T) {
	j := join(t)
	req := j.request()
	out, err := j.broker.Release(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var r receipt.Response
	if err := json.Unmarshal([]byte(out.Response), &r); err != nil {
		t.Fatal(err)
	}
	leaf, info := receipt.LeafHash(r.Receipt.Leaf), receipt.WrapInfo(req.Evidence.RuntimeData)
	if got, err := wrap.OpenHPKE(j.secret, info, leaf[:], r.Ciphertext); err != nil || string(got) != "key material" {
		t.Errorf("%q, %v", got, err)
	}
	other := receipt.LeafHash(append(r.Receipt.Leaf, ' '))
	if _, err := wrap.OpenHPKE(j.secret, info, other[:], r.Ciphertext); err == nil {
		t.Error("opens with another record")
	}
	if _, err := wrap.OpenHPKE(j.secret, receipt.WrapInfo(j.request().Evidence.RuntimeData), leaf[:], r.Ciphertext); err == nil {
		t.Error("opens with other runtime data")
	}
}

// TestWeakRecipient is KB-05: arithmetic on a modulus is done only for a machine
// that has proven itself, and what it finds is a recorded denial.
func TestWeakRecipient(t *testing.T) {
	j := join(t)
	weak := func(req release.Request) release.Request {
		rd, err := binding.Parse(req.Evidence.RuntimeData)
		if err != nil {
			t.Fatal(err)
		}
		n := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 512)) // divisible by 3
		rd.Keys[0] = jsontext.Value(`{"kty":"RSA","n":"` + n + `","e":"AQAB"}`)
		j.Result.Recipient = rd.Keys[0]
		return rt.Request(rt.RuntimeData(func(r *binding.RuntimeData) { r.Nonce, r.Keys[0], r.Enc = rd.Nonce, rd.Keys[0], wrap.EncRSA256 }))
	}
	j.Fail[rt.CallVerify] = attest.Reject(attest.CheckSignature, "no")
	j.want("of a stranger", weak(j.request()), release.Reason(attest.CheckSignature))
	if len(j.Records) != 0 {
		t.Fatal("a stranger is recorded")
	}
	delete(j.Fail, rt.CallVerify)
	j.want("of a proven machine", weak(j.request()), release.Reason(attest.CheckRecipient))
	if j.Opened != 0 || len(j.Records) != 1 || j.Records[0].Decision != receipt.Deny {
		t.Errorf("opened %d, records %+v", j.Opened, j.Records)
	}
}

// TestBadRecipientBurnsTheNonce: a key that is no recipient is refused before any
// evidence is read, and the attempt counts.
func TestBadRecipientBurnsTheNonce(t *testing.T) {
	j := join(t)
	good := j.request()
	rd, err := binding.Parse(good.Evidence.RuntimeData)
	if err != nil {
		t.Fatal(err)
	}
	bad := rt.Request(rt.RuntimeData(func(r *binding.RuntimeData) {
		r.Nonce, r.Keys[0] = rd.Nonce, jsontext.Value(`{"kty":"RSA","n":"AQAB","e":"Aw"}`)
	}))
	j.want("weak key", bad, release.Reason(attest.CheckRecipient))
	j.want("then a good one", good, release.ReasonNonceReplayed)
	alg := j.request()
	if rd, err = binding.Parse(alg.Evidence.RuntimeData); err != nil {
		t.Fatal(err)
	}
	j.want("KB-16", rt.Request(rt.RuntimeData(func(r *binding.RuntimeData) {
		r.Nonce, r.Keys[0], r.Enc = rd.Nonce, j.jwk, wrap.EncRSASHA1
	})), release.ReasonWrapAlg)
	if j.Opened != 0 || len(j.Records) != 0 {
		t.Error("opened or recorded")
	}
}

// signed is a refusal of evidence whose signer had been proven.
func signed(c attest.Check) func(*rt.Ports) {
	r := attest.Reject(c, "no")
	r.Identity = &attest.Identity{Kind: "tpm", ID: "m1"}
	return func(p *rt.Ports) { p.Fail[rt.CallVerify] = r }
}
