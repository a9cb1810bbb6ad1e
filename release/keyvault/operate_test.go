package keyvault_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"hash"
	"math/big"
	"slices"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// imported puts a key into the vault whose private half the test holds too.
func (l *lab) imported(t testing.TB, name string, key any) *keyvault.Row {
	t.Helper()
	raw, ok := key.([]byte)
	if !ok {
		var err error
		if raw, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			t.Fatal(err)
		}
	}
	m, err := keyvault.ParsePrivate(raw)
	if err != nil {
		t.Fatal(err)
	}
	row, err := l.Import(t.Context(), keyvault.DefaultVault, name, keyvault.ImportKey{Material: m})
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// operate expects success.
func (l *lab) operate(t testing.TB, name string, in keyvault.Operation) *keyvault.Outcome {
	t.Helper()
	out, err := l.Operate(t.Context(), keyvault.DefaultVault, name, "", in)
	if err != nil {
		t.Fatalf("%s %s: %v", in.Algorithm, in.Op, err)
	}
	return out
}

func (l *lab) refused(t testing.TB, name string, in keyvault.Operation) release.Reason {
	t.Helper()
	out, err := l.Operate(t.Context(), keyvault.DefaultVault, name, "", in)
	if err == nil || out != nil {
		t.Fatalf("%s %s of %q: %+v, not refused", in.Algorithm, in.Op, in.Value, out)
	}
	return release.ReasonOf(err)
}

// rsaKey is made once for a test: it is slow.
func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestOAEP has the standard library at the other end, in both directions.
func TestOAEP(t *testing.T) {
	l, k := newLab(t), rsaKey(t)
	row := l.imported(t, "k", k)
	for alg, h := range map[string]func() hash.Hash{"RSA-OAEP": sha1.New, "RSA-OAEP-256": sha256.New} {
		for _, pair := range [][2]string{{keyvault.OpEncrypt, keyvault.OpDecrypt}, {keyvault.OpWrap, keyvault.OpUnwrap}} {
			before := len(l.store.Leaves)
			out := l.operate(t, "k", keyvault.Operation{Op: pair[0], Algorithm: alg, Value: []byte("secret")})
			if out.Row.Version != row.Version || len(l.store.Leaves) != before {
				t.Errorf("%s %s: what the public key does has no record", alg, pair[0])
			}
			plain, err := rsa.DecryptOAEP(h(), nil, k, out.Value, nil)
			if err != nil || string(plain) != "secret" {
				t.Errorf("%s: outsider opens %q, %v", alg, plain, err)
			}
			sealed, err := rsa.EncryptOAEP(h(), rand.Reader, &k.PublicKey, []byte("secret"), nil)
			if err != nil {
				t.Fatal(err)
			}
			in := keyvault.Operation{Op: pair[1], Algorithm: alg, Value: sealed}
			if out := l.operate(t, "k", in); string(out.Value) != "secret" || len(l.store.Leaves) != before+1 {
				t.Errorf("%s %s: %q", alg, pair[1], out.Value)
			}
			other := map[string]string{"RSA-OAEP": "RSA-OAEP-256", "RSA-OAEP-256": "RSA-OAEP"}[alg]
			for name, bad := range map[string]keyvault.Operation{
				"other hash": {Op: pair[1], Algorithm: other, Value: sealed},
				"short":      {Op: pair[1], Algorithm: alg, Value: sealed[:255]}, // the first byte may be 0, and the number the same without it
				"long":       {Op: pair[1], Algorithm: alg, Value: append([]byte{0}, sealed...)},
				"bit":        {Op: pair[1], Algorithm: alg, Value: append([]byte{sealed[0], sealed[1] ^ 1}, sealed[2:]...)},
				"zero":       {Op: pair[1], Algorithm: alg, Value: make([]byte, 256)},
				"modulus":    {Op: pair[1], Algorithm: alg, Value: k.N.Bytes()},
				"all ones":   {Op: pair[1], Algorithm: alg, Value: bytes.Repeat([]byte{255}, 256)},
				"one byte":   {Op: pair[1], Algorithm: alg, Value: []byte{1}},
			} {
				if got := l.refused(t, "k", bad); got != release.ReasonDecryption {
					t.Errorf("%s %s, %s: %s", alg, pair[1], name, got)
				}
			}
		}
	}
	label, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &k.PublicKey, []byte("x"), []byte("label"))
	if err != nil {
		t.Fatal(err)
	}
	if got := l.refused(t, "k", keyvault.Operation{Op: keyvault.OpDecrypt, Algorithm: "RSA-OAEP-256", Value: label}); got != release.ReasonDecryption {
		t.Errorf("label: %s", got)
	}
	l.operate(t, "k", keyvault.Operation{Op: keyvault.OpEncrypt, Algorithm: "RSA-OAEP-256", Value: make([]byte, 190)})
	if got := l.refused(t, "k", keyvault.Operation{Op: keyvault.OpEncrypt, Algorithm: "RSA-OAEP-256", Value: make([]byte, 191)}); got != release.ReasonBadRequest {
		t.Errorf("too long a value: %s", got)
	}
}

