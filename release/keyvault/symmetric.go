package keyvault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"errors"

	"github.com/openskr/openskr/release/wrap"
)

// symmetric does what an oct key is for.
func (a algorithm) symmetric(key []byte, in Operation, out *Outcome) error {
	switch a.family {
	case mac:
		return a.authenticate(key, in, out)
	case keyWrap:
		return wrapOrUnwrap(wrap.WrapKW, wrap.UnwrapKW, key, in, out)
	case keyWrapPad:
		return wrapOrUnwrap(wrap.WrapKWP, wrap.UnwrapKWP, key, in, out)
	case gcm:
		return a.gcm(key, in, out)
	case cbc, cbcPad:
		return a.cbc(key, in, out)
	}
	return failed(errors.New("not an algorithm of oct keys"))
}

// authenticate is HMAC (RFC 2104) of the digest: Key Vault's sign has no message.
func (a algorithm) authenticate(key []byte, in Operation, out *Outcome) error {
	digest := in.Value
	if in.Op == OpVerify {
		digest = in.Digest
	}
	h := hmac.New(a.hash.New, key)
	h.Write(digest)
	sum := h.Sum(nil)
	if in.Op == OpVerify {
		out.Valid = hmac.Equal(sum, in.Value)
		clear(sum)
		return nil
	}
	out.Value = sum
	return nil
}

func wrapOrUnwrap(wrapped, unwrapped func(kek, in []byte) ([]byte, error), kek []byte, in Operation, out *Outcome) (err error) {
	if in.Op == OpWrap {
		out.Value, err = wrapped(kek, in.Value)
		return failed(err)
	}
	if out.Value, err = unwrapped(kek, in.Value); err != nil {
		return errOpens()
	}
	return nil
}

// gcm makes every nonce itself.
func (a algorithm) gcm(key []byte, in Operation, out *Outcome) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return failed(err)
	}
	g, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return failed(err)
	}
	if in.Op == OpEncrypt {
		sealed := g.Seal(nil, nil, in.Value, in.AAD) // nonce ‖ ciphertext ‖ tag
		end := len(sealed) - gcmTag
		out.IV, out.Value, out.Tag = sealed[:gcmNonce:gcmNonce], sealed[gcmNonce:end:end], sealed[end:]
		return nil
	}
	sealed := append(append(append(make([]byte, 0, len(in.IV)+len(in.Value)+len(in.Tag)), in.IV...), in.Value...), in.Tag...)
	if out.Value, err = g.Open(nil, nil, sealed, in.AAD); err != nil {
		return errOpens()
	}
	return nil
}
