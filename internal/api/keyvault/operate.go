package keyvault

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// keyOperation is the body of encrypt, decrypt, wrapkey, unwrapkey, sign and
// verify: binary members in base64, either alphabet.
type keyOperation struct {
	Algorithm string `json:"alg"`
	Value     string `json:"value"`
	Digest    string `json:"digest"`
	IV        string `json:"iv"`
	AAD       string `json:"aad"`
	Tag       string `json:"tag"`
}

// A member that is ignored would not be authenticated, or not compared.
func shapeOperation() *shape {
	names := []string{"alg", "value", "digest", "iv", "aad", "tag"}
	return &shape{members: leaves(names...), guarded: names}
}

// KeyOperationResult is what an operation gave; iv, tag and aad are those of an
// encryption with AES-GCM.
type KeyOperationResult struct {
	KID   string       `json:"kid"`
	Value attest.Bytes `json:"value"`
	IV    attest.Bytes `json:"iv,omitempty"`
	Tag   attest.Bytes `json:"tag,omitempty"`
	AAD   attest.Bytes `json:"aad,omitempty"`
}

// Clear implements route.Holding: what was decrypted is a secret.
func (r KeyOperationResult) Clear() { clear(r.Value) }

// KeyVerifyResult says whether a signature is valid.
type KeyVerifyResult struct {
	Value bool `json:"value"`
}

// operate makes the handler of one operation.
func (d *door) operate(op string) func(context.Context, *route.Call, *keyOperation) (any, error) {
	return func(ctx context.Context, c *route.Call, req *keyOperation) (any, error) {
		defer clear(c.Body) // it may have a secret in it
		name, version, err := target(c)
		if err != nil {
			return nil, err
		}
		in, err := req.operation(op)
		defer clear(in.Value)
		if err != nil {
			return nil, err
		}
		out, err := d.Service.Operate(ctx, c.Vault, name, version, in)
		if errors.Is(err, keyvault.ErrRecorded) {
			err = route.Recorded(err)
		}
		if err != nil {
			return nil, err
		}
		if op == keyvault.OpVerify {
			return KeyVerifyResult{Value: out.Valid}, nil
		}
		return KeyOperationResult{KID: kid(c, out.Row, true), Value: out.Value, IV: out.IV, Tag: out.Tag, AAD: aadOf(in, out)}, nil
	}
}

// aadOf repeats the associated data beside an iv, as Key Vault does.
func aadOf(in keyvault.Operation, out *keyvault.Outcome) []byte {
	if out.IV == nil {
		return nil
	}
	return in.AAD
}

func (r *keyOperation) operation(op string) (in keyvault.Operation, err error) {
	in.Op, in.Algorithm = op, r.Algorithm
	for _, m := range []struct {
		name, text string
		to         *[]byte
	}{{"value", r.Value, &in.Value}, {"digest", r.Digest, &in.Digest}, {"iv", r.IV, &in.IV}, {"aad", r.AAD, &in.AAD}, {"tag", r.Tag, &in.Tag}} {
		if *m.to, err = anyBase64(m.text); err != nil {
			return in, release.Refuse(release.ReasonBadRequest, "member %s is not base64url", m.name)
		}
	}
	return in, nil
}

// randomBytes is the body of POST /rng.
type randomBytes struct {
	Count int `json:"count"`
}

func shapeRandom() *shape { return &shape{members: leaves("count"), guarded: []string{"count"}} }

// RandomBytes is its answer.
type RandomBytes struct {
	Value attest.Bytes `json:"value"`
}

// Clear implements route.Holding: somebody makes keys of it.
func (r RandomBytes) Clear() { clear(r.Value) }

// maxRandom is Key Vault's limit, in bytes.
const maxRandom = 128

func (d *door) random(_ context.Context, _ *route.Call, req *randomBytes) (any, error) {
	if req.Count < 1 || req.Count > maxRandom {
		return nil, release.Refuse(release.ReasonBadRequest, "count %d, want 1 to %d", req.Count, maxRandom)
	}
	b := make([]byte, req.Count)
	rand.Read(b)
	return RandomBytes{Value: b}, nil
}