func TestSignRSA(t *testing.T) {
	l, k := newLab(t), rsaKey(t)
	l.imported(t, "k", k)
	for bits, h := range map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512} {
		digest := bytes.Repeat([]byte{7}, h.Size())
		salted := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		sig := l.operate(t, "k", keyvault.Operation{Op: keyvault.OpSign, Algorithm: "RS" + bits, Value: digest}).Value
		if err := rsa.VerifyPKCS1v15(&k.PublicKey, h, digest, sig); err != nil {
			t.Errorf("RS%s: outsider says %v", bits, err)
		}
		verdicts(t, l, "RS"+bits, digest, sig)
		sig = l.operate(t, "k", keyvault.Operation{Op: keyvault.OpSign, Algorithm: "PS" + bits, Value: digest}).Value
		if err := rsa.VerifyPSS(&k.PublicKey, h, digest, sig, salted); err != nil {
			t.Errorf("PS%s: outsider says %v", bits, err)
		}
		verdicts(t, l, "PS"+bits, digest, sig)
		theirs, err := rsa.SignPSS(rand.Reader, k, h, digest, salted)
		if err != nil {
			t.Fatal(err)
		}
		if !l.operate(t, "k", keyvault.Operation{Op: keyvault.OpVerify, Algorithm: "PS" + bits, Digest: digest, Value: theirs}).Valid {
			t.Errorf("PS%s: an outsider's signature is not valid", bits)
		}
		short, err := rsa.SignPSS(rand.Reader, k, h, digest, &rsa.PSSOptions{SaltLength: 8})
		if err != nil {
			t.Fatal(err)
		}
		for alg, sig := range map[string][]byte{"PS" + bits: short, "RS" + bits: theirs} {
			if l.operate(t, "k", keyvault.Operation{Op: keyvault.OpVerify, Algorithm: alg, Digest: digest, Value: sig}).Valid {
				t.Errorf("%s: a signature of another scheme or salt is valid", alg)
			}
		}
	}
}

// verdicts holds a good signature and its corruptions against verify.
func verdicts(t *testing.T, l *lab, alg string, digest, sig []byte) {
	t.Helper()
	verify := func(digest, sig []byte) bool {
		t.Helper()
		before := len(l.store.Leaves)
		valid := l.operate(t, "k", keyvault.Operation{Op: keyvault.OpVerify, Algorithm: alg, Digest: digest, Value: sig}).Valid
		if len(l.store.Leaves) != before {
			t.Errorf("%s: a verification has a record", alg)
		}
		return valid
	}
	if !verify(digest, sig) {
		t.Errorf("%s: the vault's own signature is not valid", alg)
	}
	other := bytes.Clone(digest)
	other[0] ^= 1
	for name, bad := range map[string][]byte{
		"first": append([]byte{sig[0] ^ 1}, sig[1:]...), "last": append(bytes.Clone(sig[:len(sig)-1]), sig[len(sig)-1]^1),
		"short": sig[1:], "cut": sig[:len(sig)-1], "long": append(bytes.Clone(sig), 0), "in front": append([]byte{0}, sig...),
		"zero": make([]byte, len(sig)), "one": {1}, "ones": bytes.Repeat([]byte{255}, len(sig)),
	} {
		if verify(digest, bad) {
			t.Errorf("%s: %s is valid", alg, name)
		}
	}
	if verify(other, sig) {
		t.Errorf("%s: valid for another digest", alg)
	}
	for _, n := range []int{len(digest) - 1, len(digest) + 1, 20} {
		for _, in := range []keyvault.Operation{
			{Op: keyvault.OpSign, Algorithm: alg, Value: make([]byte, n)}, {Op: keyvault.OpVerify, Algorithm: alg, Digest: make([]byte, n), Value: sig},
		} {
			if got := l.refused(t, "k", in); got != release.ReasonBadRequest {
				t.Errorf("%s %s of %d bytes: %s", alg, in.Op, n, got)
			}
		}
	}
}

