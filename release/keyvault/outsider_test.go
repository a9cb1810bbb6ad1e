package keyvault_test

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/openskr/openskr/release/keyvault"
)

// outsider does what a client does with the same key and other code: the standard
// library's, or the textbook's. seal gives what the vault must open, open reads what
// the vault sealed, sign what it must find valid, valid judges its signatures.
type outsider struct {
	seal  func(plain []byte) keyvault.Operation
	open  func(keyvault.Operation) []byte
	sign  func(digest []byte) []byte
	valid func(digest, sig []byte) bool
	size  int // bytes of a digest or a plaintext
}

// TestOutsiders has every algorithm of the table, for every operation, work with an
// implementation that is not the vault's.
func TestOutsiders(t *testing.T) {
	l := newLab(t)
	l.weak(t, true)
	k := rsaKey(t)
	for alg, keys := range wanted() {
		for kind, ops := range keys {
			t.Run(alg+" "+kind, func(t *testing.T) {
				name := strings.ReplaceAll(alg+kind, "_", "")
				o := l.outsider(t, alg, name, kinds()[kind], k)
				for _, op := range strings.Fields(ops) {
					before := len(l.store.Leaves)
					l.exchange(t, alg, name, op, o)
					private := kinds()[kind].Kty == "oct" || op == "decrypt" || op == "unwrapKey" || op == "sign"
					if recorded := len(l.store.Leaves) > before; recorded != private {
						t.Errorf("%s: recorded %v", op, recorded)
					} else if private && l.store.Leaves[before].Detail["alg"] != alg {
						t.Errorf("%s: the record names %q", op, l.store.Leaves[before].Detail["alg"])
					}
				}
			})
		}
	}
}

func (l *lab) exchange(t *testing.T, alg, name, op string, o outsider) {
	t.Helper()
	text := bytes.Repeat([]byte{0x5a}, o.size)
	in := keyvault.Operation{Op: op, Algorithm: alg, Value: text}
	switch op {
	case "encrypt", "wrapKey":
		out := l.operate(t, name, in)
		if got := o.open(keyvault.Operation{Value: out.Value, IV: out.IV, Tag: out.Tag}); !bytes.Equal(got, text) {
			t.Errorf("%s: the outsider reads %x", op, got)
		}
	case "decrypt", "unwrapKey":
		in = o.seal(text)
		in.Op, in.Algorithm = op, alg
		if got := l.operate(t, name, in).Value; !bytes.Equal(got, text) {
			t.Errorf("%s: the vault reads %x", op, got)
		}
	case "sign":
		if sig := l.operate(t, name, in).Value; !o.valid(text, sig) {
			t.Errorf("the outsider refuses %x", sig)
		}
	case "verify":
		sig := o.sign(text)
		if !l.operate(t, name, keyvault.Operation{Op: op, Algorithm: alg, Digest: text, Value: sig}).Valid {
			t.Errorf("the vault refuses %x", sig)
		}
		sig[len(sig)/2] ^= 1
		if l.operate(t, name, keyvault.Operation{Op: op, Algorithm: alg, Digest: text, Value: sig}).Valid {
			t.Error("the vault takes a changed signature")
		}
	}
}

// outsider puts a key into the vault and gives its other holder.
func (l *lab) outsider(t *testing.T, alg, name string, kind keyvault.CreateKey, k *rsa.PrivateKey) outsider {
	t.Helper()
	switch kind.Kty {
	case "RSA":
		l.imported(t, name, k)
		return rsaOutsider(t, alg, k)
	case "EC":
		return l.ecOutsider(t, name, kind.Crv)
	}
	raw := bytes.Repeat([]byte{7}, max(kind.Size, 0)/8)
	if len(raw) == 0 {
		raw = bytes.Repeat([]byte{7}, 32)
	}
	m, err := keyvault.ParsePrivate(raw)
	if err != nil {
		t.Fatal(err)
	}
	ops := keyvault.Settings{KeyOps: []string{"encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify"}}
	if _, err := l.Import(t.Context(), keyvault.DefaultVault, name, keyvault.ImportKey{Material: m, Settings: ops}); err != nil {
		t.Fatal(err)
	}
	return octOutsider(t, alg, raw)
}

