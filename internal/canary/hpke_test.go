package canary_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// kemP256 and kdf256 are DHKEM(P-256, HKDF-SHA256) and HKDF-SHA256 of RFC 9180.
const (
	kemP256 = 0x0010
	kdf256  = 0x0001
)

// aead is one of RFC 9180 with keys of 32 bytes.
type aead struct {
	id  uint16
	new func(key []byte) (cipher.AEAD, error)
}

var (
	chacha = aead{0x0003, chacha20poly1305.New}
	aesGCM = aead{0x0002, func(key []byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(block)
	}}
)

// labeled derives as RFC 9180, section 4.
type labeled struct {
	*testing.T
	suite string
}

func (l labeled) extract(salt []byte, label string, ikm []byte) []byte {
	l.Helper()
	prk, err := hkdf.Extract(sha256.New, slices.Concat([]byte("HPKE-v1"+l.suite+label), ikm), salt)
	if err != nil {
		l.Fatal(err)
	}
	return prk
}

func (l labeled) expand(prk []byte, label string, info []byte, n int) []byte {
	l.Helper()
	all := binary.BigEndian.AppendUint16(nil, uint16(n))
	all = slices.Concat(all, []byte("HPKE-v1"+l.suite+label), info)
	out, err := hkdf.Expand(sha256.New, prk, string(all), n)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

// secretsOf is what opening a message of HPKE (base mode, no aad) makes on its way, and
// what it opens to, so that nobody looks for numbers that never were.
func secretsOf(t *testing.T, private *ecdh.PrivateKey, a aead, info, message []byte) (secrets [][]byte, opened []byte) {
	t.Helper()
	n := len(private.PublicKey().Bytes())
	enc, err := private.Curve().NewPublicKey(message[:n])
	if err != nil {
		t.Fatal(err)
	}
	dh, err := private.ECDH(enc)
	if err != nil {
		t.Fatal(err)
	}
	id := func(ids ...uint16) (b []byte) {
		for _, v := range ids {
			b = binary.BigEndian.AppendUint16(b, v)
		}
		return b
	}
	kem := labeled{t, "KEM" + string(id(kemP256))}
	shared := kem.expand(kem.extract(nil, "eae_prk", dh), "shared_secret", slices.Concat(message[:n], private.PublicKey().Bytes()), 32)
	all := labeled{t, "HPKE" + string(id(kemP256, kdf256, a.id))}
	context := slices.Concat([]byte{0}, all.extract(nil, "psk_id_hash", nil), all.extract(nil, "info_hash", info))
	secret := all.extract(shared, "secret", nil)
	key, nonce := all.expand(secret, "key", context, 32), all.expand(secret, "base_nonce", context, 12)
	c, err := a.new(key)
	if err == nil {
		opened, err = c.Open(nil, nonce, message[n:], nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{dh, shared, secret, key}, opened
}

// scalar is the broker's key for a computation of our own.
func (m *machine) scalar() *ecdh.PrivateKey {
	m.Helper()
	key, err := x509.ParsePKCS8PrivateKey(m.broker.Material)
	if err != nil {
		m.Fatal(err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		m.Fatalf("a key of type %T", key)
	}
	private, err := ec.ECDH()
	if err != nil {
		m.Fatal(err)
	}
	return private
}