func TestSignEC(t *testing.T) {
	for _, c := range []struct {
		alg, crv string
		hash     crypto.Hash
	}{{"ES256", "P-256", crypto.SHA256}, {"ES384", "P-384", crypto.SHA384}, {"ES512", "P-521", crypto.SHA512}} {
		l := newLab(t)
		row := l.create(t, "k", keyvault.CreateKey{Kty: "EC", Crv: c.crv})
		pub := publicEC(t, row)
		n, digest := (pub.Params().BitSize+7)/8, bytes.Repeat([]byte{9}, c.hash.Size())
		for range 8 { // short r or s are padded
			sig := l.operate(t, "k", keyvault.Operation{Op: keyvault.OpSign, Algorithm: c.alg, Value: digest}).Value
			if len(sig) != 2*n || !ecdsa.Verify(pub, digest, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])) {
				t.Fatalf("%s: outsider refuses %x", c.alg, sig)
			}
		}
		sig := l.operate(t, "k", keyvault.Operation{Op: keyvault.OpSign, Algorithm: c.alg, Value: digest}).Value
		verdicts(t, l, c.alg, digest, sig)
		order := pub.Params().N.FillBytes(make([]byte, n))
		wide := new(big.Int).Add(new(big.Int).SetBytes(sig[n:]), pub.Params().N)
		for name, bad := range map[string][]byte{
			"r is zero": append(make([]byte, n), sig[n:]...), "s is zero": append(bytes.Clone(sig[:n]), make([]byte, n)...),
			"r is the order": append(bytes.Clone(order), sig[n:]...), "s is the order": append(bytes.Clone(sig[:n]), order...),
			"a zero before s": slices.Concat(sig[:n], []byte{0}, sig[n:]), "DER": der(t, l, c.alg, digest),
		} {
			if l.operate(t, "k", keyvault.Operation{Op: keyvault.OpVerify, Algorithm: c.alg, Digest: digest, Value: bad}).Valid {
				t.Errorf("%s: %s is valid", c.alg, name)
			}
		}
		if wide.BitLen() <= 8*n {
			bad := append(bytes.Clone(sig[:n]), wide.FillBytes(make([]byte, n))...)
			if l.operate(t, "k", keyvault.Operation{Op: keyvault.OpVerify, Algorithm: c.alg, Digest: digest, Value: bad}).Valid {
				t.Errorf("%s: s beyond the order is valid", c.alg)
			}
		}
	}
}

// der is what other protocols call a signature: of another shape.
func der(t *testing.T, l *lab, alg string, digest []byte) []byte {
	t.Helper()
	sig := l.operate(t, "k", keyvault.Operation{Op: keyvault.OpSign, Algorithm: alg, Value: digest}).Value
	return append([]byte{0x30, byte(len(sig)), 2, byte(len(sig) / 2)}, sig...)
}

func TestGCM(t *testing.T) {
	l := newLab(t)
	for alg, size := range map[string]int{"A128GCM": 16, "A192GCM": 24, "A256GCM": 32} {
		raw := bytes.Repeat([]byte{5}, size)
		l.imported(t, alg, raw)
		block, err := aes.NewCipher(raw)
		if err != nil {
			t.Fatal(err)
		}
		outside, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		in := keyvault.Operation{Op: keyvault.OpEncrypt, Algorithm: alg, Value: []byte("secret"), AAD: []byte("aad")}
		out, second := l.operate(t, alg, in), l.operate(t, alg, in)
		if len(out.IV) != 12 || len(out.Tag) != 16 || bytes.Equal(out.IV, second.IV) {
			t.Errorf("%s: iv %x and %x, tag %x", alg, out.IV, second.IV, out.Tag)
		}
		plain, err := outside.Open(nil, out.IV, append(bytes.Clone(out.Value), out.Tag...), in.AAD)
		if err != nil || string(plain) != "secret" {
			t.Errorf("%s: outsider opens %q, %v", alg, plain, err)
		}
		sealed := outside.Seal(nil, out.IV, []byte("theirs"), nil)
		good := keyvault.Operation{Op: keyvault.OpDecrypt, Algorithm: alg, Value: sealed[:6], IV: out.IV, Tag: sealed[6:]}
		if got := l.operate(t, alg, good).Value; string(got) != "theirs" {
			t.Errorf("%s: opens %q", alg, got)
		}
		tampered(t, l, alg, good)
	}
}

