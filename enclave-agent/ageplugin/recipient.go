package ageplugin

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"

	"filippo.io/age"
	"filippo.io/age/plugin"

	agent "github.com/openskr/openskr/enclave-agent"
)

const recipientVersion = 1

// RSA keys in bits, as the broker makes them.
const (
	minRSA = 2048
	maxRSA = 4096
)

// Kinds of keys, in Key Vault's words.
const (
	ktyEC  = "EC"
	ktyRSA = "RSA"
)

// Recipient wraps file keys to the public half of one version of a key. It is an
// [age.Recipient].
type Recipient struct {
	key  keyURL
	kty  string
	spki []byte
	ec   hpke.PublicKey // of an EC key
	rsa  *rsa.PublicKey
}

// NewRecipient is for the key version at kid, https://host/keys/name/version, with its
// public half: *ecdsa.PublicKey on P-256, or *rsa.PublicKey. Errors wrap [agent.ErrConfig].
func NewRecipient(kid string, public crypto.PublicKey) (*Recipient, error) {
	key, err := parseKeyURL(kid)
	if err != nil {
		return nil, err
	}
	if key.version == "" {
		return nil, bad("key %s: want its URL with the version: each version has another public half", kid)
	}
	r := &Recipient{key: key}
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, bad("key %s: an EC key on %s: want P-256", kid, k.Params().Name)
		}
		point, err := k.ECDH()
		if err != nil {
			return nil, bad("key %s: %w", kid, err)
		}
		if r.ec, err = hpke.NewDHKEMPublicKey(point); err != nil {
			return nil, bad("key %s: %w", kid, err)
		}
		r.kty = ktyEC
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, bad("key %s: RSA of %d bits: want %d to %d", kid, n, minRSA, maxRSA)
		}
		// k may be inside of a private key, which a pointer to it would keep from being erased.
		r.rsa, r.kty = &rsa.PublicKey{N: k.N, E: k.E}, ktyRSA
	default:
		return nil, bad("key %s has no public half to encrypt to: want RSA (`openskr key create NAME --kty RSA --size 3072`), or for age and images EC on P-256", kid)
	}
	if r.spki, err = x509.MarshalPKIXPublicKey(public); err != nil {
		return nil, bad("key %s: %w", kid, err)
	}
	return r, nil
}

// RecipientOf is for the version of a key that was released to this machine. Errors wrap
// [agent.ErrConfig].
func RecipientOf(rel *agent.Released) (r *Recipient, err error) {
	agent.Erasing(func() { r, err = recipientOf(rel) })
	return r, err
}

func recipientOf(rel *agent.Released) (*Recipient, error) {
	private, err := x509.ParsePKCS8PrivateKey(rel.Material.Bytes())
	if err != nil {
		return nil, bad("key %s is of kind %.16q: want RSA, or EC on P-256", rel.KID, rel.Kty)
	}
	k, ok := private.(crypto.Signer)
	if !ok {
		return nil, bad("key %s is neither RSA nor EC", rel.KID)
	}
	return NewRecipient(rel.KID, k.Public())
}

// ParseRecipient reads age1openskr1…. Errors wrap [agent.ErrConfig].
func ParseRecipient(s string) (*Recipient, error) {
	of, data, err := plugin.ParseRecipient(s)
	if err != nil {
		return nil, bad("recipient: %w", err)
	}
	if of != name {
		return nil, bad("recipient of the plugin %.32q: want age1%s1…", of, name)
	}
	return decodeRecipient(data)
}

// decodeRecipient reads version ‖ length of kid (2 bytes) ‖ kid ‖ SubjectPublicKeyInfo
// in the one encoding that there is of them.
func decodeRecipient(b []byte) (*Recipient, error) {
	if len(b) < 3 || b[0] != recipientVersion {
		return nil, bad("recipient: not version %d: it was made by another program, or cut", recipientVersion)
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if len(b) < 3+n {
		return nil, bad("recipient: cut short")
	}
	public, err := x509.ParsePKIXPublicKey(b[3+n:])
	if err != nil {
		return nil, bad("recipient: %w", err)
	}
	r, err := NewRecipient(string(b[3:3+n]), public)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(r.encode(), b) {
		return nil, bad("recipient: its key is not in canonical form")
	}
	return r, nil
}

func (r *Recipient) encode() []byte {
	kid := r.key.String()
	b := binary.BigEndian.AppendUint16([]byte{recipientVersion}, uint16(len(kid)))
	return append(append(b, kid...), r.spki...)
}

// String is the recipient as age takes it.
func (r *Recipient) String() string { return plugin.EncodeRecipient(name, r.encode()) }

// Key is the URL of the key with its version.
func (r *Recipient) Key() string { return r.key.String() }

// RSA is the public half of an RSA key, nil of another.
func (r *Recipient) RSA() *rsa.PublicKey { return r.rsa }

// Wrap makes the stanza of a file.
func (r *Recipient) Wrap(key []byte) ([]*age.Stanza, error) {
	if len(key) != fileKey {
		return nil, bad("a file key of %d bytes: want %d", len(key), fileKey)
	}
	var body []byte
	var err error
	if r.kty == ktyRSA {
		body, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, r.rsa, key, r.key.info())
	} else {
		body, err = hpke.Seal(r.ec, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), r.key.info(), key)
	}
	if err != nil {
		return nil, fmt.Errorf("wrap the file key to %s: %w", r.key, err)
	}
	return []*age.Stanza{{Type: stanzaType, Args: []string{r.kty, r.key.tag(), r.key.version}, Body: body}}, nil
}