func hashOf(alg string) crypto.Hash {
	return map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[strings.TrimSuffix(alg[2:], "K")]
}

func rsaOutsider(t *testing.T, alg string, k *rsa.PrivateKey) outsider {
	must := func(b []byte, err error) []byte {
		if err != nil {
			t.Error(err)
		}
		return b
	}
	pub, salted := &k.PublicKey, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	oaep := map[string]crypto.Hash{"RSA-OAEP": crypto.SHA1, "RSA-OAEP-256": crypto.SHA256}[alg]
	switch {
	case oaep != 0:
		return outsider{
			size: 32,
			seal: func(p []byte) keyvault.Operation {
				return keyvault.Operation{Value: must(rsa.EncryptOAEP(oaep.New(), rand.Reader, pub, p, nil))}
			},
			open: func(o keyvault.Operation) []byte { return must(rsa.DecryptOAEP(oaep.New(), nil, k, o.Value, nil)) },
		}
	case alg == "RSA1_5":
		return outsider{
			size: 245,
			seal: func(p []byte) keyvault.Operation {
				//lint:ignore SA1019 it is what is tested
				return keyvault.Operation{Value: must(rsa.EncryptPKCS1v15(rand.Reader, pub, p))}
			},
			//lint:ignore SA1019 it is what is tested
			open: func(o keyvault.Operation) []byte { return must(rsa.DecryptPKCS1v15(nil, k, o.Value)) },
		}
	case alg[0] == 'P':
		h := hashOf(alg)
		return outsider{
			size:  h.Size(),
			sign:  func(d []byte) []byte { return must(rsa.SignPSS(rand.Reader, k, h, d, salted)) },
			valid: func(d, s []byte) bool { return rsa.VerifyPSS(pub, h, d, s, salted) == nil },
		}
	}
	h := hashOf(alg)
	return outsider{
		size:  h.Size(),
		sign:  func(d []byte) []byte { return must(rsa.SignPKCS1v15(nil, k, h, d)) },
		valid: func(d, s []byte) bool { return rsa.VerifyPKCS1v15(pub, h, d, s) == nil },
	}
}

// ecOutsider makes the key outside. On P-256K it signs with the standard library's
// generic code over that curve, not with that of the vault.
func (l *lab) ecOutsider(t *testing.T, name, crv string) outsider {
	t.Helper()
	//lint:ignore SA1019 the standard library has no other way to code on this curve
	c := map[string]elliptic.Curve{"": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521(), "P-256K": secp256k1.S256()}[crv]
	n, digest := (c.Params().BitSize+7)/8, map[string]int{"P-384": 48, "P-521": 64}[crv]
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pad := func(i *big.Int) []byte { return i.FillBytes(make([]byte, n)) }
	//lint:ignore SA1019 on this curve there are no Bytes
	m, err := keyvault.FromJWK(keyvault.JWK{Kty: "EC", Crv: cmp.Or(crv, "P-256"), X: pad(k.X), Y: pad(k.Y), D: pad(k.D)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Import(t.Context(), keyvault.DefaultVault, name, keyvault.ImportKey{Material: m}); err != nil {
		t.Fatal(err)
	}
	return outsider{
		size: max(digest, 32),
		sign: func(d []byte) []byte {
			r, s, err := ecdsa.Sign(rand.Reader, k, d)
			if err != nil {
				t.Error(err)
			}
			return slices.Concat(pad(r), pad(s))
		},
		valid: func(d, sig []byte) bool {
			return len(sig) == 2*n && ecdsa.Verify(&k.PublicKey, d, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:]))
		},
	}
}