func tampered(t *testing.T, l *lab, name string, good keyvault.Operation) {
	t.Helper()
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 0x80
		return b
	}
	for what, change := range map[string]func(*keyvault.Operation){
		"value": func(o *keyvault.Operation) { o.Value = flip(o.Value, 0) }, "first of tag": func(o *keyvault.Operation) { o.Tag = flip(o.Tag, 0) },
		"last of tag": func(o *keyvault.Operation) { o.Tag = flip(o.Tag, 15) }, "iv": func(o *keyvault.Operation) { o.IV = flip(o.IV, 3) },
		"aad": func(o *keyvault.Operation) { o.AAD = []byte("x") }, "cut": func(o *keyvault.Operation) { o.Value = o.Value[:5] },
		"zero tag": func(o *keyvault.Operation) { o.Tag = make([]byte, 16) },
	} {
		bad := good
		change(&bad)
		if got := l.refused(t, name, bad); got != release.ReasonDecryption {
			t.Errorf("%s: %s", what, got)
		}
	}
	for what, change := range map[string]func(*keyvault.Operation){
		"no iv": func(o *keyvault.Operation) { o.IV = nil }, "long iv": func(o *keyvault.Operation) { o.IV = make([]byte, 16) },
		"no tag": func(o *keyvault.Operation) { o.Tag = nil }, "short tag": func(o *keyvault.Operation) { o.Tag = o.Tag[:12] },
		"long tag": func(o *keyvault.Operation) { o.Tag = append(bytes.Clone(o.Tag), 0) }, "no value": func(o *keyvault.Operation) { o.Value = nil },
		"own iv":  func(o *keyvault.Operation) { o.Op, o.Tag = keyvault.OpEncrypt, nil },
		"own tag": func(o *keyvault.Operation) { o.Op, o.IV = keyvault.OpEncrypt, nil },
	} {
		bad, before := good, len(l.store.Leaves)
		change(&bad)
		if got := l.refused(t, name, bad); got != release.ReasonBadRequest || len(l.store.Leaves) != before {
			t.Errorf("%s: %s, %d records", what, got, len(l.store.Leaves)-before)
		}
	}
}

// TestKW has the examples of RFC 3394 through the vault.
func TestKW(t *testing.T) {
	l := newLab(t)
	kek, err := hex.DecodeString("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := hex.DecodeString("00112233445566778899aabbccddeeff")
	if err != nil {
		t.Fatal(err)
	}
	for alg, c := range map[string]struct {
		size int
		want string
	}{
		"A128KW": {16, "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5"},
		"A192KW": {24, "96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d"},
		"A256KW": {32, "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7"},
	} {
		l.imported(t, alg, kek[:c.size])
		out := l.operate(t, alg, keyvault.Operation{Op: keyvault.OpWrap, Algorithm: alg, Value: plain})
		if hex.EncodeToString(out.Value) != c.want {
			t.Errorf("%s: %x, want %s", alg, out.Value, c.want)
		}
		wrapped := bytes.Clone(out.Value)
		if out := l.operate(t, alg, keyvault.Operation{Op: keyvault.OpUnwrap, Algorithm: alg, Value: wrapped}); !bytes.Equal(out.Value, plain) {
			t.Errorf("%s unwraps to %x", alg, out.Value)
		}
		for name, bad := range map[string][]byte{
			"bit": append([]byte{wrapped[0] ^ 1}, wrapped[1:]...), "cut": wrapped[:16], "odd": wrapped[:23], "zero": make([]byte, 24), "one": {1},
		} {
			if got := l.refused(t, alg, keyvault.Operation{Op: keyvault.OpUnwrap, Algorithm: alg, Value: bad}); got != release.ReasonDecryption {
				t.Errorf("%s, %s: %s", alg, name, got)
			}
		}
		if got := l.refused(t, alg, keyvault.Operation{Op: keyvault.OpWrap, Algorithm: alg, Value: make([]byte, 20)}); got != release.ReasonBadRequest {
			t.Errorf("%s of 20 bytes: %s", alg, got)
		}
	}
}

// The record says which key did what, and nothing that helps to guess a secret.
func TestOperationRecord(t *testing.T) {
	l := newLab(t)
	l.request = receipt.Digest{1}
	row := l.imported(t, "k", make([]byte, 32))
	sealed := l.operate(t, "k", keyvault.Operation{Op: keyvault.OpEncrypt, Algorithm: "A256GCM", Value: []byte("1234")})
	rec := l.store.Leaves[len(l.store.Leaves)-1]
	if rec.Kind != receipt.KindOperation || rec.Decision != receipt.Allow || rec.Operation != "keys/encrypt" || rec.Object != "k" || rec.ObjectID != row.ObjectID ||
		rec.Version != row.Version || rec.Generation != row.Generation || rec.Detail["alg"] != "A256GCM" || rec.Detail["attested_only"] != "false" {
		t.Errorf("%+v", rec)
	}
	if rec.Request != (receipt.Digest{}) || rec.Detail["input"] != "" {
		t.Error("a digest of a plain text is in the log")
	}
	l.operate(t, "k", keyvault.Operation{Op: keyvault.OpDecrypt, Algorithm: "A256GCM", Value: sealed.Value, IV: sealed.IV, Tag: sealed.Tag})
	rec = l.store.Leaves[len(l.store.Leaves)-1]
	sum := sha256.Sum256(sealed.Value)
	if rec.Operation != "keys/decrypt" || rec.Request != l.request || rec.Detail["input"] != hex.EncodeToString(sum[:]) {
		t.Errorf("%+v", rec)
	}
}
