package ageplugin

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"testing"

	"filippo.io/age/plugin"

	"github.com/openskr/openskr/attest/tpm/guest"
	agent "github.com/openskr/openskr/enclave-agent"
)

func TestRecipient(t *testing.T) {
	for name, k := range map[string]crypto.Signer{"EC": newEC(t), "RSA": newRSA(t)} {
		r := newRecipient(t, kid, k)
		s := r.String()
		if !strings.HasPrefix(s, "age1openskr1") {
			t.Errorf("%s: %.20s", name, s)
		}
		again, err := ParseRecipient(s)
		if err != nil || again.String() != s || again.Key() != kid || again.kty != name {
			t.Errorf("%s: %+v, %v", name, again, err)
		}
	}
}

func TestRecipientOf(t *testing.T) {
	k := newEC(t)
	v := &vault{t: t, keys: map[string]crypto.Signer{kid: k}}
	rel, err := v.release(t.Context(), kid)
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Material.Close()
	if r, err := RecipientOf(rel); err != nil || r.String() != newRecipient(t, kid, k).String() {
		t.Errorf("%v, %v", r, err)
	}
	oct, err := guest.TakeSecret(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	defer oct.Close()
	if _, err := RecipientOf(&agent.Released{Material: oct, KID: kid, Kty: "oct"}); !errors.Is(err, agent.ErrConfig) || !strings.Contains(err.Error(), "oct") {
		t.Errorf("oct: %v", err)
	}
}

func TestNewRecipientRefuses(t *testing.T) {
	ec := newEC(t).Public()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}
	for name, c := range map[string]struct {
		kid string
		k   crypto.PublicKey
	}{
		"no version":    {url, ec},
		"other version": {url + "/latest", ec},
		"http":          {"http://vault.example/keys/disk/" + version, ec},
		"upper case":    {"https://Vault.example/keys/disk/" + version, ec},
		"user":          {"https://me@vault.example/keys/disk/" + version, ec},
		"query":         {kid + "?a", ec},
		"line":          {kid + "\n", ec},
		"secret":        {"https://vault.example/secrets/disk/" + version, ec},
		"P-384":         {kid, p384.Public()},
		"Ed25519":       {kid, ed},
		"RSA-1024":      {kid, small},
		"none":          {kid, nil},
	} {
		if _, err := NewRecipient(c.kid, c.k); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is not the one encoding of a recipient is refused.
func TestParseRecipientRefuses(t *testing.T) {
	good := newRecipient(t, kid, newEC(t)).encode()
	at := func(i int, c byte) []byte {
		b := bytes.Clone(good)
		b[i] ^= c
		return b
	}
	of := func(kid string, spki []byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte{1}, uint16(len(kid)))
		return append(append(b, kid...), spki...)
	}
	spki := good[3+len(kid):]
	for name, b := range map[string][]byte{
		"empty": {}, "short": good[:2], "no key": good[:3+len(kid)], "cut": good[:len(good)-1],
		"more": append(bytes.Clone(good), 0), "version": at(0, 3), "length": at(1, 1), "host": at(3, 1),
		"off the curve": at(len(good)-1, 1), "no version": of(url, spki), "kid with a break": of(kid+"\n", spki),
		"not canonical": of(kid, shifted(spki)),
	} {
		if _, err := decodeRecipient(b); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, s := range []string{
		"", "age1openskr1", plugin.EncodeRecipient("other", good), plugin.EncodeIdentity(name, good),
		plugin.EncodeRecipient(name, good)[:60], strings.Replace(plugin.EncodeRecipient(name, good), "q", "p", 1),
	} {
		if _, err := ParseRecipient(s); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%.30q: %v", s, err)
		}
	}
}

// shifted is another encoding of the same key on P-256: its BIT STRING one bit to the
// left, with one bit unused, which the standard library reads.
func shifted(spki []byte) []byte {
	out := bytes.Clone(spki)
	point := out[len(out)-65:]
	out[len(out)-66] = 1
	for i := range point {
		point[i] <<= 1
		if i+1 < len(point) {
			point[i] |= point[i+1] >> 7
		}
	}
	return out
}

func TestWrapTakesFileKeysOnly(t *testing.T) {
	for _, n := range []int{0, 15, 17, 32} {
		if _, err := newRecipient(t, kid, newEC(t)).Wrap(make([]byte, n)); err == nil {
			t.Errorf("%d bytes wrapped", n)
		}
	}
}

func FuzzParseRecipient(f *testing.F) {
	f.Add(newRecipient(f, kid, newEC(f)).encode())
	f.Add(newRecipient(f, kid, newRSA(f)).encode())
	f.Add([]byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecipient(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.encode(), b) {
			t.Fatalf("%x is read as %x", b, r.encode())
		}
		if _, err := ParseRecipient(r.String()); err != nil {
			t.Fatal(err)
		}
	})
}