func octOutsider(t *testing.T, alg string, key []byte) outsider {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	iv := bytes.Repeat([]byte{3}, 16)
	switch {
	case alg[0] == 'H':
		h := hashOf(alg)
		valid := func(d, s []byte) bool { return bytes.Equal(s, textbookHMAC(h, key, d)) }
		return outsider{size: h.Size(), sign: func(d []byte) []byte { return textbookHMAC(h, key, d) }, valid: valid}
	case strings.HasSuffix(alg, "GCM"):
		return outsider{
			size: 5,
			seal: func(p []byte) keyvault.Operation {
				sealed := gcm.Seal(nil, iv[:12], p, nil)
				return keyvault.Operation{Value: sealed[:len(p)], IV: iv[:12], Tag: sealed[len(p):]}
			},
			open: func(o keyvault.Operation) []byte {
				p, err := gcm.Open(nil, o.IV, append(o.Value, o.Tag...), nil)
				if err != nil {
					t.Error(err)
				}
				return p
			},
		}
	case strings.Contains(alg, "CBC"):
		pad, size := strings.HasSuffix(alg, "PAD"), 48
		if pad {
			size = 45
		}
		return outsider{size: size, seal: func(p []byte) keyvault.Operation {
			return keyvault.Operation{Value: textbookCBC(block, iv, p, pad), IV: iv}
		}, open: func(o keyvault.Operation) []byte { return textbookCBCOpen(block, o.IV, o.Value, pad) }}
	}
	pad, size := strings.HasSuffix(alg, "PAD"), 32
	if pad {
		size = 13
	}
	return outsider{
		size: size,
		seal: func(p []byte) keyvault.Operation { return keyvault.Operation{Value: textbookWrap(block, p, pad)} },
		open: func(o keyvault.Operation) []byte { return textbookUnwrap(block, o.Value, size) },
	}
}

// textbookHMAC is RFC 2104 §2.
func textbookHMAC(h crypto.Hash, key, text []byte) []byte {
	inner, outer := h.New(), h.New()
	for i := range inner.BlockSize() {
		b := byte(0)
		if i < len(key) {
			b = key[i]
		}
		inner.Write([]byte{b ^ 0x36})
		outer.Write([]byte{b ^ 0x5c})
	}
	inner.Write(text)
	outer.Write(inner.Sum(nil))
	return outer.Sum(nil)
}

func textbookCBC(block cipher.Block, iv, plain []byte, pad bool) (out []byte) {
	plain = bytes.Clone(plain)
	for n := byte(16 - len(plain)%16); pad && len(plain)%16 != 0; {
		plain = append(plain, n)
	}
	for i := 0; i < len(plain); i += 16 {
		b := make([]byte, 16)
		for j := range b {
			b[j] = plain[i+j] ^ iv[j]
		}
		block.Encrypt(b, b)
		out, iv = append(out, b...), b
	}
	return out
}

func textbookCBCOpen(block cipher.Block, iv, sealed []byte, pad bool) (out []byte) {
	for i := 0; i < len(sealed); i += 16 {
		b := make([]byte, 16)
		block.Decrypt(b, sealed[i:i+16])
		for j := range b {
			b[j] ^= iv[j]
		}
		out, iv = append(out, b...), sealed[i:i+16]
	}
	if pad {
		out = out[:len(out)-int(out[len(out)-1])]
	}
	return out
}

// textbookWrap is the index form of RFC 3394 §2.2.1, of 5649 §3 with pad.
func textbookWrap(block cipher.Block, plain []byte, pad bool) []byte {
	a := bytes.Repeat([]byte{0xa6}, 8)
	if pad {
		a = binary.BigEndian.AppendUint32([]byte{0xa6, 0x59, 0x59, 0xa6}, uint32(len(plain)))
		plain = append(bytes.Clone(plain), make([]byte, (8-len(plain)%8)%8)...)
	}
	r := slices.Collect(slices.Chunk(bytes.Clone(plain), 8))
	for j := range uint64(6) {
		for i := range r {
			b := slices.Concat(a, r[i])
			block.Encrypt(b, b)
			a = binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(b)^(uint64(len(r))*j+uint64(i)+1))
			r[i] = b[8:]
		}
	}
	return slices.Concat(append([][]byte{a}, r...)...)
}

// textbookUnwrap checks nothing: the test compares what comes out.
func textbookUnwrap(block cipher.Block, wrapped []byte, size int) []byte {
	a, r := wrapped[:8], slices.Collect(slices.Chunk(bytes.Clone(wrapped[8:]), 8))
	for j := uint64(6); j > 0; j-- {
		for i := len(r) - 1; i >= 0; i-- {
			a = binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(a)^(uint64(len(r))*(j-1)+uint64(i)+1))
			b := slices.Concat(a, r[i])
			block.Decrypt(b, b)
			a, r[i] = b[:8], b[8:]
		}
	}
	return slices.Concat(r...)[:size]
}
