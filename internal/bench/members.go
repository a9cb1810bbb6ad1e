// Package bench is M, the cryptography that a release cannot do without, measured
// over the standard library alone: the denominator of every speed goal
// (docs/performance.md).
package bench

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"testing"
)

// Member is one piece of M. Adding one raises the denominator and is a reviewed
// change.
type Member struct {
	Name  string
	Times int // in one release
	Bench func(b *testing.B)
}

// TPM is M of the TPM path: two signatures by the AK, the hashes of what
// they cover, opening the record, the hybrid wrap, and the signed answer. The
// checkpoint's Ed25519 signature is shared by a commit and counted once.
// eventLog is the size of the log in bytes.
func TPM(eventLog int) []Member {
	return append([]Member{
		{"P-256 verify (quote, certify)", 2, benchP256Verify},
		{"SHA-256 event log", 1, benchSHA256(eventLog)},
	}, common()...)
}

// KeyVault is M of a release on a token through the Key Vault door: the token's
// signature, the wrap of Azure's clients, and the answer signed for them (rs256) or for
// others. Whoever calls shows the same access token many times, so that its signature
// is no member.
func KeyVault(rs256 bool) []Member {
	m := append([]Member{{"RSA-2048 verify (token)", 1, benchRSAVerify}}, record()...)
	m = append(m, Member{"RSA-OAEP-SHA256 encrypt to 2048 bits", 1, benchOAEP}, Member{"AES-256 block, key wrap of 1218 B", 6 * 153, benchAES})
	if rs256 {
		return append(m, Member{"RSA-2048 sign response", 1, benchRSASign})
	}
	return append(m, Member{"P-256 sign response", 1, benchP256Sign})
}

// common is what every path of the native door has.
func common() []Member {
	return append(record(), Member{"HPKE ML-KEM-768+P-256 seal 1218 B", 1, benchHPKE}, Member{"P-256 sign response", 1, benchP256Sign})
}

// record is what every release has.
func record() []Member {
	return []Member{
		{"SHA-256 request, evidence, runtime data, input, leaf", 5, benchSHA256(8 << 10)},
		{"HKDF-SHA256 record key", 1, benchHKDF},
		{"AES-256-GCM open 1218 B", 1, benchGCM},
		{"Ed25519 sign checkpoint", 1, benchEd25519},
	}
}

// SNP is M of the path of a SEV-SNP guest whose chip's certificate is known: one
// signature by the chip, and the rest as for a TPM.
func SNP() []Member {
	return append([]Member{{"P-384 verify (report)", 1, benchP384Verify}}, common()...)
}

// Token is M of the path of an attestation service's token: its signature, and the
// rest as for a TPM.
func Token() []Member {
	return append([]Member{{"RSA-2048 verify (token)", 1, benchRSAVerify}}, common()...)
}

func benchP256Verify(b *testing.B) {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h := sha256.Sum256([]byte("quote"))
	sig, _ := ecdsa.SignASN1(rand.Reader, k, h[:])
	for b.Loop() {
		if !ecdsa.VerifyASN1(&k.PublicKey, h[:], sig) {
			b.Fatal("signature")
		}
	}
}

func benchP384Verify(b *testing.B) {
	k, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	h := sha512.Sum384(make([]byte, 0x2a0))
	sig, _ := ecdsa.SignASN1(rand.Reader, k, h[:])
	for b.Loop() {
		if !ecdsa.VerifyASN1(&k.PublicKey, h[:], sig) {
			b.Fatal("signature")
		}
	}
}

func benchRSAVerify(b *testing.B) {
	k, _ := rsa.GenerateKey(rand.Reader, 2048)
	h := sha256.Sum256([]byte("token"))
	sig, _ := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, h[:])
	for b.Loop() {
		if rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, h[:], sig) != nil {
			b.Fatal("signature")
		}
	}
}

func benchRSASign(b *testing.B) {
	k, _ := rsa.GenerateKey(rand.Reader, 2048)
	h := sha256.Sum256([]byte("response"))
	for b.Loop() {
		if _, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, h[:]); err != nil {
			b.Fatal(err)
		}
	}
}

func benchOAEP(b *testing.B) {
	k, _ := rsa.GenerateKey(rand.Reader, 2048)
	for b.Loop() {
		if _, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &k.PublicKey, make([]byte, 32), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func benchAES(b *testing.B) {
	block, _ := aes.NewCipher(make([]byte, 32))
	buf := make([]byte, 16)
	for b.Loop() {
		block.Encrypt(buf, buf)
	}
}

func benchP256Sign(b *testing.B) {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h := sha256.Sum256([]byte("response"))
	for b.Loop() {
		if _, err := ecdsa.SignASN1(rand.Reader, k, h[:]); err != nil {
			b.Fatal(err)
		}
	}
}

func benchEd25519(b *testing.B) {
	_, k, _ := ed25519.GenerateKey(rand.Reader)
	for b.Loop() {
		ed25519.Sign(k, make([]byte, 120))
	}
}

func benchSHA256(n int) func(b *testing.B) {
	return func(b *testing.B) {
		data := make([]byte, n)
		for b.Loop() {
			sha256.Sum256(data)
		}
	}
}

func benchHKDF(b *testing.B) {
	secret, salt := make([]byte, 32), make([]byte, 32)
	for b.Loop() {
		if _, err := hkdf.Key(sha256.New, secret, salt, "info", 64); err != nil {
			b.Fatal(err)
		}
	}
}

func benchGCM(b *testing.B) {
	block, _ := aes.NewCipher(make([]byte, 32))
	g, _ := cipher.NewGCM(block)
	nonce := make([]byte, g.NonceSize())
	sealed := g.Seal(nil, nonce, make([]byte, 1218), nil)
	for b.Loop() {
		block, _ := aes.NewCipher(make([]byte, 32)) // each record has its own key
		g, _ := cipher.NewGCM(block)
		if _, err := g.Open(nil, nonce, sealed, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func benchHPKE(b *testing.B) {
	k, _ := hpke.MLKEM768P256().GenerateKey()
	pub := k.PublicKey().Bytes()
	for b.Loop() {
		pk, err := hpke.MLKEM768P256().NewPublicKey(pub) // every request brings a new key
		if err != nil {
			b.Fatal(err)
		}
		_, s, err := hpke.NewSender(pk, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("info"))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Seal(nil, make([]byte, 1218)); err != nil {
			b.Fatal(err)
		}
	}
}

// Measure gives the microseconds of one run of m.
func (m Member) Measure() float64 {
	r := testing.Benchmark(m.Bench)
	return float64(r.T.Nanoseconds()) / float64(r.N) / 1000
}
